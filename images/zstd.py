# SPDX-License-Identifier: Apache-2.0
"""One way to zstd, whichever library is there.

Tried in this order at the first use: `compression.zstd` (Python 3.14), `backports.zstd`,
`zstandard`, and the system's `libzstd.so.1` through ctypes. All hand out a frame piece by piece, so
that the reader and not the frame decides how much memory is used.

Level 3 is what casync writes. A decoder allocates the window that the frame asks for, up to
libzstd's own limit of 128 MiB (ZSTD_WINDOWLOG_LIMIT_DEFAULT in zstd.h), and touches of it no more
than it decodes.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from images.digests import Buffer
from images.errors import NotAccessible

LEVEL = 3

_SLICE = 256
"""Bytes of input to a library without a limit on output. Four bytes may become a block of 128 KiB
(RFC 8878, 3.1.1.2.2, RLE), so this is 8 MiB of output at the worst."""


class Decoder(Protocol):
    """One frame or stream; the interface of `lzma.LZMADecompressor`."""

    @property
    def eof(self) -> bool:
        """The end of the frame was reached."""
        ...

    @property
    def needs_input(self) -> bool:
        """Nothing more comes without more input."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What followed the end of the frame."""
        ...

    def decompress(self, data: Buffer, max_length: int) -> bytes:
        """Take in `data` and return at most `max_length` bytes; the rest comes at later calls."""
        ...


@dataclass(frozen=True, slots=True)
class Library:
    """A zstd library.

    Attributes:
        name: the module or shared object.
        compress: a whole buffer into one frame of level 3.
        decoder: start a frame.
        error: what `decompress` of a broken frame raises.
    """

    name: str
    compress: Callable[[Buffer], bytes]
    decoder: Callable[[], Decoder]
    error: type[Exception]


@cache
def library() -> Library:
    """Return the first zstd library that can be loaded.

    Raises:
        NotAccessible: there is none.
    """
    for load in LOADERS:
        try:
            return load()
        except (ImportError, OSError):
            continue
    raise NotAccessible(
        "no zstd library", hint="install backports.zstd (pip) or libzstd1 (distribution)"
    )


def standard_library() -> Library:
    """Load the module of Python 3.14."""
    return _like_standard("compression.zstd")


def backport() -> Library:
    """Load the same module for older Pythons."""
    return _like_standard("backports.zstd")


def _like_standard(name: str) -> Library:
    module = importlib.import_module(name)
    local = threading.local()

    def compress(data: Buffer) -> bytes:
        # A context of a megabyte for each chunk would cost a tenth of the time.
        compressor = getattr(local, "compressor", None)
        if compressor is None:
            local.compressor = compressor = module.ZstdCompressor(level=LEVEL)
        return bytes(compressor.compress(data, compressor.FLUSH_FRAME))

    return Library(name, compress, module.ZstdDecompressor, module.ZstdError)


def zstandard() -> Library:
    """Load the module that older distributions ship; 0.19 is the first whose decoder has `eof`."""
    module = importlib.import_module("zstandard")

    def compress(data: Buffer) -> bytes:
        return bytes(module.ZstdCompressor(level=LEVEL).compress(data))

    def decoder() -> Decoder:
        return _ZstandardDecoder(module.ZstdDecompressor().decompressobj())

    return Library("zstandard", compress, decoder, module.ZstdError)


class _DecompressObj(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: Buffer) -> bytes: ...


class _ZstandardDecoder:
    def __init__(self, frame: _DecompressObj) -> None:
        self._frame = frame
        self._input = b""
        self._ready = b""

    @property
    def eof(self) -> bool:
        return self._frame.eof and not self._ready

    @property
    def needs_input(self) -> bool:
        return not self._frame.eof and not self._input and not self._ready

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data + self._input if self._frame.eof else b""

    def decompress(self, data: Buffer, max_length: int) -> bytes:
        rest = memoryview(self._input + bytes(data))
        parts, length = [self._ready], len(self._ready)
        while rest and length < max_length and not self._frame.eof:
            parts.append(self._frame.decompress(rest[:_SLICE]))
            length += len(parts[-1])
            rest = rest[_SLICE:]
        self._input = bytes(rest)
        output = b"".join(parts)
        self._ready = output[max_length:]
        return output[:max_length]


class _InBuffer(ctypes.Structure):  # ZSTD_inBuffer of zstd.h
    _fields_ = (("src", ctypes.c_char_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


class _OutBuffer(ctypes.Structure):  # ZSTD_outBuffer of zstd.h
    _fields_ = (("dst", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t))


class LibzstdError(Exception):
    """What `ZSTD_getErrorName` says."""


def shared_object() -> Library:
    """Load the system's library."""
    lib = ctypes.CDLL("libzstd.so.1")
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    for name, result, arguments in (
        ("ZSTD_isError", ctypes.c_uint, (size,)),
        ("ZSTD_getErrorName", ctypes.c_char_p, (size,)),
        ("ZSTD_compressBound", size, (size,)),
        ("ZSTD_compress", size, (pointer, size, ctypes.c_char_p, size, ctypes.c_int)),
        ("ZSTD_createDStream", pointer, ()),
        ("ZSTD_freeDStream", size, (pointer,)),
        ("ZSTD_decompressStream", size, (pointer, pointer, pointer)),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments

    def compress(data: Buffer) -> bytes:
        room = lib.ZSTD_compressBound(len(data))
        output = ctypes.create_string_buffer(room)
        length = _checked(lib, lib.ZSTD_compress(output, room, bytes(data), len(data), LEVEL))
        return ctypes.string_at(output, length)

    return Library("libzstd.so.1", compress, lambda: _LibzstdDecoder(lib), LibzstdError)


class _LibzstdDecoder:
    def __init__(self, lib: ctypes.CDLL) -> None:
        self._lib = lib
        self._stream = lib.ZSTD_createDStream()
        self._input = b""
        self.eof = False
        self.needs_input = True

    def __del__(self) -> None:
        self._lib.ZSTD_freeDStream(self._stream)

    @property
    def unused_data(self) -> bytes:
        return self._input if self.eof else b""

    def decompress(self, data: Buffer, max_length: int) -> bytes:
        data = self._input + bytes(data)
        output = ctypes.create_string_buffer(max_length)
        source = _InBuffer(data, len(data), 0)
        target = _OutBuffer(ctypes.addressof(output), max_length, 0)
        while not self.eof and target.pos < max_length:
            before = (source.pos, target.pos)
            hint = self._lib.ZSTD_decompressStream(
                self._stream, ctypes.byref(target), ctypes.byref(source)
            )
            self.eof = _checked(self._lib, hint) == 0
            if (source.pos, target.pos) == before:
                break
        self._input = data[source.pos :]
        self.needs_input = not self.eof and target.pos < max_length
        return ctypes.string_at(output, target.pos)


def _checked(lib: ctypes.CDLL, result: int) -> int:
    if lib.ZSTD_isError(result):
        raise LibzstdError(lib.ZSTD_getErrorName(result).decode())
    return result


LOADERS: tuple[Callable[[], Library], ...] = (standard_library, backport, zstandard, shared_object)
