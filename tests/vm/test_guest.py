# SPDX-License-Identifier: Apache-2.0
"""The harness itself, on the fastest machine there is: ARM, its kernel started directly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faulty_server import FaultyServer
from tests.vm.architecture import Architecture
from tests.vm.devices import direct, factory_disk
from tests.vm.disk import Partition
from tests.vm.guest import JobFailed
from tests.vm.machine import Closed, started

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

KERNELS_AGREE = """
import random
from images._native import _kernels
assert _kernels.kernels() == ("neon", "portable"), _kernels.kernels()
for length in (48, 49, 4096 + 48, 70_001):
    data = random.Random(length).randbytes(length)
    marks = []
    for kernel in _kernels.kernels():
        bits = bytearray((length - 48 + 63) // 64 * 8)
        _kernels.scan(kernel, data, bits, 11)
        marks.append(bytes(bits))
    assert marks[0] == marks[1], length
assert any(marks[0])
"""
ZSTD_IS_THERE = """
from backports import zstd
assert zstd.decompress(zstd.compress(b"caflip" * 99)) == b"caflip" * 99
"""
FETCH = 'import sys, requests; print(requests.get(sys.argv[1], timeout=20).text, end="")'


def test_a_job_in_a_guest_brings_its_status_and_caflip_works_there(tmp_path: Path) -> None:
    disk = factory_disk(tmp_path, Architecture.ARM64, both=False)
    with (
        FaultyServer({"/hello": b"from the host"}) as server,
        started(direct(disk), tmp_path / "log") as machine,
    ):
        guest = machine.wait_up()
        assert guest.attempt("echo text; echo '@@ EXIT 1 0'; exit 7").status == 7
        assert guest.run("cat /etc/version") == "v1\n"
        with pytest.raises(JobFailed, match="status 1"):
            guest.run("false; true")
        with pytest.raises(TimeoutError, match="sleep"):
            guest.run("sleep 1000", timeout_s=0.5)
        machine.reset()
        again = machine.wait_up()
        assert again.boot_id != guest.boot_id

        again.python(KERNELS_AGREE)
        again.python(ZSTD_IS_THERE)
        assert "ext4" in again.run("caflip probe /dev/disk/by-partlabel/root-a")
        url = f"http://10.0.2.2:{server.url.rsplit(':', 1)[1]}/hello"
        again.put("/tmp/fetch.py", FETCH)
        assert again.run(f"python3 /tmp/fetch.py {url}") == "from the host"
        machine.connect_network(False)
        again.run("until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done")
        machine.connect_network(True)

        again.run("echo kept >/data/kept; sync; echo lost >/data/lost")
        machine.cut()
        with pytest.raises(Closed):
            again.run("true")
    with started(direct(disk), tmp_path / "log") as machine:
        guest = machine.wait_up()
        assert guest.run("cat /data/kept; [ -s /data/lost ] || echo gone") == "kept\ngone\n"
        machine.power_off(guest)


def test_a_kernel_that_finds_no_root_is_not_taken_for_a_system(tmp_path: Path) -> None:
    disk = factory_disk(tmp_path, Architecture.ARM64, both=False)
    with disk.open("r+b") as file:
        file.seek(Partition.ROOT_A.offset)
        file.write(bytes(1 << 20))
    hardware = replace(direct(disk), restarts=False)
    with started(hardware, tmp_path / "log") as machine, pytest.raises(Closed):
        machine.wait_up()  # the kernel panics and restarts, which ends the machine
    assert "Unable to mount root" in (tmp_path / "log").read_text()
