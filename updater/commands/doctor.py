# SPDX-License-Identifier: Apache-2.0
"""Look for what would make an update fail, or fail to fall back, before it does."""

from __future__ import annotations

import argparse

from updater.console import Console
from updater.device_options import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    raise NotImplementedError
