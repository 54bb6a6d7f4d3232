# SPDX-License-Identifier: Apache-2.0
"""Many requests at once with libcurl: one thread, one epoll, one connection pool.

libcurl's socket interface is used (libcurl-multi(3), "multi_socket") because it lets another thread
interrupt the wait, which `curl_multi_poll` through pycurl does not. HTTP/1.1 only: libcurl 7.88
of Debian 12 fails on HTTP/2 under load. libcurl's defaults that matter here: no redirects, no
`.netrc`, no HTTP/0.9, no decoding of Content-Encoding, proxies from the environment.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Mapping
from io import BytesIO

import pycurl

from images.errors import Bug
from images.stores.rules import content_length, retry_after_s
from images.stores.settings import HttpSettings
from images.stores.transfer import Failure, Reply, Request, certificates, scrubbed

_FIELDS = {b"content-length", b"retry-after"}

# curl.h, CURLcode; pycurl has names for some, and not the same ones in all versions.
_WRITE_ERROR = 23
_TIMED_OUT = 28
_CONNECT_ERRORS = {
    5,  # COULDNT_RESOLVE_PROXY
    6,  # COULDNT_RESOLVE_HOST
    7,  # COULDNT_CONNECT
    35,  # SSL_CONNECT_ERROR
    97,  # PROXY
}
_TLS_ERRORS = {
    58,  # SSL_CERTPROBLEM
    60,  # PEER_FAILED_VERIFICATION
    77,  # SSL_CACERT_BADFILE
    83,  # SSL_ISSUER_ERROR
}


class _Handle:
    """An easy handle that is used again and again, and the body it receives."""

    __slots__ = ("body", "curl", "fields", "request")

    def __init__(self, settings: HttpSettings, headers: list[str], own_origin: bool) -> None:
        self.request: Request | None = None
        self.body = BytesIO()
        self.fields: dict[bytes, str] = {}
        self.curl = curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(settings.connect_timeout_s * 1000)))
        curl.setopt(pycurl.LOW_SPEED_LIMIT, settings.low_speed_bps)
        curl.setopt(pycurl.LOW_SPEED_TIME, settings.low_speed_time_s)
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.HEADERFUNCTION, self._header)
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        if (ca_file := certificates(settings)) is not None:
            curl.setopt(pycurl.CAINFO, ca_file)
        if settings.proxy is not None:
            curl.setopt(pycurl.PROXY, settings.proxy)
        if settings.rate_limit_bps is not None:
            curl.setopt(pycurl.MAX_RECV_SPEED_LARGE, settings.rate_limit_bps)
        if own_origin and settings.client_cert is not None:
            curl.setopt(pycurl.SSLCERT, settings.client_cert)
            if settings.client_key is not None:
                curl.setopt(pycurl.SSLKEY, settings.client_key)

    def prepare(self, request: Request) -> None:
        self.request = request
        self.body = BytesIO()
        self.fields.clear()
        self.curl.setopt(pycurl.URL, request.url)
        if request.head:
            self.curl.setopt(pycurl.NOBODY, 1)
        else:
            self.curl.setopt(pycurl.HTTPGET, 1)

    def _header(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            self.fields.clear()  # what came before was a proxy's or an interim answer
        name, _, value = line.partition(b":")
        if (name := name.lower()) in _FIELDS:
            self.fields[name] = value.strip().decode("latin-1")

    def _write(self, data: bytes) -> int | None:
        if self.request is None or self.body.tell() + len(data) > self.request.limit:
            return 0  # anything but the length makes libcurl end the transfer
        self.body.write(data)
        return None

    def reply(self, code: int, reason: str) -> Reply:
        """Return what became of the request, and be free again."""
        request, self.request = self.request, None
        if request is None:
            raise Bug("libcurl reported a handle that has no request")
        curl, failure = self.curl, self._failure(code)
        body, self.body = self.body, BytesIO()
        return Reply(
            request=request,
            status=curl.getinfo(pycurl.RESPONSE_CODE),
            body=body.getvalue(),
            failure=failure,
            reason=scrubbed(reason),
            location=curl.getinfo(pycurl.REDIRECT_URL),
            retry_after_s=retry_after_s(self.fields.get(b"retry-after")),
            content_length=content_length(self.fields.get(b"content-length")),
            transferred=body.tell(),
        )

    def _failure(self, code: int) -> Failure | None:
        if code == 0:
            return None
        if code == _WRITE_ERROR:
            return Failure.TOO_LONG
        if code == _TIMED_OUT:
            connected = self.curl.getinfo(pycurl.PRETRANSFER_TIME) > 0
            return Failure.STALL if connected else Failure.CONNECT
        if code in _TLS_ERRORS:
            return Failure.TLS
        return Failure.CONNECT if code in _CONNECT_ERRORS else Failure.CUT


class CurlTransfer:
    """A `Transfer` over libcurl's multi interface."""

    def __init__(self, settings: HttpSettings, headers: Mapping[str, str]) -> None:
        self._settings = settings
        self._plain_headers = ["Accept-Encoding: identity", "Accept: */*"]
        # "Name;" is how libcurl is told to send a header without a value.
        self._own_headers = self._plain_headers + [
            f"{name}: {value}" if value else f"{name};" for name, value in headers.items()
        ]
        self._free: dict[bool, list[_Handle]] = {True: [], False: []}
        self._busy: dict[pycurl.Curl, _Handle] = {}
        self._due_s: float | None = None
        self._epoll = select.epoll()
        self._watched: set[int] = set()
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._waker, select.EPOLLIN)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, settings.in_flight_max)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def start(self, request: Request) -> None:
        """Begin, without waiting."""
        free = self._free[request.credentials]
        if free:
            handle = free.pop()
        else:
            headers = self._own_headers if request.credentials else self._plain_headers
            handle = _Handle(self._settings, headers, request.credentials)
        handle.prepare(request)
        self._busy[handle.curl] = handle
        self._multi.add_handle(handle.curl)

    def poll(self, timeout_s: float) -> list[Reply]:
        """Wait until something ended, `wake` was called, or the time is over."""
        end_s = time.monotonic() + timeout_s
        while True:
            now_s = time.monotonic()
            if self._due_s is not None and self._due_s <= now_s:
                self._due_s = None
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            if replies := self._ended():
                return replies
            wait_s = end_s - now_s if self._due_s is None else min(end_s, self._due_s) - now_s
            events = self._epoll.poll(max(0.0, wait_s))
            woken = False
            for fd, mask in events:
                if fd == self._waker:
                    os.eventfd_read(fd)
                    woken = True
                elif fd in self._watched:
                    self._multi.socket_action(fd, _curl_mask(mask))
            if woken or time.monotonic() >= end_s:
                return self._ended()

    def wake(self) -> None:
        """End the `poll` that runs, or the next one."""
        os.eventfd_write(self._waker, 1)

    def close(self) -> None:
        """Drop all requests and connections."""
        for handle in self._busy.values():
            self._multi.remove_handle(handle.curl)
        for handle in [*self._busy.values(), *self._free[True], *self._free[False]]:
            handle.curl.close()
        self._busy.clear()
        self._free = {True: [], False: []}
        self._multi.close()
        self._epoll.close()
        os.close(self._waker)

    def _ended(self) -> list[Reply]:
        replies = []
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl, code, reason in [(curl, 0, "") for curl in good] + bad:
                self._multi.remove_handle(curl)
                handle = self._busy.pop(curl)
                replies.append(reply := handle.reply(code, reason))
                self._free[reply.request.credentials].append(handle)
        return replies

    def _watch(self, what: int, fd: int, _multi: pycurl.CurlMulti, _data: object) -> None:
        # libcurl may close a socket and open another with the same number without a word; the
        # kernel has then forgotten the first one.
        if fd in self._watched:
            self._watched.remove(fd)
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)
        if what != pycurl.POLL_REMOVE:
            readable = select.EPOLLIN if what & pycurl.POLL_IN else 0
            writable = select.EPOLLOUT if what & pycurl.POLL_OUT else 0
            self._epoll.register(fd, readable | writable)
            self._watched.add(fd)

    def _set_timer(self, timeout_ms: int) -> None:
        self._due_s = None if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000


def _curl_mask(events: int) -> int:
    mask: int = pycurl.CSELECT_IN if events & (select.EPOLLIN | select.EPOLLHUP) else 0
    if events & select.EPOLLOUT:
        mask |= pycurl.CSELECT_OUT
    if events & select.EPOLLERR:
        mask |= pycurl.CSELECT_ERR
    return mask
