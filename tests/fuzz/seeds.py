# SPDX-License-Identifier: Apache-2.0
"""Makes the kept corpus anew, with the tools whose formats these are: `python -m tests.fuzz.seeds`.

What the fuzzer found, `found-…`, is kept as it is.
"""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from boot.load_option import Partition, build
from images.chunkfile import relative_path
from images.compression import Compression, compress
from tests.boot.test_barebox import HAND_MADE, STRIDE
from tests.fsprobe import container_images, linux_images
from tests.fsprobe.footprint import footprint
from tests.fuzz.running import CORPUS, ROOT
from tests.fuzz.targets import peer_request, peer_said
from tests.updater.config_texts import LEAST
from tests.updater.releases.releases_made import RELEASE, trust_change
from tests.updater.releases.signing_keys import NOW, SigningKeys, packets
from updater.peers.service import question
from updater.releases.channel import pointer_bytes
from updater.state import (
    Content,
    Entry,
    Failure,
    ImageRecord,
    Rates,
    SlotRecord,
    State,
    TrustRecord,
)
from updater.state_files import state_bytes

SUPERBLOCK_LIMIT = 2500
"""Bytes of a footprint; the larger ones are in the tests of fsprobe, made on the spot."""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _images(folder)
        _environments(folder)
        _disks(folder)
    _boot_files()
    _updater_files()
    _peers()
    keys = SigningKeys()
    try:
        _releases(keys)
    finally:
        keys.close()


def keep(target: str, name: str, data: bytes) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def _images(folder: Path) -> None:
    image = folder / "image"
    content = bytes(5000) + bytes(range(256)) * 12
    image.write_bytes(content)
    for name, options in {"sha512-256": [], "sha256": ["--digest=sha256"]}.items():
        index = folder / f"{name}.caibx"
        store = f"--store={folder / 'default.castr'}"
        sizes = "--chunk-size=512:1024:4096"
        subprocess.run(["casync", "make", *options, store, sizes, index, image], check=True)
        keep("index", name, index.read_bytes())
    piece = content[4900:5400]
    for algorithm in Compression:
        body = len(piece).to_bytes(2, "little") + compress(piece, algorithm)
        keep("chunk", algorithm.value, body)
    keep("chunk", "raw", (4).to_bytes(2, "little") + b"raw!")
    chunk = next((folder / "default.castr").glob("*/*.cacnk"))
    keep("names", "chunk", chunk.name.encode())
    keep("names", "raw", chunk.name.removesuffix(".cacnk").encode())
    keep("names", "path", b"/srv/www/rootfs.caibx")
    keep("names", "url", b"https://user:pass@example.org:8443/a/rootfs.caibx?token=1")
    head = b"GET /default.castr/0123/x?y=1 HTTP/1.1\r\nHost: example.org:80\r\nRange: bytes=0-99"
    keep("http_request", "get", head + b"\r\n\r\n\x80\0bytes=-5")
    keep("http_request", "old", b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\x80\0bytes=9-")


def _environments(folder: Path) -> None:
    grubenv = folder / "grubenv"
    subprocess.run(["grub-editenv", grubenv, "create"], check=True)
    pairs = ["ORDER=A B", "A_OK=1", "saved_entry=gnulinux", r"back=sl\ash", "long=" + "x" * 400]
    subprocess.run(["grub-editenv", grubenv, "set", *pairs], check=True)
    keep("grubenv", "set", grubenv.read_bytes())
    text = b"BOOT_ORDER=A B\nBOOT_A_LEFT=3\nbootcmd=run distro_bootcmd\n"
    one, two = folder / "one", folder / "two"
    subprocess.run(["mkenvimage", "-s", "256", "-o", one, "-"], input=text, check=True)
    subprocess.run(["mkenvimage", "-r", "-s", "256", "-o", two, "-"], input=text, check=True)
    keep("uboot_environment", "one", b"\0" + one.read_bytes())
    keep("uboot_environment", "serial", b"\1" + two.read_bytes() * 2)
    keep("uboot_environment", "active", b"\3" + two.read_bytes() * 2)
    keep("uboot_environment", "torn", b"\x09" + two.read_bytes() + bytes(256))
    lines = b"# device offset size\n/dev/mmcblk0 0x400000 0x4000\n/dev/mmcblk0 -0x8000 4000\n"
    keep("fw_env_config", "mmc", lines)
    keep("fw_env_config", "mtd", b"/dev/mtd1 0x0000 0x4000 0x4000 2\n")


def _disks(folder: Path) -> None:
    disk = folder / "disk"
    labels = {
        "gpt": "label: gpt\nfirst-lba: 34\nstart=34, size=8, name=root-a\nsize=8, name=root-b\n",
        "dos": "label: dos\nstart=8, size=16, type=83\nstart=24, size=40, type=c\n",
    }
    for name, script in labels.items():
        disk.write_bytes(b"")
        with disk.open("r+b") as file:
            file.truncate(64 << 10)
        subprocess.run(
            ["/usr/sbin/sfdisk", "-q", disk], input=script.encode(), check=True, capture_output=True
        )
        head = bytearray(disk.read_bytes()[: 2 * 512 + 256])
        if name == "gpt":  # two entries instead of 128: all that there is in so small a head
            struct.pack_into("<I", head, 512 + 80, 2)
        keep("partitions", name, b"\0" + bytes(head))
    (folder / "superblocks").mkdir()
    for number, make in enumerate((linux_images.build, container_images.build)):
        made = folder / f"images-{number}"
        made.mkdir()
        for name, image in make(made).items():
            encoded = footprint(image).to_bytes()
            if len(encoded) <= SUPERBLOCK_LIMIT:
                keep("superblocks", name, encoded)


def _boot_files() -> None:
    entry = b"title B\nlinux /vmlinuz\nsort-key caflip\nversion 2.1\noptions root=/dev/vda3\n"
    names = (b"slot-b+2-1.conf", b"slot-a.conf")
    keep("loader_entries", "two", b"\xff".join(part for name in names for part in (name, entry)))
    stub = bytearray(64 + 24 + 40 + 32)
    stub[:2], stub[60:64], stub[64:68] = b"MZ", struct.pack("<I", 64), b"PE\0\0"
    struct.pack_into("<H12xH", stub, 64 + 6, 1, 0)
    text = b"ID=debian\nVERSION_ID=12\n"
    struct.pack_into("<8s4I", stub, 64 + 24, b".osrel", len(text), 0, len(text), 128)
    stub[128 : 128 + len(text)] = text
    keep("loader_entries", "unified", b"\xff".join((b"slot-b+3.efi", bytes(stub))))
    place = Partition(2, 2048, 65536, UUID("0fc63daf-8483-4772-8e79-3d69d8477de4"))
    keep("load_option", "kernel", build("B", "/EFI/b/linux.efi", place, "root=/dev/vda3"))
    keep("load_option", "plain", build("Linux Boot Manager", "\\EFI\\x.efi", place))
    bucket = HAND_MADE.ljust(STRIDE, b"\xff")
    keep("barebox_state", "equal", b"\0" + bucket * 3)
    keep("barebox_state", "torn", b"\1" + bytes(STRIDE) + bucket * 2)
    lines = b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
    ours = b"[none]\ncaflip_trying=3\ncaflip_boot=0f3c\ncaflip_bad=4 5\n"
    keep("autoboot", "plain", lines)
    keep("autoboot", "trying", lines + ours + b"[gpio4=1]\nboot_partition=6\n")


def _updater_files() -> None:
    keep("config", "least", LEAST.encode())
    keep("config", "all", (ROOT / "packaging/config.toml").read_bytes()[:4096])
    trust = TrustRecord(2, ("A" * 40,), 1, b"key")
    slot = SlotRecord(Content.GOOD, b"\1\2", "2.1", 42, {"rootfs": ImageRecord(b"\3", 4096)}, NOW)
    state = State(
        generation=7,
        written=datetime(2026, 11, 5, 12, tzinfo=UTC),
        highest_sequence=42,
        slots={"A": slot},
        trust=trust,
        failures={"0102": Failure(1, NOW + timedelta(hours=1), "it did not come up")},
        history=(Entry(NOW, "updated", "A", "2.1"),),
        rates=Rates({"write": 1.5}),
    )
    keep("state", "full", state_bytes(state))
    keep("state", "fresh", state_bytes(State()))


def _peers() -> None:
    here = next(iter(peer_request.CHUNKS))
    paths = {
        "peer": "/peer",
        "have": question(list(peer_request.CHUNKS)),
        "chunk": f"/{relative_path(here, '.cacnk')}",
        "raw": f"/{relative_path(here, '')}",
    }
    for name, path in paths.items():
        for kind, site in ((0, peer_request.OPEN), (1, peer_request.CLOSED)):
            target = path + site.query(peer_request.LOCAL, path)
            head = f"GET {target} HTTP/1.1\r\nHost: {peer_request.LOCAL}"
            keep("peer_request", f"{name}-{kind}", bytes([kind]) + head.encode())
    about = {"version": 1, "identity": "00" * 8, "updating": "11" * 8, "holds": ["22" * 8]}
    keep("peer_said", "answer", b"\0" + json.dumps(about).encode())
    tag = peer_said.SITE.tag(peer_said.IDENTITY, b"site")
    text = f"v=1\0s={tag}\0u={'11' * 8}\0h={'22' * 16}"
    keep("peer_said", "announced", b"\1" + text.encode())


def _releases(keys: SigningKeys) -> None:
    keep("release", "plain", RELEASE.to_bytes())
    rotation = replace(RELEASE, trust=trust_change(keys, "alice", version=2), rollout=10)
    keep("release", "rotation", rotation.to_bytes())
    keep("pointer", "latest", pointer_bytes("v42/release.json"))
    signed = keys.sign(b"release", "alice", "bob")
    keep("signatures", "armored", signed)
    keep("signatures", "packets", packets(signed))
    keep("signatures", "keys", keys.public("alice", "sub"))
    keep("signatures", "armored-key", keys.armored("alice").encode())


if __name__ == "__main__":
    main()
