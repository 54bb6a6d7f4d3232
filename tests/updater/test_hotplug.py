# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.capabilities import require_module
from updater import hotplug
from updater.hotplug import block_events, until_found

BLOCK = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=block\0"
OTHER = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=net\0"


def test_what_is_there_needs_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "block_events", lambda: pytest.fail("listened"))
    assert until_found(lambda: 5, 1000) == 5


def test_what_came_before_listening_began_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "LOOK_AGAIN_S", 1000.0)
    looks = iter([None, "found"])
    assert until_found(lambda: next(looks), 1000) == "found"


def test_nothing_is_the_answer_at_the_deadline() -> None:
    assert until_found(lambda: None, 0.01) is None


def test_only_events_of_block_devices_end_a_wait() -> None:
    one, other = socket.socketpair(type=socket.SOCK_DGRAM)
    with one, other:
        one.send(OTHER)
        one.send(BLOCK)
        hotplug._wait_on(other, 1000)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(10)
        hotplug._wait_on(other, 0.01)


@pytest.mark.parametrize("fails", ["socket", "bind"])
def test_without_netlink_it_is_polled(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse if fails == "socket" else _Unbound)
    monkeypatch.setattr(hotplug, "UDEV_CONTROL", Path("/nowhere"))
    monkeypatch.setattr(hotplug, "LOOK_AGAIN_S", 0.01)
    looks = iter([None, None, None, "found"])
    assert until_found(lambda: next(looks), 1000) == "found"


class _Unbound:
    def __init__(self, *arguments: object) -> None:
        pass

    def __enter__(self) -> _Unbound:
        return self

    def __exit__(self, *unused: object) -> None:
        pass

    def bind(self, address: object) -> None:
        raise PermissionError(1, "Operation not permitted")


def test_where_udev_runs_pyudev_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_module("pyudev")
    (tmp_path / "control").touch()
    monkeypatch.setattr(hotplug, "UDEV_CONTROL", tmp_path / "control")
    with block_events() as wait:
        assert "_udev_monitor" in getattr(wait, "__qualname__", "")
        started = time.monotonic()
        wait(0.01)
        assert time.monotonic() - started < 30


def test_without_pyudev_the_kernel_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyudev", None)
    (tmp_path / "control").touch()
    monkeypatch.setattr(hotplug, "UDEV_CONTROL", tmp_path / "control")
    with block_events() as wait:
        assert "_udev_monitor" not in getattr(wait, "__qualname__", "")
