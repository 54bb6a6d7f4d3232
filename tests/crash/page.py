# SPDX-License-Identifier: Apache-2.0
"""docs/crash-matrix.md, from what a campaign found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tests.crash.campaign import SEED, Result, Tally
from updater.agent.events import Step

STEPS = ("open", *(step.value for step in Step))
COLUMNS = (
    "bootloader",
    "step",
    "a cut there leaves slot B",
    "boots",
    "then the next run",
    "states",
    "held",
    "went on",
)
HEAD = """\
# Crash matrix

What a power cut leaves, in each step of an update and with each bootloader. Made by

    {command}

Every write, hole, change of length, rename, removal and flush of one whole update and of the proof
after its boot was recorded, to slot, boot environment and state folder, with the agent's step. Each
prefix of that log was tried; and between two flushes of a file or folder, parts of what was not
flushed, in any order, whole or torn at 512 and 4096 bytes: all subsets where they are few, else a
sample (seed {seed}). Firmware variables are written whole, as UEFI has it.

A state **holds** if a slot boots by the bootloader's own format, every slot that may boot is whole,
the old one is still what to fall back to, and no state that was saved is lost. From {continued:,}
of the states the device went on: what boots proved itself, and `caflip update` ran again. There a
state holds only if the update ends done, not one 4 KiB block that was right was written again, and
no chunk was fetched that either slot had at its place.

**{tried:,} states, {held:,} held.** {ways}

"""
OUTCOMES = """
* *old*, *new*: slot B holds the release before, or the new one, to the byte; *mixed*: neither, and
  it is marked bad.
* *writes what lacks, activates*: the next run brings the rest. *activates*: all stands right, and
  nothing is written to the slot.
* *proves itself*: slot B runs, is marked good, and there is nothing to do.
* *waits its time*: the cut looked like a trial that failed, so that a run by hand, or one after an
  hour, activates.
* On a Raspberry Pi a cut ends every trial: the firmware's flag does not outlive it, and A boots.

## Flushes that lie

No medium may do this, and no agent can survive it everywhere: one flush is answered and not done.
Shown to tell how much depends on it.

"""
LIES = ("bootloader", "flush in step", "states", "held")


def page(result: Result, command: str) -> str:
    """Return the page."""
    rows = sorted(result.rows.items(), key=lambda row: (_order(result, row[0][0]), _step(row[0])))
    total = Tally()
    for tally in result.rows.values():
        total.add(tally)
    ways = ", ".join(f"{way}: {count:,}" for way, count in sorted(total.ways.items()))
    head = HEAD.format(
        command=command,
        seed=SEED,
        tried=total.tried,
        held=total.held,
        continued=total.continued,
        ways=f"{ways[:1].upper()}{ways[1:]}.",
    )
    lines = [
        (
            *(name, step, _words(tally.left), _words(tally.boots), _words(tally.then)),
            *(f"{tally.tried:,}", f"{tally.held:,}", f"{tally.continued:,}"),
        )
        for (name, step), tally in rows
    ]
    lied = [
        (name, step, f"{tally.lied:,}", f"{tally.lied_held:,}")
        for (name, step), tally in rows
        if tally.lied
    ]
    return "".join([head, *_table(COLUMNS, lines), OUTCOMES, *_table(LIES, lied)])


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (columns, ["---"] * len(columns), *lines):
        yield f"| {' | '.join(line)} |\n"


def _order(result: Result, name: str) -> int:
    return list(dict.fromkeys(name for name, _ in result.rows)).index(name)


def _step(row: tuple[str, str]) -> int:
    return STEPS.index(row[1])


def _words(counts: Counter[str]) -> str:
    """Return the words, the most frequent one first."""
    return "; ".join(sorted(counts, key=lambda word: (-counts[word], word)))
