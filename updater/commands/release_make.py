# SPDX-License-Identifier: Apache-2.0
"""Publish images as a signed release in a channel, or add a signature to a release.

    caflip release make CHANNEL [IMAGE] [--image=CLASS=PATH...] --compatible=KIND --version=TEXT
    caflip release make CHANNEL --again=RELEASE [--rollout=N] [--expires=SPAN] [--notes=TEXT]
    caflip release make --add-signature=RELEASE --sign-with=FPR

CHANNEL is a folder that a web server serves as it is. Chunks, indexes, the release and its
signatures are written first; latest.json names the release last. A release that nobody signed is
written and not named. With --again, the same images are published under the same sequence: for a
larger part of the devices, or for longer.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from images.digests import Digest
from images.sizes import ChunkSizes
from updater.arguments import UsageError, value
from updater.console import Console
from updater.kinds import local_path
from updater.options import add_compression, add_threads
from updater.releases.cutting import Cutting
from updater.releases.document import ALL_DEVICES, Release, TrustChange
from updater.releases.keys import armored_keys
from updater.releases.publish import (
    Draft,
    PublishedRelease,
    add_signature,
    publish,
    read_release,
)
from updater.releases.signatures import read_keyring
from updater.releases.signing import SigningKey
from updater.releases.times import parse_span
from updater.trust_options import add_gnupg_home, add_passphrase, count, home_of, passphrase_of
from updater.units import count_of, format_bytes

ROOT_CLASS = "rootfs"
EXPIRES = "90d"


@dataclass(frozen=True, slots=True)
class MadeRelease:
    """What `release make` prints.

    Attributes:
        latest: whether the channel's pointer names it now.
    """

    path: Path
    sequence: int
    version: str
    signatures: int
    latest: bool
    new_chunks: int
    new_stored_bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("channel", metavar="CHANNEL", nargs="?", help="folder of the channel")
    parser.add_argument(
        "image", metavar="IMAGE", nargs="?", help=f"the same as --image={ROOT_CLASS}=IMAGE"
    )
    parser.add_argument(
        "--image",
        dest="images",
        metavar="CLASS=PATH",
        action="append",
        default=[],
        type=_image,
        help="file or device for a class of slots; may be repeated",
    )
    parser.add_argument("--compatible", metavar="KIND", help="kind of device that it is for")
    parser.add_argument(
        "--variant",
        metavar="NAME",
        action="append",
        default=[],
        help="of that kind; all if missing; may be repeated",
    )
    parser.add_argument("--version", metavar="TEXT", help="version for people")
    parser.add_argument(
        "--sequence",
        metavar="N",
        type=count,
        help="number by which newer is told from older; the channel's highest + 1 if missing",
    )
    parser.add_argument(
        "--expires",
        metavar="SPAN",
        type=value(parse_span),
        default=parse_span(EXPIRES),
        help=f"how long it may be installed, such as 36h, 90d or 2y (default: {EXPIRES})",
    )
    parser.add_argument(
        "--rollout",
        metavar="N",
        type=_per_mille,
        help="per mille of the devices whose turn it is; all if missing",
    )
    parser.add_argument("--notes", metavar="TEXT", help="for people")
    parser.add_argument(
        "--again", metavar="RELEASE", help="publish the images of this release.json again"
    )
    parser.add_argument(
        "--add-signature", metavar="RELEASE", help="sign a release.json that is there already"
    )
    parser.add_argument(
        "--force", action="store_true", help="allow a sequence that the channel is past"
    )
    parser.add_argument("--hold", action="store_true", help="leave latest.json alone")
    signing = parser.add_argument_group("signing")
    signing.add_argument(
        "--sign-with",
        metavar="FPR",
        action="append",
        default=[],
        help="fingerprint of a key to sign with; may be repeated",
    )
    add_gnupg_home(parser)
    add_passphrase(parser)
    rotation = parser.add_argument_group("rotation of keys")
    rotation.add_argument(
        "--trust-keyring", metavar="FILE", help="public keys to be trusted from this release on"
    )
    rotation.add_argument(
        "--trust-version", metavar="N", type=count, help="higher than that of the rotation before"
    )
    rotation.add_argument(
        "--trust-threshold", metavar="N", type=count, default=1, help="how many have to sign then"
    )
    chunks = parser.add_argument_group("chunks")
    chunks.add_argument(
        "--store", metavar="DIR", help="takes the chunks; default.castr in CHANNEL if missing"
    )
    chunks.add_argument(
        "--store-url",
        metavar="URL",
        action="append",
        default=[],
        help="where devices find them; the path from the release to the store if missing; "
        "may be repeated",
    )
    chunks.add_argument(
        "--chunk-size",
        metavar="[MIN:AVG:MAX|AVG]",
        type=value(ChunkSizes.parse),
        default=ChunkSizes.of(),
        help="bytes of a chunk; 16K:64K:256K if missing",
    )
    chunks.add_argument(
        "--digest",
        metavar="DIGEST",
        type=value(Digest.parse),
        default=Digest.SHA512_256,
        help="sha512-256 (default) or sha256",
    )
    add_compression(parser)
    add_threads(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    keys = [SigningKey(home_of(args), name, passphrase_of(args)) for name in args.sign_with]
    if args.add_signature is not None:
        return _add_signatures(args, keys, console)
    draft = _draft(args)
    console.notifier.ready()
    made = publish(draft, [key.sign for key in keys], console.event)
    if not made.signatures:
        console.warn(
            f"{made.path} is not signed, so devices refuse it and latest.json is as before"
        )
    console.result(_record(made), _lines(made))
    return 0


def _add_signatures(args: argparse.Namespace, keys: list[SigningKey], console: Console) -> int:
    if not keys or args.channel is not None or args.images:
        raise UsageError("--add-signature takes --sign-with, and neither a channel nor images")
    path = local_path(args.add_signature)
    signatures, latest = 0, False
    for key in keys:
        signatures, latest = add_signature(path, key.sign, hold=args.hold)
    release = read_release(path)
    made = PublishedRelease(path, release, {}, signatures, latest)
    console.result(_record(made), _lines(made))
    return 0


def _draft(args: argparse.Namespace) -> Draft:
    if args.channel is None:
        raise UsageError("release make takes the folder of a channel")
    images = dict(args.images)
    if len(images) != len(args.images) or (args.image is not None and ROOT_CLASS in images):
        raise UsageError("two images for one class of slots")
    if args.image is not None:
        images[ROOT_CLASS] = local_path(args.image)
    like = None if args.again is None else local_path(args.again)
    before = None if like is None else read_release(like)
    if (before is None) == (not images):
        raise UsageError("release make takes images, or --again and none")
    compatible = args.compatible or (before and before.compatible)
    version = args.version or (before and before.version)
    if not compatible or not version:
        raise UsageError("release make needs --compatible and --version")
    return Draft(
        channel=local_path(args.channel),
        compatible=compatible,
        version=version,
        created=_now(),
        valid_for=args.expires,
        images=images,
        like=like,
        sequence=args.sequence,
        variants=tuple(args.variant) or (before.variants if before else ()),
        rollout=args.rollout,
        notes=_notes(args, before),
        trust=_trust(args) or (before.trust if before else None),
        store=None if args.store is None else local_path(args.store),
        stores=tuple(args.store_url),
        cutting=Cutting(args.chunk_size, args.digest, args.compression, args.threads),
        force=args.force,
        hold=args.hold,
    )


def _notes(args: argparse.Namespace, before: Release | None) -> str:
    if args.notes is not None:
        return str(args.notes)
    return "" if before is None else before.notes


def _trust(args: argparse.Namespace) -> TrustChange | None:
    if args.trust_keyring is None:
        return None
    if args.trust_version is None:
        raise UsageError("--trust-keyring needs --trust-version")
    keys = armored_keys(read_keyring(Path(args.trust_keyring)))
    return TrustChange(args.trust_version, tuple(keys), args.trust_threshold, tuple(keys.values()))


def _now() -> datetime:
    """Return the time of creation: SOURCE_DATE_EPOCH for builds that are to be repeatable."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isascii() and epoch.isdigit():
        return datetime.fromtimestamp(int(epoch), UTC)
    return datetime.now(UTC).replace(microsecond=0)


def _image(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form CLASS=PATH")
    return name, Path(path)


def _per_mille(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 4 or int(text) > ALL_DEVICES:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {ALL_DEVICES}")
    return int(text)


def _record(made: PublishedRelease) -> MadeRelease:
    return MadeRelease(
        made.path,
        made.release.sequence,
        made.release.version,
        made.signatures,
        made.latest,
        sum(image.new_chunks for image in made.cut.values()),
        sum(image.stored_length for image in made.cut.values()),
    )


def _lines(made: PublishedRelease) -> list[str]:
    lines = [f"{made.path}: sequence {made.release.sequence}, version {made.release.version}"]
    for slot_class, image in made.cut.items():
        lines.append(
            f"  {slot_class}: {count_of(image.chunks, 'chunk')}, {image.new_chunks:,} of them new "
            f"({format_bytes(image.stored_length)})"
        )
    shown = "latest.json names it" if made.latest else "latest.json does not name it"
    return [*lines, f"  {count_of(made.signatures, 'signature')}; {shown}"]
