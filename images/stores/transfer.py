# SPDX-License-Identifier: Apache-2.0
"""The seam between what is asked of a web server and the library that asks.

A transfer runs many requests at once and is driven by one thread. It decides nothing: it follows no
redirect, tries nothing again, and applies no Content-Encoding. Those rules are in `rules.py`.
"""

from __future__ import annotations

import enum
import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Protocol

from images.errors import NotAccessible
from images.stores.settings import HttpSettings

_SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Yocto, Buildroot
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)


class Failure(enum.Enum):
    """Why a request ended without a complete answer."""

    CONNECT = "cannot connect"
    STALL = "stalled"
    CUT = "connection lost"
    TOO_LONG = "answer too long"
    TLS = "TLS certificate"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One GET or HEAD. Two requests with the same values are still two.

    Attributes:
        credentials: send the settings' headers, authorization and client certificate along.
        limit: the transfer ends when the body has more bytes than this.
    """

    url: str
    head: bool
    credentials: bool
    limit: int


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request ended.

    Attributes:
        status: of HTTP, 0 when no answer began.
        body: complete unless there was a failure; of any status, so never longer than the limit.
        failure, reason: None and "" when the answer came in full.
        location: where a redirect leads, as an absolute URL.
        content_length: what the answer says of its body; None when it does not.
        transferred: bytes of the body that came.
    """

    request: Request
    status: int
    body: bytes
    failure: Failure | None
    reason: str
    location: str | None
    retry_after_s: float | None
    content_length: int | None
    transferred: int


class Transfer(Protocol):
    """Runs requests. Only `wake` may be called from another thread than the driving one."""

    def start(self, request: Request) -> None:
        """Begin, without waiting."""
        ...

    def poll(self, timeout_s: float) -> list[Reply]:
        """Wait until something ended, `wake` was called, or the time is over."""
        ...

    def wake(self) -> None:
        """End the `poll` that runs, or the next one."""
        ...

    def close(self) -> None:
        """Drop all requests and connections."""
        ...


def new_transfer(settings: HttpSettings, authorization: str | None) -> Transfer:
    """Make a transfer: libcurl where pycurl is installed, else requests and threads.

    Args:
        settings: of the store.
        authorization: value of the Authorization header from the store's URL; wins over settings.

    Raises:
        NotAccessible: a file that the settings name cannot be read.
    """
    for path in (settings.ca_file, settings.client_cert, settings.client_key):
        if path is not None and not os.access(path, os.R_OK):
            raise NotAccessible(f"{path} cannot be read")
    headers = {**settings.headers}
    if authorization is not None:
        headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        headers["Authorization"] = authorization
    if importlib.util.find_spec("pycurl") is not None:
        from images.stores.transfer_curl import CurlTransfer

        return CurlTransfer(settings, headers)
    from images.stores.transfer_requests import RequestsTransfer

    return RequestsTransfer(settings, headers)


def scrubbed(text: str) -> str:
    """Return a library's words without user and password: it may name the proxy with them."""
    return re.sub(r"://\S*@", "://", text)


def certificates(settings: HttpSettings) -> str | None:
    """Return the file of certificates to trust; None where the system's were not found.

    A wheel's own certificates are those of the day it was built, or of its build machine.
    """
    if settings.ca_file is not None:
        return settings.ca_file
    named = os.environ.get("CURL_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if named:
        if not os.access(named, os.R_OK):
            raise NotAccessible(f"{named} (CURL_CA_BUNDLE or SSL_CERT_FILE) cannot be read")
        return named
    return next((path for path in _SYSTEM_CERTIFICATES if os.access(path, os.R_OK)), None)
