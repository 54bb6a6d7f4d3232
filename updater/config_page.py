# SPDX-License-Identifier: Apache-2.0
"""docs/configuration.md, made from the records: `python -m updater.config_page` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from boot.detect import BACKENDS
from updater.config import Config
from updater.config_bootloader import AUTO, settings_of
from updater.config_fields import Key, keys_of
from updater.config_slots import SlotConfig
from updater.config_tables import TABLES
from updater.plain import to_plain

PAGE = Path(__file__).parent.parent / "docs/configuration.md"

_HEAD = """\
# Configuration

One TOML file says what a device is, where its slots are and where updates come from:
`/etc/caflip/config.toml`, unless `--config=FILE` or the variable `CAFLIP_CONFIG` names another.
[packaging/config.toml](../packaging/config.toml) is an example to start from. This page is made
from the code.

* A key that is not known is an error that names the nearest one, and so is a value that makes no
  sense: `config.toml:12: unknown key 'comaptible'`. The line is left out where it cannot be told,
  which is inside a value that takes several lines.
* Relative paths start at the folder of the file.
* Sizes are numbers of bytes, or texts such as `"500K"`, `"64M"`, `"2G"`: powers of 1024.
* Programs are lists and never go through a shell; the first item is an absolute path.
"""

_DEVICES = """\
Devices are named by what stays when their content changes:

| `device` | means |
|---|---|
| `PARTLABEL=root-a` | the partition of that name in the GPT; recommended |
| `PARTUUID=0fc63daf-8483-4772-8e79-3d69d8477de4` | the partition with that GUID |
| `PARTUUID=1a2b3c4d-02` | the second partition of the MBR with that signature |
| `/dev/mmcblk0p2` | a device node, or a link to one |
| `disk.img@1M+512M` | 512 MiB from byte 1 MiB on of a file, or of a whole disk |
| `disk.img#PARTLABEL=root-a` | the partition of that name in the disk image, or on that disk |
| `slot-a.img` | a whole file |

`LABEL=` and `UUID=` are refused: they are in the file system, and both slots may hold the same one.
A label that fits two partitions is refused too, unless one of them is on the disk of the running
root. Slots with the same `boot` are one group: they are written and activated together, and every
group has the same classes. At least two groups are needed.
"""

_BOOTLOADER = """\
`kind` is one of {kinds}.
`auto` detects it at every start, which does for a first look; a fleet should name it. The other
keys are the settings of that bootloader ([docs/boot](boot)):

| `kind` | further keys |
|---|---|
{rows}
"""


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD, "## At the top\n", _table(Config)]
    parts += ["## `[[slot]]`\n", _summary(SlotConfig), _table(SlotConfig), _DEVICES]
    kinds = ", ".join(f"`{kind}`" for kind in (*BACKENDS, AUTO))
    rows = "\n".join(f"| `{kind}` | {_code(settings_of(kind))} |" for kind in BACKENDS)
    parts += ["## `[bootloader]`\n", _BOOTLOADER.format(kinds=kinds, rows=rows)]
    for name, record in TABLES.items():
        parts += [f"## `[{name}]`\n", _summary(record), _table(record)]
    return "\n".join(parts)


def _summary(record: type[Any]) -> str:
    return (record.__doc__ or "").splitlines()[0] + "\n"


def _table(record: type[Any]) -> str:
    lines = [
        "| key | value | default | meaning | example |",
        "|---|---|---|---|---|",
        *_rows(record),
    ]
    return "\n".join(lines) + "\n"


def _rows(record: type[Any]) -> Iterator[str]:
    defaults = {item.name: item.default for item in fields(record)}
    for name, (attribute, about) in keys_of(record).items():
        kind = about.kind
        if kind[1:2].islower() or kind[1:2] == " ":  # a sentence's capital, and no URL
            kind = kind[:1].lower() + kind[1:]
        default = _default(defaults[attribute], about)
        yield f"| `{name}` | {kind} | {default} | {about.meaning} | `{about.example}` |"


def _default(value: object, about: Key) -> str:
    if value is MISSING:
        return "has to be given"
    if about.unset is not None:
        return about.unset
    plain = to_plain(value)
    if isinstance(plain, bool):
        return f"`{str(plain).lower()}`"
    if isinstance(plain, float):
        return f"`{plain:g}`"
    return f'`"{plain}"`' if isinstance(plain, str) else f"`{plain}`"


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
