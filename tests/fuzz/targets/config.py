# SPDX-License-Identifier: Apache-2.0
"""Any config.toml is refused with a line that it has, or is a configuration with two slots."""

from __future__ import annotations

import re
from pathlib import Path

from updater.config import parse_config
from updater.errors import ConfigInvalid

LONGEST = 4096
PATH = Path("/etc/caflip/config.toml")
_WHERE = re.compile(r"/etc/caflip/config\.toml(?::([0-9]+))?: ", re.DOTALL)


def fuzz(data: bytes) -> bool:
    try:
        config = parse_config(data, PATH)
    except ConfigInvalid as error:
        where = _WHERE.match(str(error))
        assert where is not None, str(error)
        if where[1] is not None:
            assert 1 <= int(where[1]) <= data.count(b"\n") + 1
        return False
    assert config.path == PATH
    assert len(config.boot_names) >= 2
    assert len({slot.name for slot in config.slots}) == len(config.slots)
    assert config.state_folder.is_absolute()
    if config.trust.fingerprints:
        assert 1 <= config.trust.threshold <= len(config.trust.fingerprints)
    return True
