# SPDX-License-Identifier: Apache-2.0
"""A few threads that decompress and digest the bodies of chunks, as many at once as have come.

Bodies that wait are taken together: under load a batch fills the lanes of the digest and costs one
hand-over of the interpreter lock; where the network is slower than the threads, each body is taken
when it comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from images.chunkfile import check_id, unpack
from images.digests import Digest
from images.errors import ImageError
from images.stores.protocol import Answer, ChunkRef

_BATCH_BYTES = 512 << 10
"""Uncompressed bytes that a thread takes at a time, or one chunk."""


@dataclass(frozen=True, slots=True)
class Body:
    """A compressed chunk as it came.

    Attributes:
        transferred: bytes that came for it, failures included.
    """

    ref: ChunkRef
    body: bytes
    transferred: int


class Decoders:
    """Turns bodies into answers; `done` and `broke` are called by its threads."""

    def __init__(
        self,
        name: str,
        digest: Digest,
        threads: int,
        done: Callable[[Answer], None],
        broke: Callable[[Exception], None],
    ) -> None:
        """Start the threads.

        Args:
            name: of the store, for the answers.
            digest: of the chunks' ids.
            threads: how many.
            done: is given each answer.
            broke: is given the exception that ended a thread, which is a bug.
        """
        self._name, self._digest, self._done, self._broke = name, digest, done, broke
        self._waiting: SimpleQueue[Body | None] = SimpleQueue()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, name="decode", daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def offer(self, body: Body) -> None:
        """Have one more body decoded."""
        self._waiting.put(body)

    def close(self) -> None:
        """End the threads; what waits is dropped."""
        self._closing = True
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while batch := self._take():
                for answer in self._answers(batch):
                    self._done(answer)
        except Exception as error:
            self._broke(error)

    def _take(self) -> list[Body]:
        """Wait for a body, and take what else is there; nothing when it is time to end."""
        batch: list[Body] = []
        length = 0
        while length < _BATCH_BYTES:
            try:
                body = self._waiting.get(block=not batch)
            except Empty:
                break
            if body is None or self._closing:
                return []
            batch.append(body)
            length += body.ref.length
        return batch

    def _answers(self, batch: list[Body]) -> list[Answer]:
        unpacked = [self._unpack(body) for body in batch]
        ids = iter(self._digest.of_each([data for data, _ in unpacked if data is not None]))
        answers = []
        for body, (data, error) in zip(batch, unpacked, strict=True):
            if data is not None:
                try:
                    check_id(next(ids), body.ref.id)
                except ImageError as raised:
                    data, error = None, raised
            if error is not None:
                error = type(error)(f"{self._name}: {error}", hint=error.hint)
            answers.append(Answer(body.ref, data, error, body.transferred, self._name))
        return answers

    def _unpack(self, body: Body) -> tuple[bytes | None, ImageError | None]:
        try:
            return unpack(body.body, body.ref.length, body.ref.id), None
        except ImageError as error:
            return None, error
