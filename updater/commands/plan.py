# SPDX-License-Identifier: Apache-2.0
"""Print exactly what an update would do: bytes by source, bytes to write, time; nothing is written.

The same as `caflip update --dry-run`.
"""

from __future__ import annotations

import argparse

from updater.commands import update
from updater.console import Console
from updater.device_options import add_device, add_release
from updater.options import add_ask_stores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_release(parser)
    add_ask_stores(parser)
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    return update.run(argparse.Namespace(**vars(args), dry_run=True, retry=True), console)
