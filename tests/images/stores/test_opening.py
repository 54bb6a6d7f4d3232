# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from images.errors import NotAccessible, SettingInvalid
from images.events import Event, SourceFailed
from images.locator import HttpUrl, LocalPath, parse_locator
from images.stores.opening import STORE_VARIABLE, local_store, main_store, open_stores
from images.stores.options import StoreOptions, read_settings
from images.stores.settings import HttpSettings


@pytest.fixture(autouse=True)
def no_store_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STORE_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("index", "store"),
    [
        ("/a/b.caibx", LocalPath("/a/default.castr")),
        ("b.caibx", LocalPath("default.castr")),
        ("http://host/d/b.caibx?q=1/2", HttpUrl("http://host/d/default.castr")),
    ],
)
def test_the_default_store_is_beside_the_index(index: str, store: LocalPath | HttpUrl) -> None:
    assert main_store(StoreOptions(), parse_locator(index)) == store


def test_the_default_of_standard_input_is_in_the_current_folder() -> None:
    assert main_store(StoreOptions(), None) == LocalPath("default.castr")


def test_an_option_outranks_the_environment_and_that_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, "/environment")
    assert main_store(StoreOptions(), LocalPath("/a/b.caibx")) == LocalPath("/environment")
    assert main_store(StoreOptions("/option"), None) == LocalPath("/option")


def test_a_remote_store_cannot_be_written() -> None:
    with pytest.raises(SettingInvalid, match="http://host/castr"):
        local_store(StoreOptions("http://user:secret@host/castr"), None)


def test_local_stores_are_asked_before_remote_ones(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    options = StoreOptions(
        "http://host/main", (str(first), "http://host/more", str(second)), tmp_path / "cache"
    )
    with open_stores(options, None) as chain:
        names = [store.name for store in chain.stores]
        assert names == [str(first), str(second), "http://host/main", "http://host/more"]
        assert chain.cache is not None
        assert chain.cache.path == tmp_path / "cache"


def test_a_store_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    told: list[Event] = []
    with open_stores(StoreOptions(str(tmp_path / "no")), None, told.append):
        pass
    (event,) = told
    assert isinstance(event, SourceFailed)
    assert (event.source, event.code) == (str(tmp_path / "no"), NotAccessible.code)


def test_the_rate_limit_of_the_command_line_outranks_the_settings() -> None:
    settings = {"http://host/castr": HttpSettings(rate_limit_bps=5, deadline_s=3.0)}
    url = HttpUrl("http://host/castr")
    assert StoreOptions(settings=settings).settings_of(url).rate_limit_bps == 5
    limited = StoreOptions(settings=settings, rate_limit_bps=7).settings_of(url)
    assert (limited.rate_limit_bps, limited.deadline_s) == (7, 3.0)


def test_no_settings_file_is_no_settings() -> None:
    assert read_settings(None) == {}
