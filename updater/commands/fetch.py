# SPDX-License-Identifier: Apache-2.0
"""Fetch a release and all chunks that are not here yet into the cache; no slot is written.

The cache is `stores.cache` of the configuration. `caflip apply` and `caflip activate` then need no
network.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from updater.agent.finding import (
    channel_of,
    find_candidate,
    location_of_release,
    recording,
    remote_fetch,
    staging_folder,
)
from updater.agent.preview import download
from updater.console import Console
from updater.device_options import add_device, add_release, machine_of
from updater.units import count_of, format_bytes


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What was fetched.

    Attributes:
        chunks, bytes_fetched: that were not in the cache yet; compressed.
    """

    version: str
    sequence: int | None
    chunks: int
    bytes_fetched: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_release(parser)
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    console.notifier.ready()
    with machine_of(args, console) as machine:
        target = machine.target()
        location = channel_of(machine, args.release)
        fetch = remote_fetch(machine, location)
        # A channel's pointer moves on; what is kept is the release that it names now.
        location = location_of_release(location, fetch)
        fetch = recording(staging_folder(machine), location, fetch)
        candidate = find_candidate(machine, target, location, fetch)
        chunks, fetched = download(machine, target, candidate)
    result = FetchResult(candidate.version, candidate.sequence, chunks, fetched)
    console.result(
        result,
        [f"{result.version}: {count_of(chunks, 'chunk')} fetched, {format_bytes(fetched)}"],
    )
    return 0
