# SPDX-License-Identifier: Apache-2.0
"""The settings file of HTTP stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.errors import NotAccessible, SettingInvalid
from images.stores.settings import HttpSettings, load_store_settings, settings_for


def load(folder: Path, text: str) -> dict[str, HttpSettings]:
    path = folder / "stores.toml"
    path.write_text(text)
    return load_store_settings(path)


def test_every_key_is_read(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text(name)
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "headers").write_text("# secret ones\n\nX-Secret:  a: b \n")
    stores = load(
        tmp_path,
        """
        [store."https://host:8443/castr"]
        ca-file = "ca.pem"
        client-cert = "cert.pem"
        client-key = "key.pem"
        proxy = "http://proxy:3128"
        headers = { X-Site = "berlin" }
        headers-file = "headers"
        token-file = "token"
        connect-timeout-s = 1.5
        low-speed-bps = 10
        low-speed-time-s = 7
        deadline-s = 60
        rate-limit-bps = 1000
        in-flight-min = 1
        in-flight-start = 2
        in-flight-max = 3
        """,
    )
    assert stores == {
        "https://host:8443/castr": HttpSettings(
            ca_file=str(tmp_path / "ca.pem"),
            client_cert=str(tmp_path / "cert.pem"),
            client_key=str(tmp_path / "key.pem"),
            proxy="http://proxy:3128",
            headers={"X-Site": "berlin", "X-Secret": "a: b", "Authorization": "Bearer t0ken"},
            connect_timeout_s=1.5,
            low_speed_bps=10,
            low_speed_time_s=7,
            deadline_s=60.0,
            rate_limit_bps=1000,
            in_flight_min=1,
            in_flight_start=2,
            in_flight_max=3,
        )
    }


def test_an_empty_file_has_no_settings(tmp_path: Path) -> None:
    assert load(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[stores]", "store"),
        ('[store."http://h"]\nca_file = "x"', "ca-file"),
        ('[store."http://h"]\nrate-limit = 3', "rate-limit-bps"),
        ('[store."http://h"]\ntokenfile = "x"', "token-file"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, text: str, nearest: str) -> None:
    with pytest.raises(SettingInvalid, match="unknown key") as raised:
        load(tmp_path, text)
    assert raised.value.hint == f"did you mean {nearest}?"


@pytest.mark.parametrize(
    "line",
    [
        "ca-file = 3",
        "deadline-s = 'soon'",
        "deadline-s = 0",
        "deadline-s = true",
        "low-speed-time-s = 1.5",
        "low-speed-time-s = 0",
        "low-speed-bps = -1",
        "rate-limit-bps = 0",
        "connect-timeout-s = -1",
        "in-flight-max = 8",
        "in-flight-min = 0",
        "in-flight-max = 1000",
        "client-key = '/dev/null'",
        "headers = 'X: y'",
        "headers = { X = 3 }",
        'headers = { "X Y" = "z" }',
        'headers = { X = "a\\r\\nB: c" }',
    ],
)
def test_a_value_that_makes_no_sense_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(SettingInvalid, match=r"http://h"):
        load(tmp_path, f'[store."http://h"]\n{line}')


@pytest.mark.parametrize("prefix", ["host/castr", "ftp://host", "/path"])
def test_a_table_that_names_no_web_url_is_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(SettingInvalid):
        load(tmp_path, f'[store."{prefix}"]')


def test_credentials_in_the_name_of_a_table_are_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid) as raised:
        load(tmp_path, '[store."http://me:s3cret@host"]')
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("key", ["ca-file", "client-cert", "token-file", "headers-file"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(NotAccessible, match=r"nowhere\.x"):
        load(tmp_path, f'[store."http://h"]\n{key} = "nowhere.x"')


def test_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match=r"stores\.toml"):
        load(tmp_path, "[store")
    (tmp_path / "stores.toml").write_bytes(b"\xff")
    with pytest.raises(SettingInvalid, match=r"stores\.toml"):
        load_store_settings(tmp_path / "stores.toml")


def test_a_settings_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAccessible, match=r"stores\.toml"):
        load_store_settings(tmp_path / "stores.toml")


@pytest.mark.parametrize("content", ["no colon", "X: \u00e4", "x" * 70_000])
def test_a_file_of_headers_that_makes_no_sense_is_not_repeated(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "headers").write_text(content)
    with pytest.raises(SettingInvalid) as raised:
        load(tmp_path, '[store."http://h"]\nheaders-file = "headers"')
    assert content not in str(raised.value)


def test_the_longest_prefix_of_the_path_wins() -> None:
    stores = {
        prefix: HttpSettings(deadline_s=number)
        for number, prefix in enumerate(
            ["http://h", "http://h/a/", "http://h/a/b?x", "https://h/a/b/c", "http://h:81"], 1
        )
    }
    assert settings_for(stores, "http://h/x").deadline_s == 1
    assert settings_for(stores, "http://H:80").deadline_s == 1
    assert settings_for(stores, "http://h/a").deadline_s == 2
    assert settings_for(stores, "http://h/a/bc").deadline_s == 2
    assert settings_for(stores, "http://h/a/b/c?token").deadline_s == 3
    assert settings_for(stores, "https://h/a/b/c/d").deadline_s == 4
    assert settings_for(stores, "http://h:81/a").deadline_s == 5
    assert settings_for(stores, "https://h/x") == HttpSettings()
    assert settings_for({}, "http://h/a") == HttpSettings()
