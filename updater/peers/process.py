# SPDX-License-Identifier: Apache-2.0
"""The process that faces the network: no privileges, descriptors for reading, a way back to us.

It is forked, not started: it needs nothing but what is in memory and open already, and costs no
second start of the interpreter. It sees the end of its parent by that of their socket.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable

NOBODY = 65534
"""The overflow user and group of the kernel, which own nothing (proc(5), overflowuid)."""

MOST_DESCRIPTORS = 512

# include/uapi/linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38


def fork(
    load: Callable[[], None], work: Callable[[socket.socket], None], keep: Iterable[int]
) -> tuple[int, socket.socket]:
    """Run something in a process without privileges.

    Args:
        load: called there before privileges are given up, to import what later cannot be read.
        work: is given our end of a socket of records; the process ends when it returns.
        keep: descriptors that it needs.

    Returns:
        Its number, and the other end of the socket; it is to end soon after that is closed.

    Raises:
        OSError: there can be no more processes or descriptors.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    with theirs:
        number = os.fork()
        if number:
            return number, ours
        status = 1
        try:
            load()
            _leave({0, 1, 2, theirs.fileno(), *keep})
            work(theirs)
            status = 0
        except BaseException:  # there is no caller to tell
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)


def detach() -> None:
    """Let go of what whoever started our parent waits for: its standard input and outputs."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.close(nothing)


def _leave(keep: set[int]) -> None:
    """Give up all that is not needed: descriptors, privileges, signals that are the parent's."""
    for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(caught, signal.SIG_IGN)  # a Ctrl-C is for the parent, whose end ends us
    low = 0
    for fd in sorted(keep):
        if low < fd:  # an empty range that ends at 0 is taken for all
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_DESCRIPTORS, MOST_DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir("/")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
