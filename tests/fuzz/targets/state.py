# SPDX-License-Identifier: Apache-2.0
"""Any copy of the state is not believed, or comes back the same after it was written again."""

from __future__ import annotations

import hashlib
import json

from updater.errors import StateNewer
from updater.state_files import parse_state, state_bytes

LONGEST = 4096


def fuzz(data: bytes) -> bool:
    return any([_taken(data), _taken(_with_checksum(data))])


def _taken(data: bytes) -> bool:
    try:
        state = parse_state(data)
    except (ValueError, StateNewer):
        return False
    assert json.loads(data)["sha256"] == json.loads(_with_checksum(data))["sha256"]
    written = state_bytes(state)
    assert parse_state(written) == state
    assert state_bytes(parse_state(written)) == written
    return True


def _with_checksum(data: bytes) -> bytes:
    """Put the checksum right, which a broken medium does not do, and a later version's bug may."""
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or "state" not in document:
            return data
        body = json.dumps(document["state"], sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(body).hexdigest()
        return json.dumps({"sha256": digest, "state": document["state"]}).encode()
    except (ValueError, RecursionError):
        return data
