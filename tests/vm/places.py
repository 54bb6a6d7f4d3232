# SPDX-License-Identifier: Apache-2.0
"""At most two guests at once, whatever number of test processes there are.

Emulation takes a whole core for each guest; more of them than cores slows all of them beyond their
deadlines. A place is a locked file, so a test process that dies gives its places back.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.vm.cache import FOLDER

PLACES = 2
_PAUSE_S = 0.05


@contextmanager
def places(count: int) -> Iterator[None]:
    """Hold places for `count` guests.

    All are taken at once: processes that hold one place each and wait for a second would wait for
    ever. So only one process at a time waits for places, and the others wait for it.
    """
    assert count <= PLACES
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with open(FOLDER / "queue.lock", "wb") as queue:
            fcntl.flock(queue, fcntl.LOCK_EX)
            files = [
                held.enter_context(open(FOLDER / f"place-{number}.lock", "wb"))
                for number in range(PLACES)
            ]
            taken = 0
            while taken < count:
                for file in files:
                    if taken < count and _try_lock(file.fileno()):
                        taken += 1
                        files = [other for other in files if other is not file]
                if taken < count:
                    time.sleep(_PAUSE_S)  # two locks cannot be awaited at once
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0
