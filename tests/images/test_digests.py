# SPDX-License-Identifier: Apache-2.0
"""Digests one by one and many at once, by either algorithm and every kernel."""

from __future__ import annotations

import hashlib
import random

import pytest

from images._native import _kernels
from images.digests import Buffer, Digest
from images.errors import SettingInvalid
from images.kernels import KERNEL_VARIABLE, choose_digest_kernel

NAMES = {Digest.SHA512_256: "sha512_256", Digest.SHA256: "sha256"}
MAXIMUM = 5000


def pieces() -> list[Buffer]:
    generator = random.Random(7)
    return [generator.randbytes(generator.randrange(3000)) for _ in range(30)]


def expected(digest: Digest, data: list[Buffer]) -> list[bytes]:
    return [hashlib.new(NAMES[digest], piece).digest() for piece in data]


@pytest.mark.parametrize("kernel", _kernels.kernels())
@pytest.mark.parametrize("digest", Digest)
def test_many_at_once_are_as_one_by_one(
    kernel: str, digest: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KERNEL_VARIABLE, kernel)
    data = pieces()
    for count in (0, 1, 2, 3, 30):
        assert digest.of_each(data[:count]) == expected(digest, data[:count])


@pytest.mark.parametrize("digest", Digest)
def test_zeros_among_chunks(digest: Digest) -> None:
    zeros = bytes(MAXIMUM)
    nearly = bytes(MAXIMUM - 1) + b"\1"
    data: list[Buffer] = [zeros, b"abc", nearly, zeros, bytes(MAXIMUM - 1), b"abcd"]
    assert digest.of_chunks(data, MAXIMUM) == expected(digest, data)
    assert digest.of_chunks([zeros, bytes(9)], MAXIMUM, zero=True) == expected(
        digest, [zeros, bytes(9)]
    )


def test_a_kernel_digests_or_leaves_it_to_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernel in _kernels.kernels():
        monkeypatch.setenv(KERNEL_VARIABLE, kernel)
        digesting = kernel in _kernels.digest_kernels()
        assert choose_digest_kernel() == (kernel if digesting else None)
    monkeypatch.setenv(KERNEL_VARIABLE, "mmx")
    with pytest.raises(SettingInvalid, match="CAFLIP_KERNEL=mmx"):
        Digest.SHA512_256.of_each([b"a", b"b"])
