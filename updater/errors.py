# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with updates beyond images and bootloaders, by what the caller does next.

Refused (65)
├── ReleaseRefused              do not install this release
│   ├── Unsigned                      no signature beside it
│   ├── WrongKey                      signed, but by none of the pinned keys
│   ├── KeyRefused                    a pinned key that is expired or revoked, or a weak digest
│   ├── Tampered                      the signature does not fit the bytes
│   ├── TooFewSignatures              fewer good signatures than the threshold
│   ├── ReleaseMalformed              signed, but breaks a rule of the format
│   ├── FormatUnknown                 of a format this version does not know
│   ├── Rollback                      a sequence below the highest that was proved good
│   ├── Expired                       past its date: somebody holds newer ones back
│   ├── Incompatible                  for another kind of device
│   ├── IndexMismatch                 the index is not the one that the release names
│   ├── ImageTooLarge                 longer than the slot
│   ├── ImageMismatch                 the file system in the slot is not what the release says
│   └── GivenUp                       failed on this device too often
└── Unhealthy                   the running slot failed its health checks
RetryLater (75)
├── Locked                      another caflip works on this device
├── NoNetwork                   no route until the deadline
└── HookFailed                  a hook said no, or took too long
OperatorMustAct (78)
├── ConfigInvalid               the configuration makes no sense
├── SlotMissing                 a configured slot has no device here
├── SlotActive                  this would write the running system
├── SlotUnclear                 which slot runs cannot be told
├── KeyringUnusable             no gpg, no keyring, or no pinned key in it
└── StateCorrupt                no copy of the state can be believed
"""

from __future__ import annotations

from images.errors import OperatorMustAct, Refused, RetryLater


class ReleaseRefused(Refused):
    """This release must not be installed; nothing was written."""

    code = "release.refused"


class Unsigned(ReleaseRefused):
    """There is no signature beside the release."""

    code = "release.unsigned"
    default_hint = "sign it: `caflip release make --sign-with=FINGERPRINT`, or `gpg --detach-sign`"


class WrongKey(ReleaseRefused):
    """It is signed, but by none of the keys that this device trusts."""

    code = "release.wrong-key"
    default_hint = "`caflip keys list` shows the trusted keys"


class KeyRefused(ReleaseRefused):
    """A trusted key signed it, but the key has expired or is revoked, or the digest is weak."""

    code = "release.key-refused"
    default_hint = "sign the release again with a valid key and SHA-256 or better"


class Tampered(ReleaseRefused):
    """The signature is not one of these bytes."""

    code = "release.tampered"
    default_hint = "fetch it again; if it stays so, somebody changed it on the way or on the server"


class TooFewSignatures(ReleaseRefused):
    """Fewer trusted keys signed it than the threshold asks for."""

    code = "release.too-few-signatures"
    default_hint = "have the other key holders add their signatures to the .asc file"


class ReleaseMalformed(ReleaseRefused):
    """The signature is good, but the release breaks a rule of its format."""

    code = "release.malformed"
    default_hint = "publish it again with `caflip release make`"


class FormatUnknown(ReleaseRefused):
    """The release has a format that this version does not know."""

    code = "release.format-unknown"
    default_hint = "install a release in between that brings a newer caflip"


class Rollback(ReleaseRefused):
    """The release is older than one that was proved good on this device."""

    code = "release.rollback"
    default_hint = "publish the old content under a higher sequence if it is meant to be installed"


class Expired(ReleaseRefused):
    """The release is past its date."""

    code = "release.expired"
    default_hint = "publish a new one; check the device's clock if the date lies ahead"


class Incompatible(ReleaseRefused):
    """The release is for another kind of device."""

    code = "release.incompatible"


class IndexMismatch(ReleaseRefused):
    """The index is not the one that the release names."""

    code = "release.index-mismatch"
    default_hint = "the server mixes two releases, or the index was changed; publish it again"


class ImageTooLarge(ReleaseRefused):
    """The image is longer than the slot it should go to."""

    code = "release.image-too-large"
    default_hint = "build a smaller image; the slot's length is in `caflip status`"


class ImageMismatch(ReleaseRefused):
    """The slot is whole, but its file system is not what the release says."""

    code = "release.image-mismatch"
    default_hint = "publish the release again from the image; the slot was not activated"


class GivenUp(ReleaseRefused):
    """The release was tried on this device and failed; it is not tried again for now."""

    code = "release.given-up"
    default_hint = "`caflip history` says why; `caflip update --retry` tries it once more"


class Unhealthy(Refused):
    """The running slot failed its health checks."""

    code = "agent.unhealthy"


class Locked(RetryLater):
    """Another caflip works on this device."""

    code = "agent.locked"


class NoNetwork(RetryLater):
    """There was no route to the server until the deadline."""

    code = "agent.no-network"
    default_hint = "check link, address and default route"


class HookFailed(RetryLater):
    """A hook ended with an error or took too long."""

    code = "agent.hook-failed"


class ConfigInvalid(OperatorMustAct):
    """The configuration cannot be read or makes no sense."""

    code = "config.invalid"


class SlotMissing(OperatorMustAct):
    """A configured slot has no device on this system."""

    code = "slot.missing"
    default_hint = "compare the configuration with `lsblk -o NAME,PARTLABEL,PARTUUID`"


class SlotActive(OperatorMustAct):
    """The slot that would be written is the one that runs."""

    code = "slot.active"


class SlotUnclear(OperatorMustAct):
    """Which slot runs cannot be told, so none may be written."""

    code = "slot.unclear"
    default_hint = "put caflip.slot=NAME on the kernel command line; `caflip doctor` shows more"


class KeyringUnusable(OperatorMustAct):
    """Signatures cannot be checked: no gpg, no keyring, or no pinned key in it."""

    code = "trust.keyring-unusable"


class StateCorrupt(OperatorMustAct):
    """Neither copy of the state can be believed."""

    code = "state.corrupt"
    default_hint = "`caflip doctor --repair` starts a new one; slots and their content stay"
