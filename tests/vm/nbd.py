# SPDX-License-Identifier: Apache-2.0
"""The NBD protocol, as much as QEMU asks of a server with one disk.

Fixed newstyle handshake with NBD_OPT_GO, then simple replies: doc/proto.md of the NBD project. All
numbers are big-endian. One request is answered after the other.
"""

from __future__ import annotations

import enum
import socket
import struct
from typing import Protocol

_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_EXPORT = struct.Struct(">HQH")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")

_OPTION_MAGIC = b"IHAVEOPT"
_OPTION_REPLY_MAGIC = 0x3E889045565A9
_REQUEST_MAGIC = 0x25609513
_REPLY_MAGIC = 0x67446698
_HANDSHAKE = 1 | 2  # NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES
_ABORT, _GO = 2, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, (1 << 31) + 1
_INFO_EXPORT = 0
_ABLE = 1 | 4 | 8 | 32 | 64  # HAS_FLAGS, and SEND_: FLUSH, FUA, TRIM, WRITE_ZEROES
_FUA = 1
_EINVAL = 22


class _Command(enum.IntEnum):
    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6


class Disk(Protocol):
    """What is served; offsets and lengths are in bytes."""

    @property
    def length(self) -> int:
        """Of the whole disk."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return what was written last."""
        ...

    def write(self, offset: int, data: bytes, *, durable: bool) -> None:
        """Write; `durable` is FUA: on the medium when it returns."""
        ...

    def flush(self) -> None:
        """Bring all that was written to the medium."""
        ...


class Disconnected(Exception):
    """The client is gone."""


def serve(client: socket.socket, disk: Disk) -> None:
    """Talk to one client until it is gone.

    Raises:
        ValueError: it does not speak the protocol.
    """
    try:
        if _agree(client, disk):
            while _answer(client, disk):
                pass
    except (Disconnected, ConnectionError):
        pass


def _agree(client: socket.socket, disk: Disk) -> bool:
    """Go through the client's options; tell whether it goes on to requests."""
    client.sendall(_GREETING.pack(b"NBDMAGIC", _OPTION_MAGIC, _HANDSHAKE))
    _receive(client, 4)  # its flags
    while True:
        magic, option, length = _OPTION.unpack(_receive(client, _OPTION.size))
        if magic != _OPTION_MAGIC:
            raise ValueError(f"not an option: {magic!r}")
        _receive(client, length)  # the name of the export, and what it wants to know: there is one
        if option == _GO:
            export = _EXPORT.pack(_INFO_EXPORT, disk.length, _ABLE)
            _reply_option(client, option, _INFO, export)
        known = option in (_GO, _ABORT)
        _reply_option(client, option, _ACK if known else _UNSUPPORTED, b"")
        if known:
            return bool(option == _GO)


def _reply_option(client: socket.socket, option: int, kind: int, data: bytes) -> None:
    client.sendall(_OPTION_REPLY.pack(_OPTION_REPLY_MAGIC, option, kind, len(data)) + data)


def _answer(client: socket.socket, disk: Disk) -> bool:
    """Carry out one request; tell whether there are more to come."""
    head = _receive(client, _REQUEST.size)
    magic, flags, command, handle, offset, length = _REQUEST.unpack(head)
    if magic != _REQUEST_MAGIC:
        raise ValueError(f"not a request: {magic:#x}")
    data, error = b"", 0
    if command == _Command.READ:
        data = disk.read(offset, length)
    elif command == _Command.WRITE:
        disk.write(offset, _receive(client, length), durable=bool(flags & _FUA))
    elif command in (_Command.TRIM, _Command.WRITE_ZEROES):
        disk.write(offset, bytes(length), durable=bool(flags & _FUA))
    elif command == _Command.FLUSH:
        disk.flush()
    elif command == _Command.DISCONNECT:
        return False
    else:
        error = _EINVAL
    client.sendall(_REPLY.pack(_REPLY_MAGIC, error, handle) + data)
    return True


def _receive(client: socket.socket, length: int) -> bytes:
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        count = client.recv_into(view)
        if not count:
            raise Disconnected
        view = view[count:]
    return bytes(buffer)
