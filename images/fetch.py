# SPDX-License-Identifier: Apache-2.0
"""One file from a web server into memory: remote indexes.

The rules are those of chunk stores (`stores/rules.py`), and so is what asks: the same library, so
that a process does not load two.
"""

from __future__ import annotations

import time
from contextlib import closing

from images.errors import ChunkInvalid, ChunkMissing, ImageError, NotAccessible, Refused
from images.locator import HttpUrl
from images.stores.rules import Again, Attempts
from images.stores.settings import HttpSettings
from images.stores.transfer import Reply, Request, Transfer, new_transfer

_LONGEST_POLL_S = 10.0


def fetch_bytes(url: HttpUrl, settings: HttpSettings, limit: int) -> bytes:
    """Return the body at `url`, query included.

    Raises:
        NotAccessible: 404, 410, or credentials are lacking or wrong.
        Refused: it is longer than `limit` bytes.
        StoreUnavailable: no good answer until the deadline.
    """
    request = Request(url=url.url, head=False, credentials=True, limit=limit)
    attempts = Attempts(url.name, request, settings.deadline_s, settings.redirects_max)
    with closing(new_transfer(settings, url.authorization)) as transfer:
        while True:
            reply = _exchange(transfer, attempts.request)
            then = attempts.judge(reply).then
            if then is None:
                return reply.body
            if isinstance(then, ImageError):
                raise _of_a_file(then)
            if isinstance(then, Again):
                time.sleep(then.wait_s)


def _exchange(transfer: Transfer, request: Request) -> Reply:
    transfer.start(request)
    while not (replies := transfer.poll(_LONGEST_POLL_S)):
        pass
    return replies[0]


def _of_a_file(error: ImageError) -> ImageError:
    """Return what an error about a chunk is when it is about a file."""
    if isinstance(error, ChunkMissing):
        return NotAccessible(str(error))
    if isinstance(error, ChunkInvalid):
        return Refused(str(error))
    return error
