# SPDX-License-Identifier: Apache-2.0
"""An origin that serves what it should not, to a whole update: wrong, mixed, endless, dripping."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faulty_server import FaultyServer, status
from tests.updater.device import MIB
from tests.updater.faults.origin import (
    LATEST,
    POINTER,
    Endless,
    Paths,
    chunks_of,
    dripping,
    files_of,
    refused,
    update_from,
)
from tests.updater.faults.rig import Rig
from tests.updater.running import Caflip, run_process

MOST_SENT = 24 * MIB
"""Of an endless body: the longest part is an index of 64 KiB; the rest is in kernels' buffers."""


@pytest.fixture
def files(rig: Rig) -> dict[str, bytes]:
    return files_of(rig.published.site.folder)


@pytest.fixture(scope="session")
def foreign(published_for_others: Path) -> dict[str, bytes]:
    return files_of(published_for_others)


def _refused_with(
    rig: Rig, files: dict[str, bytes], code: str, exit_status: int = 65
) -> FaultyServer:
    with FaultyServer(files) as server:
        refused(rig, update_from(rig, server.url), exit_status, code)
    return server


def test_a_valid_release_for_other_devices_is_refused(rig: Rig, foreign: dict[str, bytes]) -> None:
    server = _refused_with(rig, foreign, "release.incompatible")
    assert not [seen for seen in server.requests if seen.path.endswith((".caibx", ".cacnk"))]


def test_a_valid_older_release_is_refused(rig: Rig, files: dict[str, bytes]) -> None:
    files[LATEST] = POINTER % b"v1/release.json"
    server = _refused_with(rig, files, "release.rollback")
    assert not [seen for seen in server.requests if seen.path.endswith((".caibx", ".cacnk"))]


def test_the_signature_of_another_release_is_refused(rig: Rig, files: dict[str, bytes]) -> None:
    files[Paths.of(files, 3).signature] = files[Paths.of(files, 2).signature]
    _refused_with(rig, files, "release.tampered")


def test_the_index_of_another_release_is_refused(rig: Rig, files: dict[str, bytes]) -> None:
    files[Paths.of(files, 3).index] = files[Paths.of(files, 2).index]
    _refused_with(rig, files, "release.index-mismatch")


def test_chunks_of_another_release_are_not_written(rig: Rig, files: dict[str, bytes]) -> None:
    chunks = chunks_of(files)
    for path, other in zip(chunks, chunks[1:] + chunks[:1], strict=True):
        files[path] = (rig.published.site.folder / other.lstrip("/")).read_bytes()
    with FaultyServer(files) as server:
        done = update_from(rig, server.url)
    assert (done.status, done.last["code"]) == (69, "image.chunk-invalid"), done.err
    rig.sound()
    rig.finish()


def test_a_store_of_another_release_lacks_chunks(rig: Rig, files: dict[str, bytes]) -> None:
    for path in chunks_of(files):
        del files[path]
    with FaultyServer(files) as server:
        done = update_from(rig, server.url)
    assert (done.status, done.last["code"]) == (69, "image.chunk-missing"), done.err
    rig.sound()
    rig.finish()


@pytest.mark.parametrize("announced", [False, True], ids=["no length", "a length"])
@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("latest", "release.too-long"),
        ("release", "release.too-long"),
        ("signature", "release.too-long"),
        ("index", "release.index-mismatch"),
    ],
)
def test_what_never_ends_is_refused(
    rig: Rig, files: dict[str, bytes], part: str, code: str, announced: bool
) -> None:
    path = LATEST if part == "latest" else getattr(Paths.of(files, 3), part)
    endless = Endless(announced)
    with FaultyServer(files) as server:
        server.script(path, endless)
        refused(rig, update_from(rig, server.url), 65, code)
    assert server.count(path) == 1
    assert endless.sent < MOST_SENT


def test_chunks_that_never_end_are_cut_and_what_came_stays(
    rig: Rig, files: dict[str, bytes]
) -> None:
    wanted = _asked_chunks(rig, files)
    endless = Endless(announced=False)
    with FaultyServer(files) as server:
        server.script(wanted[-1], *[endless] * 9)
        done = update_from(rig, server.url)
    assert (done.status, done.last["code"]) == (69, "image.chunk-invalid"), done.err
    assert server.count(wanted[-1]) == 1
    assert endless.sent < MOST_SENT
    rig.sound()
    rig.finish()


@pytest.mark.parametrize("part", ["latest", "release", "signature", "index"])
def test_what_drips_too_slowly_is_given_up(rig: Rig, files: dict[str, bytes], part: str) -> None:
    path = LATEST if part == "latest" else getattr(Paths.of(files, 3), part)
    with FaultyServer(files) as server:
        server.script(path, *[dripping(1, 0.1)] * 9)
        refused(rig, update_from(rig, server.url), 75, "image.store-unavailable")


def test_chunks_that_drip_too_slowly_are_given_up(rig: Rig, files: dict[str, bytes]) -> None:
    wanted = _asked_chunks(rig, files)
    with FaultyServer(files) as server:
        server.script(wanted[0], *[dripping(1, 0.1)] * 9)
        done = update_from(rig, server.url)
    assert (done.status, done.last["code"]) == (75, "image.store-unavailable"), done.err
    rig.sound()
    rig.finish()


def test_what_drips_fast_enough_is_taken(rig: Rig, files: dict[str, bytes]) -> None:
    with FaultyServer(files) as server:
        server.script("*", dripping(16 << 10, 0.005))
        done = update_from(rig, server.url)
    assert done.status == 0, done.err
    rig.sound()
    rig.finish()


def test_failures_that_pass_are_survived(rig: Rig, files: dict[str, bytes]) -> None:
    paths = [LATEST, *(getattr(Paths.of(files, 3), part) for part in ("release", "index"))]
    with FaultyServer(files) as server:
        for path in [*paths, *chunks_of(files)]:
            server.script(path, status(503))
        done = update_from(rig, server.url)
        assert done.status == 0, done.err
        assert [server.count(path) for path in paths] == [2, 2, 2]
    assert rig.holds(3)
    rig.finish()


def _asked_chunks(rig: Rig, files: dict[str, bytes]) -> list[str]:
    """Return the chunks that the update asks for."""
    with FaultyServer(files) as server:
        done = update_from(rig, server.url)
        assert done.status == 0, done.err
        asked = [seen.path for seen in server.requests if seen.path.endswith(".cacnk")]
    rig.restore()
    assert len(asked) > 1
    return asked


@pytest.fixture(scope="session")
def published_for_others(made: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel whose release 3 is signed by the right key, for another kind of device."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("others")
    caflip: Caflip = run_process
    site = replace(made.published.site, folder=folder)
    image = made.published.images[3]
    path = site.publish(caflip, image, "3.0", "--compatible=other-device", "--sequence=3")
    assert path.parent.name == "v3"
    return folder
