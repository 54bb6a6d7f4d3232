# SPDX-License-Identifier: Apache-2.0
"""A sector that cannot be read until it is written: how a cut in the middle of a write leaves it.

dm-dust does this, which Debian's kernels lack; the `faulty` personality of md does it as well, up
to Linux 6.7. It marks what it is told to fail at next, so each sector is read once beforehand.
Source: the kernel's drivers/md/faulty.c.
"""

from __future__ import annotations

from tests.vm.device_mapper import Fault, Part, create, remove

MODULE = "faulty"
BLOCK = 4096

_BELOW = "below"
_FIXABLE = 5  # ReadFixable
_NEXT = 1 << 5  # ModeShift: at every first access
_FORGET = 31  # ClearErrors: fail at nothing more; what is marked stays so


def until_written(part: Part, at: int) -> Fault:
    """Return the fault of a part that has a block which cannot be read until it is written."""
    below = Part(_BELOW, part.disk, part.length, part.offset)
    kib = part.length // 1024
    prepare = f"""{create([below])}
node=$(dmsetup info -c --noheadings -o blkdevname {_BELOW})
echo md_healing >/sys/module/md_mod/parameters/new_array
md=/sys/block/md_healing/md
echo none >$md/metadata_version
echo faulty >$md/level
echo 1 >$md/raid_disks
echo {kib} >$md/component_size
cat /sys/block/$node/dev >$md/new_dev
echo 0 >$md/dev-$node/offset
echo {kib} >$md/dev-$node/size
echo 0 >$md/dev-$node/slot
echo active >$md/array_state
echo {_FORGET} >$md/layout
echo {_FIXABLE | _NEXT} >$md/layout
read="dd if=/dev/md_healing of=/dev/null bs={BLOCK} skip={at // BLOCK} count=1 iflag=direct"
! $read
echo {_FORGET} >$md/layout
"""
    undo = f"echo clear >/sys/block/md_healing/md/array_state\n{remove([below])}"
    return Fault(part.name, "linear /dev/md_healing 0", prepare=prepare, undo=undo)
