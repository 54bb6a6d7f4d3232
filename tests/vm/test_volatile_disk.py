# SPDX-License-Identifier: Apache-2.0
"""The disk that loses its cache, with QEMU's own tools as its machine."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capabilities import require_tool
from tests.vm.programs import ProgramFailed, run
from tests.vm.volatile_disk import (
    BLOCK,
    SECTOR,
    DiskServer,
    Loss,
    Tear,
    VolatileDisk,
    served_disk,
)
from tests.waiting import DEADLINE_S

SECTORS = 64
LENGTH = SECTORS * SECTOR
DIE = "sigraise 9"
"""At its end qemu-io flushes; killed it cannot."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(LENGTH))
    return path


@pytest.fixture
def disk(path: Path) -> Iterator[VolatileDisk]:
    disk = VolatileDisk(path)
    yield disk
    disk.close()


@pytest.fixture
def server(disk: VolatileDisk) -> Iterator[DiskServer]:
    require_tool("qemu-io", "qemu-img")
    with served_disk(disk) as server:
        yield server


def qemu_io(server: DiskServer, *commands: str) -> None:
    words = [word for command in commands for word in ("-c", command)]
    run("qemu-io", "-f", "raw", "-t", "writeback", *words, server.url)
    server.wait_idle()


def killed_qemu_io(server: DiskServer, *commands: str) -> None:
    with pytest.raises(ProgramFailed, match="status -9"):
        qemu_io(server, *commands, DIE)
    server.wait_idle()


def lose_all(disk: VolatileDisk) -> Loss:
    return disk.cut(Tear.WHOLE, 0.0, random.Random(0))


def test_qemu_finds_the_length_and_reads_what_it_wrote(server: DiskServer, path: Path) -> None:
    described = run("qemu-img", "info", "--output=json", server.url)
    assert f'"virtual-size": {LENGTH}' in described
    qemu_io(
        server,
        "write -P 0x41 4096 8192",
        "write -z 4096 512",
        "discard 11776 512",
        "read -P 0x41 4608 7168",
    )
    assert path.read_bytes() == bytes(4608) + b"A" * 7168 + bytes(LENGTH - 11776)


def test_what_qemu_flushed_stays_and_what_came_later_is_lost(
    server: DiskServer, disk: VolatileDisk, path: Path
) -> None:
    killed_qemu_io(server, "write -P 0x41 0 4096", "flush", "write -P 0x42 2048 8192")
    assert path.read_bytes() == b"A" * 2048 + b"B" * 8192 + bytes(LENGTH - 10240)
    assert lose_all(disk) == Loss(unflushed=8192, lost=8192)
    assert path.read_bytes() == b"A" * 4096 + bytes(LENGTH - 4096)


def test_a_write_through_stays_and_does_not_bring_others_along(
    server: DiskServer, disk: VolatileDisk, path: Path
) -> None:
    killed_qemu_io(server, "write -P 0x41 0 4096", "write -f -P 0x42 1024 512")
    assert lose_all(disk) == Loss(unflushed=4096, lost=4096)
    assert path.read_bytes() == bytes(1024) + b"B" * 512 + bytes(LENGTH - 1536)


def test_what_is_known_by_its_data_goes_through(path: Path) -> None:
    disk = VolatileDisk(path, through=lambda data: data.startswith(b"B"))
    disk.write(0, b"A" * SECTOR, durable=False)
    disk.write(SECTOR, b"B" * SECTOR, durable=False)
    assert lose_all(disk) == Loss(unflushed=SECTOR, lost=SECTOR)
    disk.close()
    assert path.read_bytes() == bytes(SECTOR) + b"B" * SECTOR + bytes(LENGTH - 2 * SECTOR)


@pytest.mark.parametrize("tear", Tear)
def test_a_write_tears_at_its_borders_only(tear: Tear, disk: VolatileDisk, path: Path) -> None:
    length = min(tear.value, 2 * BLOCK)
    seen = set()
    for seed in range(200):
        disk.write(0, bytes(2 * BLOCK), durable=True)
        disk.flush()
        disk.write(0, b"A" * 2 * BLOCK, durable=False)
        disk.cut(tear, 0.5, random.Random(seed))
        content = path.read_bytes()[: 2 * BLOCK]
        pieces = [content[at : at + length] for at in range(0, 2 * BLOCK, length)]
        assert set(pieces) <= {bytes(length), b"A" * length}
        seen.add(tuple(piece[0] for piece in pieces))
    assert len(seen) >= min(100, 2 ** (2 * BLOCK // length))


def test_writes_that_were_not_flushed_are_lost_in_any_combination(
    disk: VolatileDisk, path: Path
) -> None:
    seen = set()
    for seed in range(100):
        for at, data in ((0, b"A"), (BLOCK, b"B"), (0, b"C")):
            disk.write(at, data * BLOCK, durable=False)
        disk.cut(Tear.WHOLE, 0.5, random.Random(seed))
        content = path.read_bytes()
        seen.add((content[:1], content[BLOCK : BLOCK + 1]))
        disk.write(0, bytes(2 * BLOCK), durable=True)
        disk.flush()
    assert seen == {(a, b) for a in (b"\0", b"A", b"C") for b in (b"\0", b"B")}


@pytest.mark.parametrize("seed", range(20))
def test_each_sector_ends_as_after_the_last_flush_or_any_write_since(
    seed: int, disk: VolatileDisk, path: Path
) -> None:
    chance = random.Random(seed)
    legal = [{bytes(SECTOR)} for _ in range(SECTORS)]
    newest = [bytes(SECTOR)] * SECTORS
    for _ in range(60):
        if chance.random() < 0.05:
            disk.flush()
            legal = [{content} for content in newest]
        first = chance.randrange(SECTORS)
        data = chance.randbytes(SECTOR * chance.randint(1, SECTORS - first))
        durable = chance.random() < 0.2
        disk.write(first * SECTOR, data, durable=durable)
        for number in range(len(data) // SECTOR):
            sector = data[number * SECTOR : (number + 1) * SECTOR]
            newest[first + number] = sector
            legal[first + number] = (set() if durable else legal[first + number]) | {sector}
    assert disk.read(0, LENGTH) == b"".join(newest)
    disk.cut(chance.choice(list(Tear)), 0.5, chance)
    content = path.read_bytes()
    for number in range(SECTORS):
        assert content[number * SECTOR : (number + 1) * SECTOR] in legal[number]


def test_blocks_that_are_written_again_are_told(disk: VolatileDisk) -> None:
    disk.write(BLOCK, b"A" * 3 * BLOCK, durable=False)
    disk.write(0, b"A" * 2 * BLOCK + b"B" * BLOCK, durable=False)
    assert disk.rewritten == [BLOCK]


def test_whoever_waits_for_a_number_of_writes_is_woken_by_the_last(disk: VolatileDisk) -> None:
    woken = threading.Event()

    def wait() -> None:
        disk.wait_writes(2, DEADLINE_S)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    disk.write(0, bytes(SECTOR), durable=False)
    assert not woken.is_set()
    disk.write(0, bytes(SECTOR), durable=False)
    assert woken.wait(DEADLINE_S)
    thread.join()
