# SPDX-License-Identifier: Apache-2.0
"""What is slow to make and always the same: made once, shared by all test processes.

Each thing is named by a digest of its recipe; a changed recipe makes a new thing. It appears by a
rename when it is whole. Things of the same kind
that are no longer used are removed when a new one is made.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path(os.environ.get("CAFLIP_VM_DIR") or ROOT / ".vm-cache").absolute()

_KEPT_S = 1800.0
"""An older recipe's thing may still be in use by another run; each use marks it anew."""


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of this name against all other test processes of this cache."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f"{name}.lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cached(kind: str, recipe: Sequence[str], build: Callable[[Path], None]) -> Path:
    """Return what `build` makes at the path that it is given, made now or before.

    Args:
        kind: of what it is; the beginning of its name.
        recipe: everything that it depends on.
        build: makes a file or a folder at a path that does not exist.
    """
    digest = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:16]
    path = FOLDER / f"{kind}-{digest}"
    with locked(kind):
        if not path.exists():
            _forget_unused(kind)
            unfinished = FOLDER / f"{kind}-{digest}.new"
            _remove(unfinished)
            build(unfinished)
            unfinished.rename(path)
        os.utime(path)
    return path


def digest_of_files(files: Sequence[Path]) -> str:
    """Digest the names and contents of files."""
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _forget_unused(kind: str) -> None:
    for path in FOLDER.glob(f"{kind}-????????????????"):
        if time.time() - path.stat().st_mtime > _KEPT_S:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
