# SPDX-License-Identifier: Apache-2.0
"""From a place to a candidate: fetch, verify, judge, and only then ask for its indexes.

What `fetch` brought is kept in a folder by the digest of its place, so that `apply` and `activate`
find the same bytes without a network, and prove them again.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from images.durable import os_errors, replace_file
from images.locator import HttpUrl, LocalPath, Locator, parse_locator
from updater.agent.candidate import Candidate, of_index, of_release
from updater.agent.events import Noticed, Step, StepBegan
from updater.agent.machine import Machine
from updater.errors import ConfigInvalid, NotStaged, TooLong
from updater.network import wait_for_route
from updater.releases.channel import Fetch, fetch_release, fetcher, load_bare_index
from updater.releases.channel import find_release as follow_pointer
from updater.releases.policy import Device, Judgement, judge
from updater.releases.proof import ProvedRelease, prove
from updater.slots import SlotGroup

INDEX_SUFFIX = ".caibx"
_PLACE = "place"


def channel_of(machine: Machine, argument: str | None) -> Locator:
    """Return the place that is named, else the configured channel.

    Raises:
        ConfigInvalid: neither is there.
        SettingInvalid: it is no path or URL.
    """
    text = argument if argument is not None else machine.config.channel.url
    if text is None:
        raise ConfigInvalid(
            "no release is named and no channel configured",
            hint="name a file or URL, or set channel.url",
        )
    return parse_locator(text)


def staging_folder(machine: Machine) -> Path:
    """Return where `recording` keeps what it brings."""
    return machine.config.state_folder / "staged"


def remote_fetch(machine: Machine, location: Locator) -> Fetch:
    """Return what fetches from files and servers, once there is a route to them."""
    if isinstance(location, HttpUrl):
        host = urlsplit(location.url).hostname or ""
        wait_for_route(host, machine.config.update.network_wait_s)
    return fetcher(machine.stores.settings_of)


def location_of_release(location: Locator, fetch: Fetch) -> Locator:
    """Return where the release itself is: what a channel's pointer names; an index is itself."""
    return location if location.name.endswith(INDEX_SUFFIX) else follow_pointer(location, fetch)


def find_release(
    machine: Machine, group: SlotGroup, location: Locator, fetch: Fetch
) -> tuple[ProvedRelease, Judgement]:
    """Fetch, prove and judge a release; nothing else is fetched, nothing is written.

    Raises:
        ReleaseRefused: it must not be installed.
        NotAccessible, StoreUnavailable: it cannot be had.
    """
    machine.sink(StepBegan(Step.FETCH_RELEASE, location.name))
    signed = fetch_release(location, fetch)
    machine.sink(StepBegan(Step.VERIFY_RELEASE, signed.location.name))
    proved = prove(signed, machine.trust(), machine.now())
    return proved, judge(proved.release, _device(machine, group))


def find_candidate(
    machine: Machine, group: SlotGroup, location: Locator, fetch: Fetch
) -> Candidate:
    """Fetch, prove and judge what is to be installed, with its indexes; nothing is written.

    Args:
        machine: this device.
        group: the slot that it is meant for.
        location: of a channel, a release, or an index with a signature of its own.
        fetch: from `remote_fetch`, `recording` or `staged_fetch`.

    Raises:
        ReleaseRefused: it must not be installed.
        NotAccessible, StoreUnavailable: it cannot be had.
    """
    if location.name.endswith(INDEX_SUFFIX):
        machine.sink(StepBegan(Step.VERIFY_RELEASE, location.name))
        bare = load_bare_index(location, machine.trust(), machine.now(), fetch)
        candidate = of_index(bare, machine.slot_lengths(group))
    else:
        proved, judgement = find_release(machine, group, location, fetch)
        machine.sink(StepBegan(Step.FETCH_INDEXES, proved.release.version))
        candidate = of_release(proved, judgement, fetch)
    for caveat in candidate.caveats:
        machine.sink(Noticed("release.caveat", caveat))
    return candidate


def recording(folder: Path, location: Locator, fetch: Fetch) -> Fetch:
    """Return a fetch that keeps what it brings in `folder`, which is emptied first.

    Raises:
        NoSpace, NotAccessible: the folder cannot be written.
    """
    with os_errors(str(folder)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    replace_file(folder / _PLACE, _text_of(location).encode(), 0o600)

    def fetch_and_keep(location: Locator, limit: int) -> bytes:
        data = fetch(location, limit)
        replace_file(_kept(folder, location), data, 0o600)
        return data

    return fetch_and_keep


def staged_fetch(folder: Path) -> tuple[Locator, Fetch]:
    """Return the place that `recording` was told, and a fetch that finds what it kept.

    Raises:
        NotStaged: nothing was kept.
    """
    try:
        place = parse_locator((folder / _PLACE).read_text())
    except OSError as error:
        raise NotStaged("nothing has been fetched") from error

    def fetch(location: Locator, limit: int) -> bytes:
        try:
            with open(_kept(folder, location), "rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise NotStaged(f"{location.name} has not been fetched") from error
        if len(data) > limit:
            raise TooLong(f"{location.name}: more than {limit} bytes")
        return data

    return place, fetch


def _kept(folder: Path, location: Locator) -> Path:
    return folder / hashlib.sha256(location.name.encode()).hexdigest()


def _text_of(location: Locator) -> str:
    return location.path if isinstance(location, LocalPath) else location.url


def _device(machine: Machine, group: SlotGroup) -> Device:
    return Device(
        compatible=machine.config.compatible,
        variant=machine.config.variant,
        slot_lengths=machine.slot_lengths(group),
        highest_sequence=machine.state.highest_sequence,
        machine_id=machine.machine_id,
        reading=machine.reading(),
    )
