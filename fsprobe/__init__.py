# SPDX-License-Identifier: Apache-2.0
"""What file system is on this device, and how long is it?

Pure reads of superblocks: no mount, no root on files, no tool of the file system's own.
"""

from fsprobe.errors import ProbeError
from fsprobe.probe import probe
from fsprobe.superblock import Superblock

__all__ = ["ProbeError", "Superblock", "probe"]
