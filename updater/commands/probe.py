# SPDX-License-Identifier: Apache-2.0
"""Which file system a device or image file holds, and how long it is, from its superblock."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from fsprobe import Superblock, probe
from images.durable import os_errors
from updater.console import Console
from updater.options import add_region
from updater.units import format_bytes


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What was found; None where no known superblock is there."""

    path: str
    superblock: Superblock | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("path", metavar="PATH", help="block device or image file")
    add_region(parser, "device or file")


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    with os_errors(args.path):
        found = probe(args.path, args.offset, args.length)
    console.result(ProbeResult(args.path, found), _lines(args.path, found))
    return 0


def _lines(path: str, found: Superblock | None) -> list[str]:
    if found is None:
        return [f"{path}: no superblock that is known"]
    facts = [("kind", found.kind)]
    if found.length is not None:
        facts.append(("length", f"{found.length} bytes ({format_bytes(found.length)})"))
    if found.block_size is not None:
        facts.append(("block size", str(found.block_size)))
    for name, text in (("label", found.label), ("uuid", found.uuid), ("version", found.version)):
        if text is not None:
            facts.append((name, text))
    if found.hash_tree_length:
        facts.append(("hash tree", f"{found.hash_tree_length} bytes, counted in the length"))
    if found.weak:
        facts.append(("note", "a short magic number or a backup superblock only"))
    return [f"{name + ':':<12}{text}" for name, text in facts]
