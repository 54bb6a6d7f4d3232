# SPDX-License-Identifier: Apache-2.0
"""The heads of HTTP messages, as far as a read-only server of files needs them.

RFC 9112 (request line and fields) and RFC 9110 (statuses, 14.1.2 ranges). What is not plain is
refused instead of guessed at: obsolete line folding, a field twice, a body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_HEAD = 8 << 10
"""The longest head of a request, in bytes."""

_REQUEST = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*)")
_RANGE = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
_PHRASES = {
    200: "OK",
    206: "Partial Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Range Not Satisfiable",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        path: without query; of printable ASCII, not decoded.
        query: what follows the question mark; "" for nothing.
        keep: the connection may stay open.
        range: the field as it came.
    """

    method: bytes
    path: str
    query: str
    keep: bool
    range: bytes | None


class Malformed(Exception):
    """Not HTTP, or more of it than a client for chunks has any use for."""


def parse_request(head: bytes, most_head: int = MOST_HEAD) -> Asked:
    """Read the head of a request, without its empty line.

    Args:
        head: as it came.
        most_head: the longest that is read, in bytes.

    Raises:
        Malformed: see there.
    """
    first, *lines = head.split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None or len(head) > most_head:
        raise Malformed
    fields: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None or (name := field[1].lower()) in fields:
            raise Malformed
        fields[name] = field[2].strip()
    # A body would be taken for the next request.
    if fields.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in fields:
        raise Malformed
    modern = request[3] == b"1"
    if modern and b"host" not in fields:
        raise Malformed
    connection = fields.get(b"connection", b"").lower()
    keep = b"close" not in connection and (modern or b"keep-alive" in connection)
    path, _, query = request[2].decode("ascii").partition("?")
    return Asked(request[1], path, query, keep, fields.get(b"range"))


def wanted_part(asked: bytes | None, length: int) -> tuple[int, int] | None:
    """Return start and end of what is wanted; None where no byte of it exists.

    What is not one well-formed range is ignored, as RFC 9110, 14.2 allows.
    """
    match = None if asked is None else _RANGE.fullmatch(asked)
    if match is None or not (match[1] or match[2]):
        return 0, length
    if not match[1]:
        count = min(int(match[2]), length)
        return (length - count, length) if count else None
    start = int(match[1])
    end = min(int(match[2]) + 1, length) if match[2] else length
    if match[2] and int(match[2]) < start:
        return 0, length
    return (start, end) if start < length else None


def answer_head(status: int, length: int, keep: bool, more: str = "") -> bytes:
    """Return the head of an answer; `more` holds whole field lines."""
    return (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\n"
        f"Content-Length: {length}\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n"
        f"{more}\r\n"
    ).encode("ascii")
