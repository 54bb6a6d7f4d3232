# SPDX-License-Identifier: Apache-2.0
"""What a user says about stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from images.locator import HttpUrl
    from images.stores.settings import HttpSettings


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What a user says about stores.

    Attributes:
        store: path or URL, None for the default.
        extra_stores: paths or URLs that are asked for what is still lacking.
        cache: folder that is asked first and keeps what remote stores deliver.
        settings: by URL prefix, from `read_settings`.
        rate_limit_bps: bytes a second from each remote store, over what `settings` say.
    """

    store: str | None = None
    extra_stores: tuple[str, ...] = ()
    cache: Path | None = None
    settings: Mapping[str, HttpSettings] = field(default_factory=dict)
    rate_limit_bps: int | None = None

    def settings_of(self, url: HttpUrl) -> HttpSettings:
        """Return how one remote location is to be asked."""
        from images.stores.settings import settings_for  # local stores have none

        settings = settings_for(self.settings, url.url)
        if self.rate_limit_bps is None:
            return settings
        return replace(settings, rate_limit_bps=self.rate_limit_bps)


def read_settings(path: str | None) -> Mapping[str, HttpSettings]:
    """Read a settings file, if there is to be one.

    Raises:
        NotAccessible, SettingInvalid: it cannot be read, or makes no sense.
    """
    if path is None:
        return {}
    from images.stores.settings import load_store_settings

    return load_store_settings(path)
