# SPDX-License-Identifier: Apache-2.0
"""Seeds: data that is already here and may hold chunks of the new image.

A seed is a block device, a file, a region of either, or a folder of files, with or without an
index of its own. Without one it is cut into chunks as the image was; a chunk is digested only if
its length is that of one that is lacking. Nothing found here is believed: the bytes are digested
again when they are used, so a seed that changes meanwhile, or has lost some, costs a fetch and
nothing else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fsprobe import ProbeError, probe
from fsprobe.device import Device
from images.errors import ImageError, IndexInvalid, SeedUnusable
from images.events import EventSink, Phase, Progress, SourceFailed
from images.index import Index
from images.parallel import each
from images.reading import LostBlocks
from images.runs import FileRegion, Run, runs
from images.sources import Source, SourceMap
from images.specs import SeedSpec


@dataclass(frozen=True, slots=True)
class SeedFile:
    """One open file or device of a seed: the bytes `start` to `start + length` of `fd`."""

    name: str
    fd: int
    start: int
    length: int
    index: Index | None


class Seeds:
    """Opens seeds one after the other and keeps open those files that are of use.

    Attributes:
        files: the files that chunks were found in; `SourceMap.file` counts into it.
    """

    def __init__(self, specs: Sequence[SeedSpec], sink: EventSink) -> None:
        self._specs = specs
        self._sink = sink
        self._open = ExitStack()
        self.files: list[SeedFile] = []

    def __enter__(self) -> Seeds:
        return self

    def __exit__(self, *unused: object) -> None:
        self._open.close()

    def find(self, sources: SourceMap, threads: int) -> None:
        """Look in every seed for what lacks a source, until nothing does."""
        for spec in self._specs:
            for path in _paths(spec):
                if not sources.wants_any():
                    return
                try:
                    self._find_in(path, spec, sources, threads)
                except (ImageError, ProbeError, OSError) as error:
                    text = error.strerror if isinstance(error, OSError) else str(error)
                    self._sink(SourceFailed(str(path), None, SeedUnusable.code, text or ""))

    def _find_in(self, path: Path, spec: SeedSpec, sources: SourceMap, threads: int) -> None:
        with ExitStack() as closing:
            seed = _open_seed(path, spec, closing)
            number = len(self.files)
            found = (
                _find_by_cutting(seed, sources, self._sink, threads)
                if seed.index is None
                else _find_by_index(seed.index, seed, sources)
            )
            for leader, offset in found:
                if number == len(self.files):  # kept from here on, also if the rest fails
                    self.files.append(seed)
                    self._open.push(closing.pop_all())
                sources.assign(leader, Source.SEED, offset, number)


def _find_by_cutting(
    seed: SeedFile, sources: SourceMap, sink: EventSink, threads: int
) -> Iterator[tuple[int, int]]:
    """Cut a seed into chunks and yield `(leader, offset in the file)` of those that are lacking.

    Raises:
        OSError: the seed cannot be read, or became shorter.
    """
    digest = sources.index.digest

    def lacking(run: Run) -> tuple[int, list[tuple[int, int]]]:
        with run:
            chunks = [chunk for chunk in run.chunks() if sources.may_want(len(chunk[1]))]
            if run.zero:
                chunks = []
            ids = digest.of_each([data for _, data in chunks])
            found = [
                (leader, seed.start + offset)
                for (offset, _), chunk_id in zip(chunks, ids, strict=True)
                if (leader := sources.find_wanted(chunk_id)) >= 0
            ]
            return run.ends[-1], found

    done = 0
    sink(Progress(Phase.INDEX_SEEDS, done, seed.length))
    region = FileRegion(seed.fd, seed.start, seed.length, LostBlocks())
    for end, found in each(runs(region, sources.index.sizes, threads=threads), lacking, threads):
        for leader, offset in found:
            if sources.source(leader) is Source.NONE:
                yield leader, offset
        done = max(done, end)
        sink(Progress(Phase.INDEX_SEEDS, done, seed.length))


def _find_by_index(index: Index, seed: SeedFile, sources: SourceMap) -> Iterator[tuple[int, int]]:
    for start, end, chunk_id in index.chunks():
        if sources.may_want(end - start) and end <= seed.length:
            leader = sources.find_wanted(chunk_id)
            if leader >= 0:
                yield leader, seed.start + start


def _paths(spec: SeedSpec) -> Iterator[Path]:
    if not spec.path.is_dir():
        yield spec.path
        return
    for folder, subfolders, names in os.walk(spec.path):
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _open_seed(path: Path, spec: SeedSpec, closing: ExitStack) -> SeedFile:
    """Open a seed.

    Raises:
        OSError: it cannot be opened, or is neither a file nor a block device.
        ProbeError: the superblock of a device cannot be believed.
        IndexInvalid: the seed's own index is broken.
    """
    index = Index.load(spec.index) if spec.index is not None else None
    if index is not None and not len(index):
        raise IndexInvalid(f"index {spec.index} is empty")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    closing.callback(os.close, fd)
    length = Device(fd).length - spec.offset
    if spec.length is not None:
        length = min(length, spec.length)
    elif spec.offset == 0 and stat.S_ISBLK(os.fstat(fd).st_mode):
        found = probe(fd)
        if found is not None and found.length is not None:
            length = min(length, found.length)
    return SeedFile(str(path), fd, spec.offset, max(0, length), index)
