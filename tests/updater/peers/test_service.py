# SPDX-License-Identifier: Apache-2.0
"""What a peer gives: chunks of its signed indexes, to who may ask, and nothing else."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from images.digests import ChunkId
from images.index import Index
from images.stores.protocol import ChunkRef
from tests.capabilities import require_tool
from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import OFFSETS
from tests.waiting import wait_until
from updater.config_tables import PeersConfig
from updater.peers.client import Client, Peer, ask_about
from updater.peers.holdings import COMING, HERE, Held, Holdings, presence
from updater.peers.neighbourhood import Neighbourhood
from updater.peers.service import About
from updater.peers.site import Site

SECRET = b"0123456789abcdef"


@pytest.fixture
def index(published: Published) -> Index:
    return Index.load(next(published.releases[1].parent.glob("*.caibx")))


@contextmanager
def serving(
    published: Published,
    index: Index,
    tmp_path: Path,
    *,
    secret: bool = False,
    partly: bool = False,
) -> Iterator[tuple[Neighbourhood, Held]]:
    """Serve release 1 from a file that stands for a slot."""
    slot = tmp_path / "slot"
    slot.write_bytes(bytes(OFFSETS["A"]) + published.images[1].read_bytes())
    (tmp_path / "secret").write_bytes(SECRET)
    config = PeersConfig(
        enabled=True, discover=False, secret=tmp_path / "secret" if secret else None
    )
    with slot.open("rb") as file:
        held = Held(index, file.fileno(), OFFSETS["A"], presence(index) if partly else None)
        with Neighbourhood(config, Holdings([held])) as hood:
            yield hood, held


def url(hood: Neighbourhood, path: str) -> str:
    return f"http://127.0.0.1:{hood.port}{path}"


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    require_tool("curl")
    return subprocess.run(["curl", "-s", *arguments], capture_output=True, timeout=30, check=False)


def status(address: str, *arguments: str) -> int:
    told = curl("-o", os.devnull, "-w", "%{http_code}", "--path-as-is", *arguments, address)
    return int(told.stdout)


def refs_of(index: Index) -> list[ChunkRef]:
    """Return the different chunks of an index."""
    refs = {id: ChunkRef(n, id, end - start) for n, (start, end, id) in enumerate(index.chunks())}
    return list(refs.values())


def path_of(chunk_id: ChunkId, suffix: str = ".cacnk") -> str:
    return f"/{chunk_id.hex()[:4]}/{chunk_id.hex()}{suffix}"


def test_casync_and_curl_read_from_a_peer_as_from_any_store(
    published: Published, index: Index, tmp_path: Path
) -> None:
    require_tool("casync", "curl")
    with serving(published, index, tmp_path) as (hood, _):
        path = next(published.releases[1].parent.glob("*.caibx"))
        out = tmp_path / "out"
        subprocess.run(
            ["casync", "extract", f"--store={url(hood, '/')}", path, out],
            check=True,
            capture_output=True,
            timeout=120,
        )
        assert out.read_bytes() == published.images[1].read_bytes()
        start, end, chunk_id = next(iter(index.chunks(3, 4)))
        plain = curl(url(hood, path_of(chunk_id, ""))).stdout
        assert plain == published.images[1].read_bytes()[start:end]


def test_nothing_else_is_to_be_had(published: Published, index: Index, tmp_path: Path) -> None:
    other = Index.load(next(published.releases[2].parent.glob("*.caibx")))
    ours = {chunk_id for _, _, chunk_id in index.chunks()}
    foreign = next(id for _, _, id in other.chunks() if id not in ours)
    known = path_of(next(iter(index.chunks()))[2])
    with serving(published, index, tmp_path) as (hood, _):
        assert status(url(hood, known)) == 200
        for path in (
            path_of(foreign),
            "/",
            "/etc/passwd",
            "/../../etc/passwd",
            f"/x/..{known}",
            f"/%2e%2e{known}",
            known.upper(),
            known + "/",
            known.replace(".cacnk", ".txt"),
            "/have/",
            "/have/AAAA",
            "/have/" + "A" * 40_000,
            "/peer/../peer",
            "/latest.json",
        ):
            assert status(url(hood, path)) in (400, 404), path
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            assert status(url(hood, known), "-X", method) == 405
        assert status(url(hood, known), "-H", f"X-Long: {'x' * 100_000}") in (0, 400)
        assert status(url(hood, known)) == 200


def test_what_rotted_on_the_slot_is_not_given(
    published: Published, index: Index, tmp_path: Path
) -> None:
    with serving(published, index, tmp_path) as (hood, _):
        start, _, chunk_id = next(iter(index.chunks(5, 6)))
        with (tmp_path / "slot").open("r+b") as slot:
            slot.seek(OFFSETS["A"] + start)
            byte = slot.read(1)
            slot.seek(-1, 1)
            slot.write(bytes([byte[0] ^ 1]))
        assert status(url(hood, path_of(chunk_id))) == 404


def test_of_a_half_assembled_target_what_is_there_is_given(
    published: Published, index: Index, tmp_path: Path
) -> None:
    with serving(published, index, tmp_path, partly=True) as (hood, held):
        refs = refs_of(index)
        client = Client(ask_about("127.0.0.1", hood.port, hood.site), hood.site)
        assert client.have(refs).here == []
        held.note(refs[3].id, HERE)
        held.note(refs[4].id, COMING)
        said = client.have(refs)
        assert ([ref.number for ref in said.here], [r.number for r in said.coming]) == (
            [refs[3].number],
            [refs[4].number],
        )
        assert status(url(hood, path_of(refs[3].id))) == 200
        assert status(url(hood, path_of(refs[4].id))) == 404
        client.close()


def test_without_the_secret_of_the_site_nothing_is_told(
    published: Published, index: Index, tmp_path: Path
) -> None:
    with serving(published, index, tmp_path, secret=True) as (hood, _):
        refs = refs_of(index)
        peer = ask_about("127.0.0.1", hood.port, Site("caflip", SECRET))
        for wrong in (Site("caflip", None), Site("caflip", b"fedcba9876543210")):
            client = Client(peer, wrong)
            assert client.have(refs[:1]).here == []
            assert client.dropped is not None
            client.close()
        path = path_of(refs[0].id)
        assert status(url(hood, path)) == 403
        assert status(url(hood, "/peer")) == 403
        # What proves the right to one thing, at one place, proves no other.
        query = Site("caflip", SECRET).query(f"127.0.0.1:{hood.port}", path)
        assert status(url(hood, path) + query) == 200
        assert status(url(hood, path_of(refs[1].id)) + query) == 403
        elsewhere = Site("caflip", SECRET).query(f"127.0.0.2:{hood.port}", path)
        assert status(url(hood, path) + elsewhere) == 403
        right = Client(peer, Site("caflip", SECRET))
        assert len(right.have(refs).here) == len(refs)
        right.close()


def test_ten_thousand_connections_leave_it_standing(
    published: Published, index: Index, tmp_path: Path
) -> None:
    with serving(published, index, tmp_path) as (hood, _), contextlib.ExitStack() as stack:
        held = 0
        for _ in range(10_000):
            connection = socket.socket()
            connection.settimeout(5)
            try:
                connection.connect(("127.0.0.1", hood.port))
            except OSError:
                connection.close()
                continue
            if held < 200:  # these say nothing and stay
                stack.callback(connection.close)
                held += 1
            else:
                connection.close()
        stack.close()
        known = path_of(next(iter(index.chunks()))[2])
        wait_until(lambda: status(url(hood, known)) == 200)


def test_what_serves_has_no_rights(published: Published, index: Index, tmp_path: Path) -> None:
    with serving(published, index, tmp_path) as (hood, held):
        ask_about("127.0.0.1", hood.port, hood.site)  # it has given up its rights before it answers
        facts = Path(f"/proc/{hood.process}/status").read_text()
        values = dict(line.split(":\t", 1) for line in facts.splitlines() if ":\t" in line)
        if os.geteuid() == 0:
            assert values["Uid"].split() == ["65534"] * 4
            assert values["Gid"].split() == ["65534"] * 4
            assert int(values["CapEff"], 16) == 0
        assert values["NoNewPrivs"] == "1"
        opened = set()
        for path in Path(f"/proc/{hood.process}/fd").iterdir():
            with suppress(FileNotFoundError):  # the connection that asked is being closed
                opened.add(os.readlink(path))
        files = {name for name in opened if name.startswith("/") and not name.startswith("/dev/")}
        assert {name for name in files if name.startswith(str(tmp_path))} == {
            str(tmp_path / "slot")
        }
        flags = Path(f"/proc/{hood.process}/fdinfo/{held.fd}").read_text().split("flags:\t")[1]
        assert int(flags.split()[0], 8) & 3 == os.O_RDONLY


def test_a_device_lists_its_neighbours(
    new_device: MakeDevice, published: Published, index: Index, tmp_path: Path
) -> None:
    with serving(published, index, tmp_path) as (hood, _):
        device = new_device(
            f'[peers]\nenabled = true\ndiscover = false\nstatic = ["127.0.0.1:{hood.port}"]\n'
        )
        (line,) = device.must("peers", "--wait-s=1", "--json").lines
    assert (line["address"], line["shared"], line["trusted"]) == (
        f"127.0.0.1:{hood.port}",
        1.0,
        True,
    )
    assert line["identity"] == hood.identity


def test_a_peer_has_an_address_as_urls_have_it() -> None:
    assert Peer(About("00" * 8), "fe80::1%3", 80).address == "[fe80::1]:80"
    assert Peer(About("00" * 8), "10.0.0.1", 80).address == "10.0.0.1:80"
