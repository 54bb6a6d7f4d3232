# SPDX-License-Identifier: Apache-2.0
"""Many requests at once with requests and threads, where pycurl is not installed.

Every answer costs ten to twenty times the CPU that libcurl takes. Adapters are used without a
session: a session would keep cookies, read `.netrc`, and follow redirects by its own rules. Proxies
come from the environment as requests reads it.
"""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from io import BytesIO
from urllib.parse import urljoin

import requests
from requests.utils import get_environ_proxies
from urllib3.exceptions import (
    ConnectTimeoutError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from images.errors import Bug
from images.stores.adapter import KnownSocketsAdapter, Sockets
from images.stores.rules import content_length, retry_after_s
from images.stores.settings import HttpSettings
from images.stores.transfer import Failure, Reply, Request, certificates, scrubbed

_PIECE = 16 << 10
"""Bytes asked for at once; libcurl's default too."""


class RequestsTransfer:
    """A `Transfer` over requests: one thread for each request in flight."""

    def __init__(self, settings: HttpSettings, headers: Mapping[str, str]) -> None:
        self._settings = settings
        self._plain_headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
        self._own_headers = {**self._plain_headers, **headers}
        self._sockets = Sockets()
        self._adapters = {
            own: KnownSocketsAdapter(self._sockets, settings.in_flight_max) for own in (True, False)
        }
        self._verify = certificates(settings) or True
        self._threads = ThreadPoolExecutor(settings.in_flight_max, "http")
        self._ended: queue.SimpleQueue[Reply | Exception | None] = queue.SimpleQueue()
        self._closing = threading.Event()

    def start(self, request: Request) -> None:
        """Begin, without waiting."""
        self._threads.submit(self._run, request)

    def poll(self, timeout_s: float) -> list[Reply]:
        """Wait until something ended, `wake` was called, or the time is over."""
        replies: list[Reply] = []
        try:
            reply = self._ended.get(timeout=max(0.0, timeout_s))
            while reply is not None:
                if isinstance(reply, Exception):
                    raise reply
                replies.append(reply)
                reply = self._ended.get_nowait()
        except queue.Empty:
            pass
        return replies

    def wake(self) -> None:
        """End the `poll` that runs, or the next one."""
        self._ended.put(None)

    def close(self) -> None:
        """Drop all requests and connections; waits at most for attempts to connect."""
        self._closing.set()
        self._sockets.shut_down()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for adapter in self._adapters.values():
            adapter.close()
        self._sockets.close()

    def _run(self, request: Request) -> None:
        try:
            self._ended.put(self._exchange(request))
        except Exception as error:
            self._ended.put(error)

    def _exchange(self, request: Request) -> Reply:
        answer: requests.Response | None = None
        body = BytesIO()
        failure: Failure | None = None
        reason = ""
        try:
            answer = self._send(request)
            if not request.head:
                self._receive(answer, body, request.limit)
        except _Ended as ended:
            failure = ended.failure
        except Exception as error:  # whatever a library raises, the request is to be answered
            failure, reason = _sort(error)
        finally:
            if answer is not None:
                answer.close()
        fields = {} if answer is None else answer.headers
        return Reply(
            request=request,
            status=0 if answer is None else answer.status_code,
            body=body.getvalue(),
            failure=failure,
            reason=reason,
            location=_absolute(request.url, fields.get("Location")),
            retry_after_s=retry_after_s(fields.get("Retry-After")),
            content_length=content_length(fields.get("Content-Length")),
            transferred=body.tell(),
        )

    def _send(self, request: Request) -> requests.Response:
        settings, own = self._settings, request.credentials
        cert = None
        if own and settings.client_cert is not None:
            cert = (settings.client_cert, settings.client_key or settings.client_cert)
        if settings.proxy is None:
            proxies = get_environ_proxies(request.url)
        else:
            proxies = {"all": settings.proxy} if settings.proxy else {}
        return self._adapters[own].send(
            requests.Request(
                "HEAD" if request.head else "GET",
                request.url,
                headers=self._own_headers if own else self._plain_headers,
            ).prepare(),
            stream=True,
            timeout=(settings.connect_timeout_s, settings.low_speed_time_s),
            verify=self._verify,
            cert=cert,
            proxies=proxies,
        )

    def _receive(self, answer: requests.Response, body: BytesIO, limit: int) -> None:
        # urllib3's own read() waits until it has all that was asked for, however slowly it comes.
        http = answer.raw._original_response
        if http is None:
            raise Bug("urllib3 gave an answer without a connection")
        pace = _Pace(self._settings)
        while piece := http.read1(_PIECE):
            if body.tell() + len(piece) > limit:
                raise _Ended(Failure.TOO_LONG)
            body.write(piece)
            self._closing.wait(pace.wait_s(len(piece)))
            if self._closing.is_set():
                raise _Ended(Failure.CUT)
        if http.length:
            raise IncompleteRead(b"", http.length)
        http.close()
        answer.raw.release_conn()


class _Ended(Exception):
    """We ended the transfer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure


class _Pace:
    """Speed of one transfer: too slow has stalled, too fast has to wait."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._began_s = self._window_s = time.monotonic()
        self._received = self._in_window = 0

    def wait_s(self, received: int) -> float:
        """Count received bytes, and return how long to wait before more are read."""
        settings, now_s = self._settings, time.monotonic()
        self._received += received
        self._in_window += received
        passed_s = now_s - self._window_s
        if passed_s >= settings.low_speed_time_s:
            if self._in_window < settings.low_speed_bps * passed_s:
                raise _Ended(Failure.STALL)
            self._window_s, self._in_window = now_s, 0
        if settings.rate_limit_bps is None:
            return 0.0
        return max(0.0, self._began_s + self._received / settings.rate_limit_bps - now_s)


def _absolute(url: str, location: str | None) -> str | None:
    if location is None or "://" in location.partition("?")[0]:
        return location
    try:
        return urljoin(url, location)
    except ValueError:
        return None


def _sort(error: Exception) -> tuple[Failure, str]:
    """Return what a library's exception means, and words that hold no URL."""
    causes = list(_causes(error))
    own_words = [
        cause
        for cause in causes
        if isinstance(cause, (OSError, IncompleteRead))
        and not isinstance(cause, requests.RequestException)
    ]
    reason = scrubbed(str(own_words[-1])) if own_words else type(causes[-1]).__name__

    def any_of(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if any_of(ssl.SSLCertVerificationError):
        return Failure.TLS, reason
    if any_of(requests.ConnectTimeout, ConnectTimeoutError, NewConnectionError, ProxyError):
        return Failure.CONNECT, reason
    if any_of(ReadTimeoutError, TimeoutError):
        return Failure.STALL, reason
    return Failure.CUT, reason


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that libraries wrapped in it, outermost first."""
    while error is not None:
        yield error
        inside = [getattr(error, "reason", None), *error.args, error.__cause__, error.__context__]
        error = next((cause for cause in inside if isinstance(cause, BaseException)), None)
