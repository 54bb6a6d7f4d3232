# SPDX-License-Identifier: Apache-2.0
"""Who is there on the LAN: what neighbours hold of ours, what they do, and how fast they are."""

from __future__ import annotations

import argparse
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

from images.errors import ImageError
from images.stores.protocol import ChunkRef
from updater.agent.sharing import held_on_slots, require_discovery
from updater.arguments import positive
from updater.console import Console
from updater.device_options import add_device, machine_of
from updater.peers.client import Client, Peer
from updater.peers.holdings import Held, Holdings
from updater.peers.neighbourhood import Neighbourhood
from updater.units import format_bytes

SAMPLE = 16
"""Chunks that are fetched to tell the rate and whether they are right."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour.

    Attributes:
        address: host and port.
        given: by configuration; else it was discovered.
        updating: it takes a release now.
        images: how many it holds.
        shared: part of this device's chunks that it says it has, too; None where we have none.
        rate_bps: measured; None where it has nothing of ours.
        trusted: it answered, and all that it sent was right.
        problem: what was wrong.
    """

    address: str
    identity: str
    given: bool
    updating: bool
    images: int
    shared: float | None
    rate_bps: int | None
    trusted: bool
    problem: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "--wait-s", metavar="S", type=positive, default=3, help="look around so long (default: 3)"
    )
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    with ExitStack() as stack:
        machine = stack.enter_context(machine_of(args, console, write=False))
        require_discovery(machine)
        held, _ = held_on_slots(stack, machine)
        hood = stack.enter_context(Neighbourhood(machine.config.peers, Holdings([])))
        end_s = time.monotonic() + args.wait_s
        while (left_s := end_s - time.monotonic()) > 0:
            threading.Event().wait(min(left_s, 0.5))
            console.notifier.alive()
        for peer in sorted(hood.peers(), key=lambda peer: peer.address):
            neighbour = _try(peer, hood, held)
            console.item("neighbour", neighbour, _line(neighbour))
    return 0


def _try(peer: Peer, hood: Neighbourhood, held: list[Held]) -> Neighbour:
    """Ask for what we have ourselves, so that nothing has to be trusted to compare."""
    client = Client(peer, hood.site)
    shared, problem = None, None
    try:
        ours = {
            id: ChunkRef(number, id, end - start)
            for one in held
            for number, (start, end, id) in enumerate(one.index.chunks())
        }
        if ours:
            has = client.have(list(ours.values())).here
            shared = len(has) / len(ours)
            for answer in client.fetch(has[:SAMPLE], held[0].index.digest):
                problem = problem or (None if answer.error is None else str(answer.error))
    except ImageError as error:
        problem = str(error)
    finally:
        client.close()
    rate = client.report.rate_bps or None
    about = peer.about
    return Neighbour(
        peer.address,
        about.identity,
        peer.given,
        about.updating is not None,
        len(about.holds),
        shared,
        rate,
        problem is None,
        problem,
    )


def _line(neighbour: Neighbour) -> str:
    parts = [f"{neighbour.images} images"]
    if neighbour.shared is not None:
        parts.append(f"{neighbour.shared:.0%} of ours")
    if neighbour.rate_bps:
        parts.append(f"{format_bytes(neighbour.rate_bps)}/s")
    if neighbour.updating:
        parts.append("updates now")
    parts.append(neighbour.problem or "right so far")
    how = "given" if neighbour.given else "found"
    return f"{neighbour.address}  {neighbour.identity} ({how}): {', '.join(parts)}"
