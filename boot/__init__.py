# SPDX-License-Identifier: Apache-2.0
"""Which slot boots next, how many tries it has, and whether it did boot.

    bootloader     the seam: what every backend can tell and do
    detect         which bootloader started this system; a backend from a configuration's values
    grub, systemd_boot, uefi, uboot, raspberrypi, barebox, custom

What each backend reads and writes, to the byte: docs/boot/. Nothing of caflip's other packages is
imported here.
"""
