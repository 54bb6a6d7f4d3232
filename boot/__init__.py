# SPDX-License-Identifier: Apache-2.0
"""Which slot boots next, how many tries it has, and whether it did boot.

The bootloader backends live here; they import nothing of caflip's. None is written yet.
"""
