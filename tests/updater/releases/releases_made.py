# SPDX-License-Identifier: Apache-2.0
"""Releases for tests, as records and as strategies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.updater.releases.signing_keys import MADE, NOW, SigningKeys
from updater.releases.clock import Reading
from updater.releases.document import FileSystem, Release, ReleaseImage, TrustChange
from updater.releases.policy import Device

IMAGE = ReleaseImage(
    index="rootfs-0123456789ab.caibx",
    index_sha256=bytes(range(32)),
    index_length=144,
    image_length=4096,
    image_sha256=bytes(32),
    file_system=FileSystem("ext4", 4096, "2f1d3c4b-0000-4000-8000-000000000001"),
)

RELEASE = Release(
    compatible="acme,gateway",
    version="2.1",
    sequence=42,
    created=MADE + timedelta(days=1),
    expires=NOW + timedelta(days=60),
    images={"rootfs": IMAGE},
    stores=("../default.castr", "https://cdn.example.org/castr"),
    notes="First line.\nSecond line: ä",
)


def reading(system: datetime = NOW, lower_bound: datetime = MADE) -> Reading:
    return Reading(system, lower_bound, "this program was made")


DEVICE = Device(
    compatible="acme,gateway",
    variant="emmc",
    slot_lengths={"rootfs": 8192},
    highest_sequence=41,
    machine_id="0123456789abcdef0123456789abcdef",
    reading=reading(),
)


def release(**changes: Any) -> Release:  # noqa: ANN401
    return replace(RELEASE, **changes)


def device(**changes: Any) -> Device:  # noqa: ANN401
    return replace(DEVICE, **changes)


def trust_change(keys: SigningKeys, *names: str, version: int, threshold: int = 1) -> TrustChange:
    return TrustChange(
        version,
        tuple(keys.fingerprints[name] for name in names),
        threshold,
        tuple(keys.armored(name) for name in names),
    )


_printable = st.characters(exclude_categories=("C", "Z"))
_numbers = st.integers(1, (1 << 53) - 1)
_words = st.text(_printable, min_size=1, max_size=20)
_parts = st.builds(
    str.__add__,
    st.sampled_from("Az09_"),
    st.text("AZaz09._@+-", max_size=12),
)
_moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)


@st.composite
def _images(draw: st.DrawFn) -> ReleaseImage:
    length = draw(_numbers)
    system = st.builds(FileSystem, _words, st.none() | st.integers(1, length), st.none() | _words)
    return ReleaseImage(
        index="/".join(draw(st.lists(_parts, min_size=1, max_size=3))) + ".caibx",
        index_sha256=draw(st.binary(min_size=32, max_size=32)),
        index_length=draw(st.integers(1, 64 << 20)),
        image_length=length,
        image_sha256=draw(st.binary(min_size=32, max_size=32)),
        file_system=draw(st.none() | system),
    )


@st.composite
def releases(draw: st.DrawFn) -> Release:
    created = draw(_moments)
    stores = st.lists(_parts, min_size=1, max_size=3).map(lambda parts: "../" + "/".join(parts))
    return Release(
        compatible=draw(_words),
        variants=tuple(draw(st.lists(_words, max_size=3, unique=True))),
        version=draw(_words),
        sequence=draw(_numbers),
        created=created,
        expires=created + timedelta(seconds=draw(st.integers(1, 10**8))),
        images=draw(
            st.dictionaries(
                st.text("az09", min_size=1, max_size=9), _images(), min_size=1, max_size=3
            )
        ),
        stores=tuple(draw(st.lists(stores, max_size=3, unique=True))),
        rollout=draw(st.none() | st.integers(0, 1000)),
        notes=draw(st.text(_printable | st.just("\n"), max_size=50)),
    )
