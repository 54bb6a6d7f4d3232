# SPDX-License-Identifier: Apache-2.0
"""Give neighbours the chunks of what this device's slots hold, until a signal comes.

It answers from the slots themselves, by the indexes of releases that were verified here, and gives
nothing else. What faces the network runs without privileges. When slots change it goes on with what
they hold then. The updating agent does the same for itself while it runs.
"""

from __future__ import annotations

import argparse
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

from images.errors import NotAccessible
from updater.agent.sharing import held_on_slots, require_discovery
from updater.config_tables import PeersConfig
from updater.console import Console
from updater.device_options import add_device, machine_of
from updater.peers.holdings import Holdings
from updater.peers.neighbourhood import Neighbourhood
from updater.peers.service import LINGER_S

PORT_AGAIN_S = 2.0

LOOK_AGAIN_S = 5.0
"""How often the state is looked at: an update takes longer."""


@dataclass(frozen=True, slots=True)
class Giving:
    """What is given, and where.

    Attributes:
        chunks: different ones or not.
    """

    port: int
    images: int
    chunks: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    console.notifier.ready()
    try:
        while True:
            _give(args, console)
    except KeyboardInterrupt:  # how a server ends
        console.notifier.stopping()
    return 0


def _give(args: argparse.Namespace, console: Console) -> None:
    """Give what the slots hold now; return when they hold something else."""
    with ExitStack() as stack:
        machine = stack.enter_context(machine_of(args, console, write=False))
        require_discovery(machine)
        held, shas = held_on_slots(stack, machine)
        hood = stack.enter_context(_join(machine.config.peers, Holdings(held), shas, console))
        giving = Giving(hood.port, len(held), sum(len(one.index) for one in held))
        console.item(
            "giving",
            giving,
            f"port {giving.port}: {giving.chunks} chunks of {giving.images} images",
        )
        console.flush()
        known = [(name, record.images) for name, record in machine.state.slots.items()]
        pause = threading.Event()
        while not pause.wait(LOOK_AGAIN_S):
            console.notifier.alive()
            slots = machine.files.load_whole().slots
            if [(name, record.images) for name, record in slots.items()] != known:
                return


def _join(
    config: PeersConfig, holdings: Holdings, shas: list[bytes], console: Console
) -> Neighbourhood:
    """Begin to give; wait while what an update has left behind still gives at our port."""
    end_s = time.monotonic() + LINGER_S
    while True:
        try:
            return Neighbourhood(config, holdings, indexes=shas)
        except NotAccessible as error:
            if time.monotonic() > end_s:
                raise
            console.warn(f"{error}; trying again")
        console.notifier.alive()
        threading.Event().wait(PORT_AGAIN_S)
