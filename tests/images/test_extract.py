# SPDX-License-Identifier: Apache-2.0
"""Plan and assembly end to end, on files, regions and devices."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from images.digests import Digest
from images.errors import ChunkInvalid, ChunkMissing, DeviceFault, TargetTooSmall
from images.events import Event, SourceFailed
from images.extraction import Options, extract, plan
from images.index import Index
from images.inputs import open_input
from images.making import make
from images.reading import BLOCK
from images.sources import Source
from images.specs import SeedSpec, TargetSpec
from images.stores.chain import Chain
from images.stores.local import LocalStore
from images.target import Target
from tests.capabilities import require_loop_devices, require_tool
from tests.loops import loop_device, mounted, run

MIB = 1 << 20


@dataclass(frozen=True)
class Published:
    """An image, its index, and a store with its chunks."""

    data: bytes
    path: Path
    index: Index
    store: Path

    def chain(self) -> Chain:
        return Chain([LocalStore(self.store)])


def publish(folder: Path, name: str, data: bytes, digest: Digest = Digest.SHA512_256) -> Published:
    path = folder / name
    path.write_bytes(data)
    store = folder / f"{name}.castr"
    with LocalStore(store).writer() as writer, open_input(path) as source:
        made = make(source, digest=digest, writer=writer)
    return Published(data, path, made.index, store)


NO_STORES = Chain([])


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """6 MiB of noise with 2 MiB of zeros in the middle, and one part twice."""
    noise = random.Random(7).randbytes(6 * MIB)
    data = noise[: 3 * MIB] + bytes(2 * MIB) + noise[3 * MIB :] + noise[: 1 * MIB]
    return publish(tmp_path_factory.mktemp("new"), "new", data)


def _shares(published: Published, result: object) -> dict[str, int]:
    shares = result.shares  # type: ignore[attr-defined]
    assert sum(share.bytes for share in shares.values()) == len(published.data)
    assert sum(share.chunks for share in shares.values()) == len(published.index)
    return {source.name: share.bytes for source, share in shares.items() if share.bytes}


def test_a_new_file_comes_from_the_store_zeros_and_copies(new: Published, tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image")
    made, report = extract(new.index, spec, seeds=[], stores=new.chain())
    assert spec.path.read_bytes() == new.data
    shares = _shares(new, made)
    assert _shares(new, report) == shares
    assert set(shares) == {"ZERO", "COPY", "STORE"}
    assert shares["ZERO"] >= 2 * MIB - 2 * 262144
    assert shares["COPY"] >= MIB - 2 * 262144
    assert made.bytes_to_write == len(new.data)
    assert made.download_length == report.transferred
    assert made.requests == 0
    assert spec.path.stat().st_blocks * 512 <= len(new.data) - shares["ZERO"] + 2 * BLOCK


def test_the_second_time_nothing_is_written(new: Published, tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image", in_place=True)
    extract(new.index, spec, seeds=[], stores=new.chain())
    before = spec.path.stat().st_mtime_ns
    made, report = extract(new.index, spec, seeds=[], stores=NO_STORES)
    assert _shares(new, made) == {"TARGET": len(new.data)}
    assert (report.bytes_written, report.transferred, made.bytes_to_write) == (0, 0, 0)
    assert spec.path.stat().st_mtime_ns == before or spec.path.read_bytes() == new.data


def test_a_complete_seed_needs_no_store(new: Published, tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image")
    made, report = extract(new.index, spec, seeds=[SeedSpec(new.path)], stores=NO_STORES)
    assert spec.path.read_bytes() == new.data
    assert set(_shares(new, made)) == {"ZERO", "SEED"}
    assert report.transferred == 0


def test_a_seed_with_an_index_is_not_cut(new: Published, tmp_path: Path) -> None:
    new.index.save(tmp_path / "seed.caibx")
    shutil.copy(new.path, tmp_path / "seed")
    events: list[Event] = []
    extract(
        new.index,
        TargetSpec(tmp_path / "image"),
        seeds=[SeedSpec.parse(str(tmp_path / "seed.caibx"))],
        stores=NO_STORES,
        sink=events.append,
    )
    assert (tmp_path / "image").read_bytes() == new.data
    assert not [e for e in events if "seed" in str(e)]


def test_a_region_of_a_disk_is_a_seed(new: Published, tmp_path: Path) -> None:
    disk = random.Random(8).randbytes(MIB + 512) + new.data + random.Random(9).randbytes(MIB)
    (tmp_path / "disk").write_bytes(disk)
    seed = SeedSpec.parse(f"{tmp_path}/disk@1048576+{len(new.data) + 512}")
    assert seed == SeedSpec(tmp_path / "disk", MIB, len(new.data) + 512)
    extract(new.index, TargetSpec(tmp_path / "image"), seeds=[seed], stores=new.chain())
    assert (tmp_path / "image").read_bytes() == new.data


def test_a_folder_of_files_is_a_seed(new: Published, tmp_path: Path) -> None:
    folder = tmp_path / "folder" / "deep"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(new.data[: 3 * MIB])
    (folder / "b").write_bytes(new.data[3 * MIB :])
    (folder / "link").symlink_to("/dev/zero")
    os.mkfifo(folder / "fifo")
    made, _ = extract(
        new.index,
        TargetSpec(tmp_path / "image"),
        seeds=[SeedSpec(tmp_path / "folder")],
        stores=new.chain(),
    )
    assert (tmp_path / "image").read_bytes() == new.data
    assert _shares(new, made)["SEED"] >= len(new.data) - 2 * MIB - 4 * 262144


def test_a_seed_that_cannot_be_read_is_told_and_left_out(new: Published, tmp_path: Path) -> None:
    events: list[Event] = []
    extract(
        new.index,
        TargetSpec(tmp_path / "image"),
        seeds=[SeedSpec(tmp_path / "missing"), SeedSpec(new.path)],
        stores=NO_STORES,
        sink=events.append,
    )
    failures = [e for e in events if isinstance(e, SourceFailed)]
    assert [(f.source, f.code) for f in failures] == [
        (str(tmp_path / "missing"), "image.seed-unusable")
    ]


def test_a_seed_that_changes_after_the_plan_costs_a_fetch(new: Published, tmp_path: Path) -> None:
    """Its index says what it held; the bytes are others by now."""
    new.index.save(tmp_path / "seed.caibx")
    changed = bytearray(new.data)
    changed[100_000] ^= 1
    changed[4 * MIB :] = changed[4 * MIB : 5 * MIB]
    (tmp_path / "seed").write_bytes(changed)
    events: list[Event] = []
    _, report = extract(
        new.index,
        TargetSpec(tmp_path / "image"),
        seeds=[SeedSpec.parse(str(tmp_path / "seed.caibx"))],
        stores=new.chain(),
        sink=events.append,
    )
    assert (tmp_path / "image").read_bytes() == new.data
    assert report.transferred > 0
    assert {e.code for e in events if isinstance(e, SourceFailed)} == {"image.seed-changed"}


def test_bytes_of_a_seed_that_are_not_what_they_should_be_are_never_written(
    new: Published, tmp_path: Path
) -> None:
    new.index.save(tmp_path / "seed.caibx")
    changed = bytearray(new.data)
    changed[100_000] ^= 1
    (tmp_path / "seed").write_bytes(changed)
    target = tmp_path / "target"
    target.write_bytes(bytes(len(new.data)))
    with pytest.raises(ChunkMissing):
        extract(
            new.index,
            TargetSpec(target, in_place=True),
            seeds=[SeedSpec.parse(str(tmp_path / "seed.caibx"))],
            stores=NO_STORES,
        )
    found = target.read_bytes()
    bad = new.index.id(new.index.find(100_000))
    for start, end, chunk_id in new.index.chunks():
        expected = bytes(end - start) if chunk_id == bad else new.data[start:end]
        assert found[start:end] == expected


def test_an_index_describes_the_region_of_its_seed(new: Published, tmp_path: Path) -> None:
    new.index.save(tmp_path / "seed.caibx")
    (tmp_path / "disk").write_bytes(b"x" * 1000 + new.data)
    seed = SeedSpec(tmp_path / "disk", offset=1000, index=tmp_path / "seed.caibx")
    spec = TargetSpec(tmp_path / "image")
    made, _ = extract(new.index, spec, seeds=[seed], stores=NO_STORES)
    assert spec.path.read_bytes() == new.data
    assert set(_shares(new, made)) == {"ZERO", "SEED"}


@pytest.mark.parametrize("shift", [1, 4096, 70_000, 1_000_000])
@pytest.mark.parametrize("forward", [True, False])
def test_content_that_moves_in_place_is_not_fetched(
    new: Published, tmp_path: Path, shift: int, forward: bool
) -> None:
    """Where casync reuses nothing of a target that moves forward, all but the edges moves here."""
    extra = random.Random(10).randbytes(shift)
    old, image = new.data, extra + new.data
    if not forward:
        old, image = image, old
    wanted = publish(tmp_path, "wanted", image)
    target = tmp_path / "target"
    target.write_bytes(old)
    spec = TargetSpec(target, in_place=True)
    made, report = extract(wanted.index, spec, seeds=[], stores=wanted.chain())
    assert target.read_bytes() == image
    moved = report.shares[Source.MOVE].bytes + report.shares[Source.COPY].bytes
    fetched = report.shares[Source.STORE].bytes if Source.STORE in report.shares else 0
    assert fetched <= (shift + 3 * 262144 if forward else 3 * 262144)
    assert moved > 4 * MIB
    assert _shares(wanted, report) == _shares(wanted, made)


def test_halves_that_change_places_are_moved(tmp_path: Path) -> None:
    noise = random.Random(11).randbytes(4 * MIB)
    wanted = publish(tmp_path, "wanted", noise[2 * MIB :] + noise[: 2 * MIB])
    target = tmp_path / "target"
    target.write_bytes(noise)
    made, _ = extract(
        wanted.index, TargetSpec(target, in_place=True), seeds=[], stores=wanted.chain()
    )
    assert target.read_bytes() == wanted.data
    assert _shares(wanted, made)["MOVE"] > 3 * MIB


def test_seed_output_no_leaves_the_rest_of_the_target_alone(new: Published, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"x" * 5000 + new.data)
    made = plan(
        new.index,
        TargetSpec(target, in_place=True),
        seeds=[],
        stores=new.chain(),
        options=Options(seed_output=False),
    )
    assert Source.MOVE not in made.shares


def test_a_replaced_file_is_a_seed_of_the_new_one(new: Published, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x" * 5000 + new.data)
    made, _ = extract(new.index, TargetSpec(tmp_path / "image"), seeds=[], stores=new.chain())
    assert (tmp_path / "image").read_bytes() == new.data
    assert _shares(new, made)["SEED"] > 5 * MIB


def test_a_plan_writes_nothing(new: Published, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    for in_place in (True, False):
        made = plan(new.index, TargetSpec(target, in_place=in_place), seeds=[], stores=new.chain())
        assert made.bytes_to_write == len(new.data)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_chunks_that_no_local_store_has_are_told_before_a_write(
    new: Published, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    empty = Chain([LocalStore(tmp_path / "empty.castr")])
    with pytest.raises(ChunkMissing, match="in no seed and no store"):
        extract(new.index, TargetSpec(target, in_place=True), seeds=[], stores=empty)
    assert target.read_bytes() == b"old"


def test_a_corrupt_chunk_in_the_only_store_is_named_and_all_others_are_in_place(
    new: Published, tmp_path: Path
) -> None:
    store = tmp_path / "bad.castr"
    shutil.copytree(new.store, store)
    name = new.index.id(3).hex()
    (store / name[:4] / f"{name}.cacnk").write_bytes(b"\x28\xb5\x2f\xfdrubbish")
    target = tmp_path / "target"
    target.touch()
    spec = TargetSpec(target, in_place=True)
    with pytest.raises(ChunkInvalid, match=name):
        extract(new.index, spec, seeds=[], stores=Chain([LocalStore(store)]))
    _, report = extract(new.index, spec, seeds=[], stores=new.chain())
    assert report.shares[Source.STORE].bytes == new.index.length(3)
    assert target.read_bytes() == new.data


def test_a_second_store_has_what_the_first_lost(new: Published, tmp_path: Path) -> None:
    store = tmp_path / "bad.castr"
    shutil.copytree(new.store, store)
    name = new.index.id(3).hex()
    (store / name[:4] / f"{name}.cacnk").write_bytes(b"\x28\xb5\x2f\xfdrubbish")
    events: list[Event] = []
    both = Chain([LocalStore(store), LocalStore(new.store)], on_event=events.append)
    extract(new.index, TargetSpec(tmp_path / "image"), seeds=[], stores=both)
    assert (tmp_path / "image").read_bytes() == new.data
    assert [e.chunk for e in events if isinstance(e, SourceFailed)] == [name]


def test_what_reads_back_otherwise_is_a_fault_of_the_device(
    new: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The medium lies: simulated, since no device here does."""
    settle = Target.settle

    def settle_badly(target: Target, length: int) -> None:
        settle(target, length)
        os.pwrite(target.fd, b"bad", 200_000)

    monkeypatch.setattr(Target, "settle", settle_badly)
    with pytest.raises(DeviceFault, match="1 chunks read back otherwise"):
        extract(new.index, TargetSpec(tmp_path / "image"), seeds=[], stores=new.chain())
    assert not (tmp_path / "image").exists()


def test_an_empty_image_makes_an_empty_file(tmp_path: Path) -> None:
    empty = publish(tmp_path, "empty", b"")
    extract(empty.index, TargetSpec(tmp_path / "image"), seeds=[], stores=NO_STORES)
    assert (tmp_path / "image").read_bytes() == b""


@pytest.mark.parametrize("digest", list(Digest))
@pytest.mark.parametrize("length", [1, 16383, 262144, 262145])
def test_small_images(tmp_path: Path, length: int, digest: Digest) -> None:
    image = publish(tmp_path, "image", random.Random(12).randbytes(length), digest)
    spec = TargetSpec(tmp_path / "out")
    extract(image.index, spec, seeds=[], stores=image.chain())
    assert spec.path.read_bytes() == image.data


@pytest.fixture(params=[512, 4096])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    require_loop_devices()
    (tmp_path / "disk").write_bytes(random.Random(13).randbytes(12 * MIB))
    with loop_device(tmp_path / "disk", request.param) as path:
        yield path


@pytest.mark.root
def test_onto_a_device_and_again(new: Published, device: Path) -> None:
    _, first = extract(new.index, TargetSpec(device), seeds=[], stores=new.chain())
    assert device.read_bytes()[: len(new.data)] == new.data
    assert (
        device.read_bytes()[len(new.data) :]
        == random.Random(13).randbytes(12 * MIB)[len(new.data) :]
    )
    assert first.bytes_written == len(new.data)
    _, again = extract(new.index, TargetSpec(device), seeds=[], stores=NO_STORES)
    assert again.bytes_written == 0


@pytest.mark.root
def test_a_region_of_a_device_too_short_is_refused(new: Published, device: Path) -> None:
    with pytest.raises(TargetTooSmall):
        extract(new.index, TargetSpec(device, offset=5 * MIB), seeds=[], stores=new.chain())
    assert device.read_bytes() == random.Random(13).randbytes(12 * MIB)


@pytest.mark.root
@pytest.mark.parametrize(
    "mkfs", [["mkfs.btrfs", "-q", "-M"], ["mkfs.xfs", "-q", "-m", "reflink=1"]]
)
def test_seeds_share_their_blocks(new: Published, tmp_path: Path, mkfs: list[str]) -> None:
    require_loop_devices()
    require_tool(mkfs[0])
    with (tmp_path / "fs").open("wb") as file:
        file.truncate(320 * MIB)
    run(*mkfs, tmp_path / "fs")
    with mounted(tmp_path / "fs", tmp_path / "mnt") as folder:
        shutil.copy(new.path, folder / "seed")
        _, report = extract(
            new.index,
            TargetSpec(folder / "image"),
            seeds=[SeedSpec(folder / "seed")],
            stores=NO_STORES,
        )
        assert (folder / "image").read_bytes() == new.data
        assert report.bytes_cloned > 5 * MIB
