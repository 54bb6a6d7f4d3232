# SPDX-License-Identifier: Apache-2.0
"""A configuration that is right, and parts of it to be made wrong."""

from __future__ import annotations

from pathlib import Path

from updater.config import Config, parse_config

TOP = 'compatible = "acme-gateway"\n'
BOOTLOADER = '[bootloader]\nkind = "grub"\nenvironment = "grubenv"\n'
SLOT_A = '[[slot]]\nname = "a"\ndevice = "PARTLABEL=root-a"\nboot = "A"\n'
SLOT_B = '[[slot]]\nname = "b"\ndevice = "PARTLABEL=root-b"\nboot = "B"\n'
LEAST = TOP + BOOTLOADER + SLOT_A + SLOT_B

PATH = Path("/etc/caflip/config.toml")


def parsed(text: str) -> Config:
    return parse_config(text.encode(), PATH)
