# SPDX-License-Identifier: Apache-2.0
"""New keys for old ones: a release may bring the keys that are to be trusted after it.

As in TUF (specification 5.3.4, root role): the old threshold signs it, which is true of every
release, and the new threshold signs it too, which proves that the new keys are in use and the
device does not lock itself out. Versions rise: an old rotation brings no old key back.

The new trust counts once the release has proved good. Until then a fallback to the old system
leaves the old keys in force.
"""

from __future__ import annotations

from updater.errors import KeyringUnusable, RotationRefused
from updater.releases.document import Release
from updater.releases.signatures import Trust


def proposed_trust(current: Trust, release: Release) -> Trust | None:
    """Return the trust that a release brings; None where it brings none that is newer.

    A release keeps its `trust` for the devices that did not see it yet; those that did pass over
    it, and so does who is further already.

    Raises:
        RotationRefused: it brings keys that cannot be used.
    """
    change = release.trust
    if change is None or change.version <= current.version:
        return None
    try:
        return Trust.of(
            "".join(change.keys).encode(), change.fingerprints, change.threshold, change.version
        )
    except KeyringUnusable as error:
        raise RotationRefused(f"the keys of trust version {change.version}: {error}") from None


def next_trust(current: Trust, proved: Trust | None) -> Trust:
    """Return the trust after a release has proved good: what is to be stored.

    Args:
        current: in force now, which may have moved on since the release was proved.
        proved: `Proved.next_trust` of that release.
    """
    if proved is None or proved.version <= current.version:
        return current
    return proved
