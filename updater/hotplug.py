# SPDX-License-Identifier: Apache-2.0
"""Waiting for a block device to appear.

Where udev runs, pyudev tells when it has dealt with an event, so that nodes and links are there.
Without pyudev or udev the kernel's own events do (NETLINK_KOBJECT_UEVENT, group 1: linux/netlink.h;
lib/kobject_uevent.c), which come a moment earlier than the node. Nothing is polled but where
neither can be had, such as in a network namespace of one's own.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

NETLINK_KOBJECT_UEVENT = 15
KERNEL_EVENTS = 1
UDEV_CONTROL = Path("/run/udev/control")
"""There is a udev where its control socket is; systemd-udevd(8)."""

LOOK_AGAIN_S = 1.0
"""Events can be lost when the socket's buffer is full, and a node follows its event."""

Wait = Callable[[float], None]
"""Returns when something may have happened, or after so many seconds."""


def until_found(look: Callable[[], T | None], wait_s: float) -> T | None:
    """Look until there is something, or the time is over; then return None."""
    found = look()
    if found is not None:
        return found
    deadline_s = time.monotonic() + wait_s
    with block_events() as wait:
        # Whatever came between the first look and the start of listening is seen now.
        while (found := look()) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            wait(min(left_s, LOOK_AGAIN_S))
    return found


@contextmanager
def block_events() -> Iterator[Wait]:
    """Listen for block devices that come and go, by the best means there is."""
    monitor = _udev_monitor() if UDEV_CONTROL.exists() else None
    if monitor is not None:
        yield monitor
        return
    try:
        listener = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT
        )
    except OSError:
        yield time.sleep
        return
    with listener:
        try:
            listener.bind((0, KERNEL_EVENTS))
        except OSError:
            yield time.sleep
            return
        yield lambda seconds: _wait_on(listener, seconds)


def _wait_on(listener: socket.socket, seconds: float) -> None:
    """Return at the next event of a block device."""
    deadline_s = time.monotonic() + seconds
    while (left_s := deadline_s - time.monotonic()) > 0:
        ready, _, _ = select.select([listener], [], [], left_s)
        if ready:
            with suppress(OSError):  # ENOBUFS: events were lost, so look
                if b"\0SUBSYSTEM=block\0" not in listener.recv(1 << 16):
                    continue
            return


def _udev_monitor() -> Wait | None:
    try:
        import pyudev

        monitor = pyudev.Monitor.from_netlink(pyudev.Context())
        monitor.filter_by("block")
        monitor.start()
    except (ImportError, OSError):  # pyudev raises ImportError where it finds no libudev
        return None

    def wait(seconds: float) -> None:
        monitor.poll(seconds)

    return wait
