# SPDX-License-Identifier: Apache-2.0
"""The scratch folder that all cases work in: images, indexes, stores, targets, a slow server.

<kind>-<state>           the image (a hard link)
<kind>-<state>.caibx     its index, made by casync
store                    every chunk of v1 and v2 of each kind, made by casync
<kind>-v1-store          the chunks of v1 alone
<kind>-other             random bytes, as many as the image has
target                   what the runs write to: the slot
made                     what `make` writes
"""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench import images, latency_server, measure

DELAY_S = 0.020
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Workload:
    """Paths below one scratch folder, and the server that offers it."""

    folder: Path
    server: subprocess.Popen[str]
    port: int

    def image(self, kind: str, state: str) -> Path:
        """An image, such as `ext4`, `v2`."""
        return self.folder / f"{kind}-{state}"

    def index(self, kind: str, state: str) -> Path:
        """The index of an image."""
        return self.folder / f"{kind}-{state}.caibx"

    @property
    def store(self) -> Path:
        """Chunks of all images of v1 and v2."""
        return self.folder / "store"

    @property
    def target(self) -> Path:
        """The file that stands for the inactive slot."""
        return self.folder / "target"

    @property
    def made(self) -> Path:
        """The folder with the index and the store of a measured `make`."""
        return self.folder / "made"

    def url(self, path: Path) -> str:
        """Where the slow server offers a path of the folder."""
        return f"http://127.0.0.1:{self.port}/{path.relative_to(self.folder)}"

    def fill_target(self, content: Path) -> None:
        """Make the target a fresh file with a copy of `content`, all blocks allocated, synced."""
        self.target.unlink(missing_ok=True)
        with content.open("rb") as source, self.target.open("wb") as target:
            shutil.copyfileobj(source, target, BLOCK)
        os.sync()

    def empty_made(self, known: Path | None = None) -> None:
        """Make the folder for `make` anew: an empty store, or one with the chunks of another.

        The one before is put aside and not removed: ext4 keeps off inodes that were freed in the
        last seconds (`recently_deleted` in fs/ext4/ialloc.c), and looking for others took a third
        of the next run's CPU time, whichever tool's.
        """
        if self.made.exists():
            self.made.rename(self.folder / f"made-{secrets.token_hex(4)}")
        self.made.mkdir()
        if known is not None:
            # Chunk files are never rewritten, only added, so links do.
            shutil.copytree(known, self.made / "store", copy_function=os.link)
        os.sync()

    def target_holds(self, image: Path) -> bool:
        """Whether the target begins with the image, byte by byte."""
        with image.open("rb") as expected, self.target.open("rb") as found:
            while block := expected.read(BLOCK):
                if found.read(len(block)) != block:
                    return False
        return True

    def made_index_equals(self, index: Path) -> bool:
        """Whether the measured `make` wrote the index that casync writes."""
        return filecmp.cmp(self.made / "index.caibx", index, shallow=False)


def prepare(recipe: images.Recipe, folder: Path) -> Workload:
    """Build the images if need be and lay out the scratch folder.

    The caller ends the server with `latency_server.stop`, and removes the folder.
    """
    built = {state.name: images.build(recipe, state, folder) for state in images.STATES}
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    server, port = latency_server.start(scratch, DELAY_S)
    work = Workload(scratch, server, port)
    for kind in recipe.kinds:
        for state, files in built.items():
            os.link(files.image(kind), work.image(kind, state))
        known = scratch / f"{kind}-v1-store"
        make = ["casync", "make"]
        for state, store in (("v1", known), ("v1", work.store), ("v2", work.store)):
            index, image = work.index(kind, state), work.image(kind, state)
            images.run([*make, f"--store={store}", str(index), str(image)])
        _write_random(scratch / f"{kind}-other", work.image(kind, "v2").stat().st_size)
    os.sync()
    measure.warm([scratch])
    return work


def _write_random(path: Path, length: int) -> None:
    with path.open("wb") as file:
        for offset in range(0, length, BLOCK):
            file.write(os.urandom(min(BLOCK, length - offset)))
