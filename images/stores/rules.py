# SPDX-License-Identifier: Apache-2.0
"""What an answer of a web server means, and what is done next: the rules without the network.

Statuses and fields: RFC 9110 (15.5 and 15.6 statuses, 10.2.3 Retry-After), RFC 6585 (429).
A success is 200 and nothing else, as for casync's own helper.
"""

from __future__ import annotations

import enum
import http
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from images.deadline import Backoff, Deadline
from images.errors import (
    ChunkInvalid,
    ChunkMissing,
    ImageError,
    NotAccessible,
    SettingInvalid,
    StoreUnavailable,
)
from images.locator import origin_of, without_credentials
from images.stores.settings import MOST_REDIRECTS
from images.stores.transfer import Failure, Reply, Request

_REDIRECTS = {301, 302, 303, 307, 308}
_GONE = {404, 410}
_FORBIDDEN = {401, 403, 407}
_BUSY = {429, 503}
_PASSING = {408, 425, 500, 502, 504} | _BUSY
_WASTE = 3
"""A chunk's failed tries may transfer so many times its limit."""


class Sign(enum.Enum):
    """What an answer tells of the store as a whole."""

    WELL = enum.auto()
    BUSY = enum.auto()
    """It wants fewer requests."""
    SILENT = enum.auto()
    """It did not answer at all."""
    FORBIDDEN = enum.auto()
    BROKEN = enum.auto()
    """It will not answer any request of ours."""
    NEUTRAL = enum.auto()


@dataclass(frozen=True, slots=True)
class Again:
    """Ask once more, after a wait."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do after a reply.

    Attributes:
        then: `Request` = follow a redirect now, `Again` = same request after a wait,
            an error = give up, None = the body is there.
        pause_s: leave the whole store alone for so long.
    """

    then: Request | Again | ImageError | None
    sign: Sign
    pause_s: float = 0.0


class Attempts:
    """The history of one wanted URL: redirects, failed tries, time and bytes spent.

    Attributes:
        request: what to send next.
        transferred: bytes of all tries so far.
    """

    def __init__(
        self, name: str, request: Request, deadline_s: float, most_hops: int = MOST_REDIRECTS
    ) -> None:
        """`name` is what errors call it, without credentials."""
        self.request = self._first = request
        self.transferred = 0
        self._name = name
        self._deadline_s = deadline_s
        self._most_hops = most_hops
        self._deadline: Deadline | None = None
        self._backoff = Backoff()
        self._hops = self._tries = 0

    def judge(self, reply: Reply) -> Verdict:
        """Decide what follows from a reply to `request`."""
        self.transferred += reply.transferred
        status = reply.status
        if reply.failure is not None and status in (0, http.HTTPStatus.OK):
            return self._after_failure(reply, reply.failure)
        if status == http.HTTPStatus.OK:
            return Verdict(None, Sign.WELL)
        if status in _GONE:
            return Verdict(ChunkMissing(f"{self._name}: not there ({status})"), Sign.WELL)
        if status in _FORBIDDEN:
            return Verdict(_forbidden(self._name, status), Sign.FORBIDDEN)
        if status in _REDIRECTS and reply.location is not None:
            return self._after_redirect(reply.location)
        if status in _PASSING:
            sign = Sign.BUSY if status in _BUSY else Sign.NEUTRAL
            return self._retry(_phrase(status), sign, reply.retry_after_s)
        return Verdict(StoreUnavailable(f"{self._name}: {_phrase(status)}"), Sign.NEUTRAL)

    def _after_failure(self, reply: Reply, failure: Failure) -> Verdict:
        what = f"{failure.value}: {reply.reason}" if reply.reason else failure.value
        if failure is Failure.TOO_LONG:
            return Verdict(ChunkInvalid(f"{self._name}: {what}"), Sign.NEUTRAL)
        if failure is Failure.TLS:
            error = StoreUnavailable(
                f"{self._name}: {what}", hint="check ca-file, client-cert and the clock"
            )
            return Verdict(error, Sign.BROKEN)
        silent = failure in (Failure.CONNECT, Failure.STALL) or reply.status == 0
        return self._retry(what, Sign.SILENT if silent else Sign.NEUTRAL, None)

    def _after_redirect(self, location: str) -> Verdict:
        self._hops += 1
        try:
            if self._hops > self._most_hops:
                raise StoreUnavailable(f"{self._name}: more than {self._most_hops} redirects")
            self.request = _redirected(self._name, self.request, location)
        except StoreUnavailable as error:
            return Verdict(error, Sign.NEUTRAL)
        return Verdict(self.request, Sign.NEUTRAL)

    def _retry(self, what: str, sign: Sign, retry_after_s: float | None) -> Verdict:
        if self._deadline is None:
            # From the first failure on: a long transfer that breaks is tried again at least once.
            self._deadline = Deadline(self._deadline_s)
        self._tries += 1
        self._hops, self.request = 0, self._first
        asked = retry_after_s or 0.0
        wait_s = max(asked, self._backoff.next_s())
        in_time = wait_s < self._deadline.remaining_s
        if in_time and self.transferred <= _WASTE * self._first.limit:
            return Verdict(Again(wait_s), sign, pause_s=asked)
        error = StoreUnavailable(f"{self._name}: {what}; gave up after {self._tries} tries")
        # Who asks to be left alone for longer than anybody waits here is down for all.
        return Verdict(error, Sign.BROKEN if asked >= self._deadline_s else sign, pause_s=asked)


def _redirected(name: str, request: Request, location: str) -> Request:
    """Return the request that follows a redirect.

    Credentials stay behind when the origin changes, and do not come back when a later redirect
    leads home: the detour was not ours to choose.

    Raises:
        StoreUnavailable: it leads to no web server, or from https to http.
    """
    url = without_credentials(location).partition("#")[0]
    try:
        origin = origin_of(url)
    except SettingInvalid:
        raise StoreUnavailable(f"{name}: redirected to what is no http(s) URL") from None
    before = origin_of(request.url)
    if before[0] == "https" and origin[0] == "http":
        raise StoreUnavailable(f"{name}: redirected from https to http at {origin[1]}")
    return Request(
        url=url,
        head=request.head,
        credentials=request.credentials and origin == before,
        limit=request.limit,
    )


def _forbidden(name: str, status: int) -> NotAccessible:
    who = "the proxy" if status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED else "the store"
    return NotAccessible(
        f"{name}: {who} refuses our credentials, or wants some: {_phrase(status)}",
        hint="set token-file, headers-file, client-cert or proxy in the store's settings",
    )


def _phrase(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def retry_after_s(value: str | None) -> float | None:
    """Read a Retry-After field: seconds, or a date; None when there is none that makes sense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def content_length(value: str | None) -> int | None:
    """Read a Content-Length field; None when there is none that makes sense."""
    return int(value) if value is not None and value.isascii() and value.isdigit() else None
