# SPDX-License-Identifier: Apache-2.0
"""Copies what seeds and the target itself have, in contiguous runs, by several threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from images.check import SPAN_LENGTH, right_chunks
from images.parallel import Scratch
from images.planning import Plan
from images.reading import BLOCK, read_into
from images.seeds import Seeds
from images.sources import Source
from images.target import Target


@dataclass(frozen=True, slots=True)
class Piece:
    """The chunks `first` to `stop`, exclusive, from `place` on in one source.

    Attributes:
        source: `SEED` or `COPY`.
        file: number of the seed file; of no meaning for a copy.
        place: byte offset in the file or in the target.
        first: number of the first chunk.
        stop: number of the chunk after the last one.
    """

    source: Source
    file: int
    place: int
    first: int
    stop: int


def pieces(plan: Plan) -> Iterator[Piece]:
    """Yield runs of positions whose chunks stand one after the other in one source."""
    index, sources = plan.index, plan.sources
    piece: Piece | None = None
    for number in range(len(index)):
        source = Source.NONE
        if not sources.right[number]:
            leader = sources.leader(number)
            source = sources.source(leader)
        if source not in (Source.SEED, Source.COPY):
            if piece is not None:
                yield piece
            piece = None
            continue
        place, file = sources.place(leader), sources.file(leader)
        start, end = index.start(number), index.end(number)
        if piece is not None:
            base = index.start(piece.first)
            if (
                (piece.source, piece.file) == (source, file)
                and piece.place + start - base == place
                and end - base <= SPAN_LENGTH
            ):
                piece = Piece(source, file, piece.place, piece.first, number + 1)
                continue
            yield piece
        piece = Piece(source, file, place, number, number + 1)
    if piece is not None:
        yield piece


class Copier:
    """Reads, digests and writes pieces; several threads at once."""

    def __init__(self, plan: Plan, target: Target, seeds: Seeds, reflink: bool) -> None:
        self._index = plan.index
        self._target = target
        self._seeds = seeds
        self._reflink = reflink
        self._scratch = Scratch(SPAN_LENGTH)

    def name(self, piece: Piece) -> str:
        """Return what users know the piece's source as."""
        if piece.source is Source.COPY:
            return self._target.name
        return self._seeds.files[piece.file].name

    def copy(self, piece: Piece) -> tuple[Piece, list[int]]:
        """Copy a piece; return it with the positions whose bytes were not what they should be."""
        fd, place = self._target.fd, piece.place + self._target.spec.offset
        if piece.source is Source.SEED:
            fd, place = self._seeds.files[piece.file].fd, piece.place
        base, end = self._index.start(piece.first), self._index.end(piece.stop - 1)
        view = self._read(fd, place, end - base)
        right = right_chunks(self._index, piece.first, piece.stop, view)
        bad = [number for number, good in enumerate(right, piece.first) if not good]
        good_from = base
        for number in bad:
            self._write(view, base, good_from, self._index.start(number), fd, place)
            good_from = self._index.end(number)
        self._write(view, base, good_from, end, fd, place)
        return piece, bad

    def _read(self, fd: int, place: int, length: int) -> memoryview:
        buffer = self._scratch.take(length)
        try:
            return buffer[: read_into(fd, place, buffer, length)]
        except OSError:
            return buffer[:0]  # a seed that fails to be read is a seed that has not got the chunk

    def _write(
        self, view: memoryview, base: int, start: int, end: int, fd: int, place: int
    ) -> None:
        """Put the bytes `start` to `end` of the image, sharing whole blocks where possible."""
        first = -(-start // BLOCK) * BLOCK
        stop = end // BLOCK * BLOCK
        if (
            self._reflink
            and first < stop
            and self._target.clone(first, fd, place + first - base, stop - first)
        ):
            self._target.put(start, view[start - base : first - base])
            self._target.put(stop, view[stop - base : end - base])
        elif start < end:
            self._target.put(start, view[start - base : end - base])
