# SPDX-License-Identifier: Apache-2.0
"""How each HTTP store is to be asked, from a TOML file.

    [store."https://updates.example.com/castr"]
    ca-file = "private-ca.pem"              # instead of the system's certificates
    client-cert = "device.pem"
    client-key = "device.key"
    proxy = "http://proxy:3128"             # "" = none, whatever the environment says
    token-file = "token"                    # Authorization: Bearer <content of the file>
    headers-file = "headers"                # lines `Name: value`, for those that are secret
    headers = { X-Site = "berlin" }
    rate-limit-bps = 500000

The table with the longest prefix of origin and path counts; paths are relative to the file. All
headers count as credentials: they go to the store's own origin only.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from images.errors import NotAccessible, SettingInvalid
from images.locator import chunk_base, origin_of, without_credentials

MOST_REDIRECTS = 5
_MOST_IN_FLIGHT = 256
_MOST_SECRET = 64 << 10
_FRACTIONS = {"connect-timeout-s", "deadline-s"}


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How to ask one store. Times are seconds, rates bytes a second.

    Attributes:
        ca_file: certificates (PEM) that may sign the server's; None = the system's.
        client_cert, client_key: PEM files; the key may stand in the certificate's file.
        proxy: URL; None = from the environment as curl does, "" = none.
        headers: sent to the store's own origin only.
        connect_timeout_s: name look-up, TCP, TLS and proxy together.
        low_speed_bps, low_speed_time_s: a transfer that is slower for that long has stalled.
        deadline_s: a chunk's tries end that long after the first of them failed, and the store
            counts as down when it delivered nothing at all for that long. A transfer that runs is
            never cut by it.
        rate_limit_bps: of all requests to the store together; None = unlimited.
        redirects_max: followed for one chunk.
    """

    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout_s: float = 10.0
    low_speed_bps: int = 256
    low_speed_time_s: int = 10
    deadline_s: float = 30.0
    rate_limit_bps: int | None = None
    in_flight_min: int = 4
    in_flight_start: int = 16
    in_flight_max: int = 64
    redirects_max: int = MOST_REDIRECTS

    def __post_init__(self) -> None:
        if not (
            1 <= self.in_flight_min <= self.in_flight_start <= self.in_flight_max <= _MOST_IN_FLIGHT
        ):
            raise SettingInvalid(
                "in-flight-min, -start and -max are not in order, "
                f"or not within 1..{_MOST_IN_FLIGHT}"
            )
        for positive in ("connect_timeout_s", "low_speed_time_s", "deadline_s", "rate_limit_bps"):
            value = getattr(self, positive)
            if value is not None and value <= 0:
                raise SettingInvalid(f"{_key(positive)} has to be more than 0")
        for natural in ("low_speed_bps", "redirects_max"):
            if getattr(self, natural) < 0:
                raise SettingInvalid(f"{_key(natural)} is negative")
        if self.client_key is not None and self.client_cert is None:
            raise SettingInvalid("client-key without client-cert")
        for name, value in self.headers.items():
            _check_header(name, value)


def load_store_settings(path: str | Path) -> dict[str, HttpSettings]:
    """Read a settings file: from URL prefix to settings.

    Raises:
        NotAccessible: it, or a file that it names, cannot be read.
        SettingInvalid: no TOML, an unknown key, a value that makes no sense.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise NotAccessible(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingInvalid(f"{path}: {error}") from error
    _refuse_unknown(document, {"store"}, str(path))
    stores: dict[str, HttpSettings] = {}
    for prefix, table in _table(document.get("store", {}), f"{path}: store").items():
        where = f'{path}: [store."{without_credentials(prefix)}"]'
        if without_credentials(prefix) != prefix:
            raise SettingInvalid(
                f"{where} has a user in its name", hint="use headers-file or token-file"
            )
        origin_of(prefix)
        stores[prefix] = _settings_of(_table(table, where), path.parent, where)
    return stores


def settings_for(stores: Mapping[str, HttpSettings], url: str) -> HttpSettings:
    """Return the settings with the longest prefix of `url`'s origin and path, else the defaults."""
    origin, path = origin_of(url), _path_of(url)
    matching = [
        (len(_path_of(prefix)), settings)
        for prefix, settings in stores.items()
        if origin_of(prefix) == origin and path.startswith(_path_of(prefix))
    ]
    return max(matching, key=lambda match: match[0])[1] if matching else HttpSettings()


def _path_of(url: str) -> str:
    """Return `/a/b/` of `http://host/a/b?c`, so that `/a/b` is no prefix of `/a/bc`."""
    _, _, path = chunk_base(url).partition("://")[2].partition("/")
    return f"/{path}/" if path else "/"


def _key(attribute: str) -> str:
    return attribute.replace("_", "-")


def _settings_of(table: dict[str, object], folder: Path, where: str) -> HttpSettings:
    known = {_key(item.name): item.name for item in fields(HttpSettings)}
    _refuse_unknown(table, {*known, "headers-file", "token-file"}, where)
    values: dict[str, object] = {}
    headers: dict[str, str] = {}
    for key, value in table.items():
        spot = f"{where} {key}"
        if key == "headers":
            headers |= {name: _text(text, spot) for name, text in _table(value, spot).items()}
        elif key == "headers-file":
            headers |= _read_headers(folder / _text(value, spot))
        elif key == "token-file":
            token = _read_secret(folder / _text(value, spot)).strip()
            headers["Authorization"] = f"Bearer {token}"
        elif key in ("ca-file", "client-cert", "client-key"):
            values[known[key]] = _readable(folder / _text(value, spot))
        elif key == "proxy":
            values[known[key]] = _text(value, spot)
        else:
            values[known[key]] = _number(value, spot, whole=key not in _FRACTIONS)
    try:
        return replace(HttpSettings(headers=headers), **values)  # type: ignore[arg-type]
    except SettingInvalid as error:
        raise SettingInvalid(f"{where} {error}") from error


def _refuse_unknown(table: Mapping[str, object], known: set[str], where: str) -> None:
    for key in table:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, 1, cutoff=0.0)
            raise SettingInvalid(
                f"{where}: unknown key {key!r}", hint=f"did you mean {nearest[0]}?"
            )


def _table(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SettingInvalid(f"{where} is not a table")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise SettingInvalid(f"{where} is not a text")
    return value


def _number(value: object, where: str, *, whole: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise SettingInvalid(f"{where} is not a {'whole ' if whole else ''}number")
    return value


def _read_secret(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_SECRET + 1)
    except OSError as error:
        raise NotAccessible(f"{path}: {error.strerror}") from error
    if len(content) > _MOST_SECRET or not content.isascii():
        raise SettingInvalid(f"{path} is longer than {_MOST_SECRET} bytes, or not ASCII")
    return content.decode("ascii")


def _read_headers(path: Path) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(_read_secret(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise SettingInvalid(f"{path}, line {number} is not `Name: value`")
        headers[name] = value.strip()
    return headers


def _readable(path: Path) -> str:
    try:
        path.open("rb").close()
    except OSError as error:
        raise NotAccessible(f"{path}: {error.strerror}") from error
    return str(path)


def _check_header(name: str, value: str) -> None:
    # RFC 9110, 5.1 and 5.5. The value may be a secret and is not repeated.
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name):
        raise SettingInvalid(f"not the name of a header: {name!r}")
    if not re.fullmatch(r"[\t\x20-\x7e]*", value):
        raise SettingInvalid(f"the value of header {name} is not printable ASCII")
