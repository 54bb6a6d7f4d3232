# SPDX-License-Identifier: Apache-2.0
"""Options of verbs that work on this device, and what they begin with."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from updater.agent.machine import Machine
from updater.agent.opening import open_machine
from updater.config import CONFIG_VARIABLE, DEFAULT_PATH, Config, config_path, load_config
from updater.console import Console
from updater.slots import SlotGroup

EX_NOTHING = 3
"""Exit status of a verb that found nothing to do, or nothing yet."""


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and `--running`."""
    group = parser.add_argument_group("device")
    group.add_argument(
        "--config",
        metavar="FILE",
        help=f"configuration; else ${CONFIG_VARIABLE}, else {DEFAULT_PATH}",
    )
    group.add_argument(
        "--running",
        metavar="SLOT",
        help="the slot that counts as running, or none: for disk images in factories and tests",
    )


def add_slot(parser: argparse.ArgumentParser) -> None:
    """Add `--slot`."""
    parser.add_argument("--slot", metavar="SLOT", help="fill this one; else the inactive one")


def add_release(parser: argparse.ArgumentParser) -> None:
    """Add the place of a release."""
    parser.add_argument(
        "release",
        metavar="RELEASE",
        nargs="?",
        help="channel, release.json or signed .caibx, path or URL; else the configured channel",
    )


def config_of(args: argparse.Namespace) -> Config:
    """Read the configuration.

    Raises:
        ConfigInvalid: it cannot be read, or makes no sense.
    """
    return load_config(config_path(args.config))


@contextmanager
def machine_of(
    args: argparse.Namespace, console: Console, *, write: bool = True
) -> Iterator[Machine]:
    """Open this device for one verb; see `open_machine`."""
    config = config_of(args)
    with open_machine(
        config, console.verb, console.event, running=args.running, write=write
    ) as machine:
        yield machine


def target_of(args: argparse.Namespace, machine: Machine) -> SlotGroup:
    """Return the slot to be filled: the one that is named, else the inactive one.

    Raises:
        SlotMissing: there is none of that name.
        SlotUnclear: which slot runs is not known, and nobody vouches for it.
    """
    files = all(slot.number is None for group in machine.groups for slot in group.slots.values())
    if args.slot is None or not (machine.running or args.running or files):
        return machine.target()
    return machine.group(args.slot)
