# SPDX-License-Identifier: Apache-2.0
"""What is measured: for each case the command of each tool, the state before, the proof after.

A tool does the work of a case with the options that are fastest for it and work:

* casync extracts onto an existing file with `--seed-output=no --reflink=no`: with its defaults it
  cuts the target as well and then fails with ESTALE (casync#218). Holes are not punched. Its links
  for seed chunks and its downloads go to memory (TMPDIR); `casync-disk` is the same with casync's
  own choice, /var/tmp, which matters with a seed.
* casync has no verify; the nearest is `digest` of the image, which reads and digests it once.
* desync needs an index beside each seed and gets one; it writes in place with `-k`.

caflip flushes what it wrote and reads it back before it reports success; the others do neither. Its
times contain both.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.workload import Workload

CAFLIP = "caflip"
WITH_INDEX = "caflip+index"
CASYNC = "casync"
CASYNC_DISK = "casync-disk"
DESYNC = "desync"
TOOLS = (CASYNC, CASYNC_DISK, DESYNC, CAFLIP, WITH_INDEX)

IN_MEMORY = "/dev/shm"

Command = list[str]


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of work.

    Attributes:
        commands: by tool; a tool that cannot do this work is missing.
        inputs: what stands in the page cache when a run begins.
        prepare: brings the output into the state before; not measured.
        proof: whether what a run left behind is right.
        goal: how many times as fast as casync caflip should be.
    """

    name: str
    title: str
    commands: Mapping[str, Command]
    inputs: Sequence[Path]
    prepare: Callable[[], None]
    proof: Callable[[], bool]
    goal: float | None = None


def available() -> list[str]:
    """The tools of this machine, caflip itself included."""
    programs = {CASYNC_DISK: CASYNC, CAFLIP: sys.executable, WITH_INDEX: sys.executable}
    return [tool for tool in TOOLS if shutil.which(programs.get(tool, tool))]


def caflip(*arguments: str) -> Command:
    """The command line of the caflip of this environment."""
    script = Path(sys.executable).with_name("caflip")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "updater"]
    return [*program, *arguments]


def cases(work: Workload) -> list[Case]:
    """All cases, in the order of the report."""
    return [
        _make(work, "make-ext4", "ext4", 4.0),
        _make(work, "make-squashfs", "squashfs", 4.0),
        _make(work, "make-update", "ext4", None, known="v1"),
        _extract(work, "extract-seed", "ext4", before="v0", goal=10.0),
        _extract(work, "extract-seed-other", "ext4", before="other", goal=10.0),
        _extract(work, "extract-seed-squashfs", "squashfs", before="v0", goal=10.0),
        _extract(work, "extract-again", "ext4", before="v2"),
        _extract(work, "extract-store", "ext4", before="other", seed=False),
        _extract(work, "http-seed", "ext4", before="v0", goal=16.0, http=True),
        _extract(work, "http-full", "squashfs", before="other", goal=16.0, seed=False, http=True),
        _verify(work),
    ]


def _make(work: Workload, name: str, kind: str, goal: float | None, known: str = "") -> Case:
    image = str(work.image(kind, "v2"))
    index, store = str(work.made / "index.caibx"), str(work.made / "store")
    stock = work.folder / f"{kind}-{known}-store" if known else None
    into = f"a store that has {known}" if known else "an empty store"
    return Case(
        name,
        f"make the {kind} image into {into}",
        {
            CASYNC: ["casync", "make", f"--store={store}", index, image],
            DESYNC: ["desync", "make", "-s", store, index, image],
            CAFLIP: caflip("make", f"--store={store}", index, image),
        },
        [work.image(kind, "v2")],
        lambda: work.empty_made(stock),
        lambda: work.made_index_equals(work.index(kind, "v2")),
        goal,
    )


def _extract(
    work: Workload,
    name: str,
    kind: str,
    *,
    before: str,
    goal: float | None = None,
    seed: bool = True,
    http: bool = False,
) -> Case:
    target = str(work.target)
    index, store = work.index(kind, "v2"), work.store
    source = work.url(index) if http else str(index)
    chunks = work.url(store) if http else str(store)
    seed_image = str(work.image(kind, "v1"))
    seed_index = str(work.index(kind, "v1"))
    plain = [f"--seed={seed_image}"] if seed else []
    casync = ["casync", "extract", f"--store={chunks}", "--seed-output=no", "--reflink=no"]
    casync += ["--punch-holes=no", *plain, source, target]
    desync = ["desync", "extract", "-k", "-s", chunks]
    desync += ["--seed", f"{seed_index}:{seed_image}"] if seed else []
    in_place = ["--in-place", f"--store={chunks}"]
    commands = {
        CASYNC: ["env", f"TMPDIR={IN_MEMORY}", *casync],
        DESYNC: [*desync, source, target],
        CAFLIP: caflip("extract", *in_place, *plain, source, target),
    }
    if seed and not http:
        commands[CASYNC_DISK] = ["env", "TMPDIR=/var/tmp", *casync]
    if seed:
        indexed = f"--seed={seed_index}:{seed_image}"
        commands[WITH_INDEX] = caflip("extract", *in_place, indexed, source, target)
    content = {"v0": "v0", "v2": "v2 already", "other": "random bytes"}[before]
    origin = "HTTP, 20 ms an answer" if http else "local store"
    from_seed = "seed v1" if seed else "no seed"
    return Case(
        name,
        f"extract {kind} v2: {from_seed}, {origin}, slot holds {content}",
        commands,
        [work.image(kind, "v1"), work.store],
        lambda: work.fill_target(work.image(kind, before)),
        lambda: work.target_holds(work.image(kind, "v2")),
        goal,
    )


def _verify(work: Workload) -> Case:
    index, target = str(work.index("ext4", "v2")), str(work.target)
    return Case(
        "verify",
        "verify the slot (casync: digest of the image)",
        {
            CASYNC: ["casync", "digest", target],
            DESYNC: ["desync", "verify-index", index, target],
            CAFLIP: caflip("verify", index, target),
        },
        [],
        lambda: work.fill_target(work.image("ext4", "v2")),
        lambda: work.target_holds(work.image("ext4", "v2")),
    )
