# SPDX-License-Identifier: Apache-2.0
"""Builds casync's own chunker loop as a shared library, to measure beside ours.

Nothing of casync is kept in this project: Debian's source package is fetched at the time of the
benchmark through apt, with its signatures, from the same mirrors as the machine's packages, into a
folder of its own. Only `src/cachunker.c` is compiled, with a driver that feeds it.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEADLINE_S = 300.0

HIDDEN = "-fvisibility=hidden"
"""As in casync's executable, its functions may be inlined into each other."""

DEBIAN_FLAGS = ("-g", "-O2", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2")
"""What dpkg-buildflags gives in Debian 12, as far as it changes the code."""

CONFIGURATION = (
    *("-std=gnu99", "-D_GNU_SOURCE", "-DHAVE_RENAMEAT2=1", "-DHAVE_COPY_FILE_RANGE=1"),
    *("-DSIZEOF_PID_T=4", "-DSIZEOF_UID_T=4", "-DSIZEOF_GID_T=4"),
)
"""What casync's meson.build finds out on Linux and `util.h` wants to know."""

DRIVER = """
#include "cachunker.h"
#include <string.h>

int log_debug_errno(int error, const char *format, ...) { (void)format; return error; }

__attribute__((visibility("default")))
size_t count_chunks(const unsigned char *p, size_t length)
{
    CaChunker chunker = CA_CHUNKER_INIT;
    size_t chunks = 0;
    while (length > 0) {
        size_t size = ca_chunker_scan(&chunker, p, length);
        chunks++;
        if (size == (size_t)-1)
            break;
        p += size;
        length -= size;
    }
    return chunks;
}
"""


class Loop:
    """A library with `size_t count_chunks(const void *, size_t)`; the default chunk sizes."""

    def __init__(self, name: str, library: Path) -> None:
        self.name = name
        self._count = ctypes.CDLL(str(library)).count_chunks
        self._count.restype = ctypes.c_size_t
        self._count.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

    def count_chunks(self, address: int, length: int) -> int:
        """Cut `length` bytes at `address` and return into how many chunks."""
        return int(self._count(address, length))


def casync_loops(cache: Path) -> list[Loop]:
    """Return casync's loop as Debian compiles it, and with -O3; empty when it cannot be had."""
    try:
        source = _source(cache)
        driver = cache / "driver.c"
        driver.write_text(DRIVER)
        loops = []
        for name, flags in (("casync, -O2", DEBIAN_FLAGS), ("casync, -O3", ("-O3",))):
            library = cache / f"{name.replace(', ', '')}.so"
            chunker = source / "src" / "cachunker.c"
            includes = f"-I{source / 'src'}"
            _compile(library, driver, chunker, flags=(*CONFIGURATION, HIDDEN, *flags, includes))
            loops.append(Loop(name, library))
        return loops
    except (OSError, subprocess.SubprocessError, LookupError):
        return []


def our_loop(cache: Path) -> Loop:
    """Return our own ring buffer with a modulo, which stands in for casync's."""
    library = cache / "ring_buffer.so"
    native = ROOT / "images" / "_native"
    _compile(library, ROOT / "bench" / "ring_buffer.c", flags=("-O2", f"-I{native}"))
    return Loop("ring buffer and modulo (ours), -O2", library)


def _compile(library: Path, *sources: Path, flags: tuple[str, ...]) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    files = [str(source) for source in sources]
    command = ["cc", *flags, "-fPIC", "-shared", *files, "-lm", "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_S)


def _source(cache: Path) -> Path:
    """Return the unpacked source, fetching it unless it is there."""
    source = cache / "source"
    if (source / "src" / "cachunker.c").exists():
        return source
    archive = _download(cache)
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    found = next(iter(source.glob("**/src/cachunker.c")), None)
    if found is None:
        raise LookupError(f"no cachunker.c in {archive}")
    return found.parents[1]


def _download(cache: Path) -> Path:
    parts = cache / "apt" / "sources.list.d"
    for folder in (parts, cache / "apt" / "lists" / "partial", cache / "apt" / "archives/partial"):
        folder.mkdir(parents=True, exist_ok=True)
    system = Path("/etc/apt")
    for path in [system / "sources.list", *(system / "sources.list.d").iterdir()]:
        if path.suffix in (".list", ".sources") and path.exists():
            text = re.sub(r"(?m)^deb\s", "deb-src ", path.read_text())
            (parts / path.name).write_text(re.sub(r"(?m)^Types:.*$", "Types: deb-src", text))
    options = [
        "-o=Dir::Etc::sourcelist=/dev/null",
        f"-o=Dir::Etc::sourceparts={parts}",
        f"-o=Dir::State::lists={cache / 'apt' / 'lists'}",
        f"-o=Dir::Cache={cache / 'apt'}",
        "-o=APT::Sandbox::User=root",
    ]
    for command in (["update"], ["source", "--download-only", "casync"]):
        subprocess.run(
            ["apt-get", "-q", *options, *command],
            cwd=cache,
            check=True,
            capture_output=True,
            timeout=DEADLINE_S,
        )
    archive = next(iter(sorted(cache.glob("casync_*.orig.tar.*"))), None)
    if archive is None:
        raise LookupError("apt fetched no casync_*.orig.tar")
    return archive
