# SPDX-License-Identifier: Apache-2.0
"""How runs fail: status, code and hint for each class, and what a user meets in practice."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from boot.errors import BootError, EnvironmentBusy
from fsprobe import ProbeError
from images.errors import Bug, ImageError
from tests.capabilities import require_loop_devices, require_tool
from tests.updater.conftest import Published
from tests.updater.running import COMMAND, Caflip, run_process


def subclasses(error: type[ImageError]) -> Iterator[type[ImageError]]:
    yield error
    for subclass in error.__subclasses__():
        yield from subclasses(subclass)


def fail_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("updater.commands.extract.extract", fail)


CLASSES = list(subclasses(ImageError))


@pytest.mark.parametrize("kind", CLASSES, ids=[kind.__name__ for kind in CLASSES])
def test_each_class_has_its_exit_status(
    kind: type[ImageError], published: Published, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(kind("it went wrong"), monkeypatch)
    line = ("extract", published.index, "out")
    done = caflip(*line)
    assert done.status == kind.exit_status
    first, *rest = done.err.splitlines()
    assert first == "caflip: it went wrong"
    assert rest == ([f"  hint: {kind.default_hint}"] if kind.default_hint else [])
    assert caflip(*line, "--json").last == {
        "event": "error",
        "code": kind.code,
        "message": "it went wrong",
        "hint": kind.default_hint,
        "exit_status": kind.exit_status,
    }
    assert caflip(*line, program="casync").status == 1


BOOT_CLASSES: list[type[BootError]] = [BootError, *BootError.__subclasses__(), EnvironmentBusy]


@pytest.mark.parametrize("kind", BOOT_CLASSES, ids=[kind.__name__ for kind in BOOT_CLASSES])
def test_errors_of_the_bootloader_keep_code_status_and_hint(
    kind: type[BootError], published: Published, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(kind("it went wrong"), monkeypatch)
    done = caflip("extract", published.index, "out", "--json")
    assert done.status == kind.exit_status
    assert (done.last["code"], done.last["hint"]) == (kind.code, kind.default_hint)


def test_a_superblock_that_cannot_be_believed_is_refused(
    published: Published, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(ProbeError("corrupt", "ext4", "nonsense"), monkeypatch)
    done = caflip("extract", published.index, "out")
    assert (done.status, done.err.splitlines()[0]) == (65, "caflip: ext4: nonsense")


def test_anything_unexpected_is_a_bug_with_a_traceback_only_if_asked(
    published: Published, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(RuntimeError("surprise"), monkeypatch)
    line = ("extract", published.index, "out")
    done = caflip(*line)
    assert done.status == 70
    assert done.err.splitlines() == [
        "caflip: RuntimeError: surprise",
        f"  hint: {Bug.default_hint}",
    ]
    assert "Traceback" in caflip("-v", *line).err


def test_a_missing_index(tmp_path: Path, caflip: Caflip) -> None:
    done = caflip("extract", tmp_path / "no.caibx", tmp_path / "out")
    assert (done.status, done.err) == (
        78,
        f"caflip: index {tmp_path}/no.caibx: No such file or directory\n",
    )


@pytest.mark.parametrize("length", [0, 100, 400])
def test_a_truncated_index(
    length: int, tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    os.truncate(published.index, length)
    done = caflip("extract", published.index, tmp_path / "out")
    assert done.status == 65
    assert str(published.index) in done.err


def test_a_wrong_store_path(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    line = ("extract", published.index, tmp_path / "out", "--store", tmp_path / "wrong")
    done = caflip(*line)
    assert done.status == 69
    assert f"caflip: {tmp_path}/wrong: there is no such store" in done.err.splitlines()
    assert caflip(*line, "--json").last["code"] == "image.chunk-missing"


def test_no_store_beside_the_index(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    shutil.rmtree(published.store)
    done = caflip("extract", published.index, tmp_path / "out")
    assert done.status == 69
    assert "add a store that has it" in done.err


def test_a_damaged_chunk(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    chunk = max(published.store.rglob("*.cacnk"), key=lambda path: path.stat().st_size)
    chunk.write_bytes(b"\x28\xb5\x2f\xfdgarbage")
    done = caflip("extract", published.index, tmp_path / "out", "--json")
    assert done.status == 69
    assert done.last["code"] == "image.chunk-invalid"
    assert not (tmp_path / "out").exists()


def test_a_store_that_does_not_answer_is_worth_another_try(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = tmp_path / "stores.toml"
    settings.write_text(f'[store."{url}"]\ndeadline-s = 0.2\n')
    line = ("--store", f"{url}/castr", f"--store-settings={settings}", tmp_path / "out")
    done = caflip("extract", published.index, *line)
    assert done.status == 75
    assert len(done.err.splitlines()) < 10


def test_store_settings_that_make_no_sense(
    tmp_path: Path, published: Published, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "stores.toml"
    settings.write_text('[store."http://host"]\ndeadlin-s = 1\n')
    monkeypatch.setenv("CAFLIP_STORE_SETTINGS", str(settings))
    done = caflip("extract", published.index, tmp_path / "out")
    assert done.status == 78
    assert "deadline-s" in done.err


def test_a_region_that_is_too_small(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(2 << 20))
    for region in (("--offset=1M",), ("--length=1M",), ("--length=1G",)):
        done = caflip("extract", "--json", published.index, disk, *region)
        assert (done.status, done.last["code"]) == (78, "image.target-too-small")


def test_a_target_in_a_folder_that_is_not_there(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    assert caflip("extract", published.index, tmp_path / "no" / "out").status == 78


def test_a_folder_as_target(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    done = caflip("extract", published.index, tmp_path)
    assert (done.status, "does not handle trees yet" in done.err) == (64, True)


def test_a_character_device_as_target(published: Published, caflip: Caflip) -> None:
    done = caflip("extract", published.index, "/dev/null")
    assert done.status == 78
    assert "neither a regular file nor a block device" in done.err


def test_ssh_locations_are_refused_by_name(tmp_path: Path, caflip: Caflip) -> None:
    done = caflip("extract", "host:image.caibx", tmp_path / "out")
    assert done.status == 78
    assert "ssh" in done.err


def test_closed_standard_descriptors_do_no_harm(tmp_path: Path, published: Published) -> None:
    extract = f"{' '.join(COMMAND)} extract -v {published.index} {tmp_path}/out <&- >&- 2>&-"
    assert run_process(command=("sh", "-c", extract)).status == 0
    assert (tmp_path / "out").read_bytes() == published.data


def run(*command: str | Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        check=True,
        capture_output=True,
        env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
    )
    return done.stdout.decode().strip()


@contextmanager
def loop_device(file: Path) -> Iterator[str]:
    device = run("losetup", "--find", "--show", file)
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@pytest.mark.root
def test_a_mounted_target_is_left_alone(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    require_loop_devices()
    require_tool("mkfs.ext4", "losetup", "mount")
    image = tmp_path / "device"
    image.write_bytes(bytes(8 << 20))
    run("mkfs.ext4", "-q", image)
    before = image.read_bytes()
    folder = tmp_path / "mounted"
    folder.mkdir()
    with loop_device(image) as device:
        run("mount", "-o", "ro,noload", device, folder)
        try:
            done = caflip("extract", "--json", published.index, device)
        finally:
            run("umount", folder)
        assert (done.status, done.last["code"]) == (78, "image.target-busy")
    assert image.read_bytes() == before


@pytest.mark.root
def test_a_device_that_is_too_small(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    require_loop_devices()
    image = tmp_path / "device"
    image.write_bytes(bytes(1 << 20))
    with loop_device(image) as device:
        done = caflip("extract", "--json", published.index, device)
    assert (done.status, done.last["code"]) == (78, "image.target-too-small")


@pytest.mark.root
def test_a_device_is_written_verified_and_repaired(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    require_loop_devices()
    image = tmp_path / "device"
    image.write_bytes(bytes(4 << 20))
    with loop_device(image) as device:
        assert caflip("extract", published.index, device).status == 0
        assert caflip("verify", published.index, device).status == 0
        with open(device, "r+b") as file:
            file.seek(500_000)
            file.write(b"scratch")
        assert caflip("verify", published.index, device).status == 65
        assert caflip("verify", "--repair", published.index, device).status == 0
        assert caflip("verify", published.index, device).status == 0


@pytest.mark.root
@pytest.mark.interop
def test_a_device_is_sized_by_its_file_system_as_by_casync(tmp_path: Path, caflip: Caflip) -> None:
    require_loop_devices()
    require_tool("casync", "mkfs.ext4")
    image = tmp_path / "device"
    image.write_bytes(bytes(9 << 20))
    run("mkfs.ext4", "-q", image, "8M")
    with loop_device(image) as device:
        theirs = run("casync", "digest", device)
        assert caflip("digest", device).text.strip() == theirs
        theirs = run("casync", "make", tmp_path / "theirs.caibx", device)
        assert caflip("make", tmp_path / "ours.caibx", device).text.strip() == theirs
    assert (tmp_path / "ours.caibx").read_bytes() == (tmp_path / "theirs.caibx").read_bytes()
    assert caflip("digest", "--json", image).last["length"] == 9 << 20


def test_a_slot_is_vouched_for_only_if_it_is_named(caflip: Caflip) -> None:
    for more in ([], ["--slot=A", "--no-activate"]):
        assert caflip("install", "release.json", "--provision", *more).status == 64


def test_what_is_missing_on_a_new_device_is_said_with_a_remedy(
    caflip: Caflip, tmp_path: Path
) -> None:
    done = caflip("update", f"--config={tmp_path / 'config.toml'}")
    assert (done.status, done.err.count("--config")) == (78, 1)
    done = caflip("release", "show", tmp_path, f"--keyring={tmp_path / 'none.gpg'}")
    assert done.status == 78
    assert "caflip keys export" in done.err
