# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with updates beyond images and bootloaders, by what the caller does next.

Refused (65)
├── ReleaseRefused              do not install this release
│   ├── TooLong                       longer than a release, a signature or an index may be
│   ├── PointerMalformed              the channel's pointer to its newest release is none
│   ├── Unsigned                      no signature beside it
│   ├── SignatureMalformed            what is beside it is no detached OpenPGP signature
│   ├── WrongKey                      signed, but by none of the pinned keys
│   ├── KeyRefused                    a pinned key signed it, and yet:
│   │   ├── KeyExpired                      the key has expired
│   │   ├── KeyRevoked                      the key is revoked
│   │   ├── SignatureExpired                the signature itself has expired
│   │   └── WeakDigest                      the signature is over MD5, SHA-1 or the like
│   ├── Tampered                      the signature does not fit the bytes
│   ├── TooFewSignatures              fewer good signatures than the threshold
│   ├── ReleaseMalformed              signed, but breaks a rule of the format
│   ├── FormatUnknown                 of a format this version does not know
│   ├── Rollback                      a sequence below the highest that was proved good
│   ├── Expired                       past its date: somebody holds newer ones back
│   ├── Incompatible                  for another kind of device
│   ├── SlotClassUnknown              an image for slots that are not here, or lacks one
│   ├── RotationRefused               the new keys that it brings do not vouch for it
│   ├── IndexMismatch                 the index is not the one that the release names
│   ├── ImageTooLarge                 longer than the slot
│   ├── ImageMismatch                 the file system in the slot is not what the release says
│   └── GivenUp                       failed on this device too often
└── Unhealthy                   the running slot failed its health checks
RetryLater (75)
├── Locked                      another caflip works on this device
├── NoNetwork                   no route until the deadline
├── NotProved                   the running slot has to prove good first
└── HookFailed                  a hook said no, or took too long
OperatorMustAct (78)
├── ConfigInvalid               the configuration makes no sense
├── SlotMissing                 a configured slot has no device here
├── SlotActive                  this would write the running system
├── SlotUnclear                 which slot runs cannot be told
├── KeyringUnusable             no gpg, no keyring, or no pinned key in it
├── SigningFailed               gpg made no key or no signature
├── ChannelRefused              this release cannot be added to this channel
├── NoFallback                  nothing else could boot
├── StateNewer                  a later caflip wrote the state
├── StateCorrupt                no copy of the state can be believed
└── TooDear                     the update would fetch more than is allowed
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


class TooLong(ReleaseRefused):
    """A release, a signature or an index is longer than it may be."""

    code = "release.too-long"
    default_hint = "look at what the server sends; the limits are in docs/releases.md"


class PointerMalformed(ReleaseRefused):
    """The channel's `latest.json` cannot be read."""

    code = "release.pointer-malformed"
    default_hint = "name the release itself, or let `caflip release make` write the pointer again"


class SignatureMalformed(ReleaseRefused):
    """What should be a signature is no detached OpenPGP signature of the bytes."""

    code = "release.signature-malformed"
    default_hint = "`gpg --armor --detach-sign` makes one; no --sign, --clear-sign or --textmode"


class WrongKey(ReleaseRefused):
    """It is signed, but by none of the keys that this device trusts."""

    code = "release.wrong-key"
    default_hint = "`caflip keys list` shows the trusted keys"


class KeyRefused(ReleaseRefused):
    """A trusted key signed it, but that signature cannot be accepted."""

    code = "release.key-refused"
    default_hint = "sign the release again with a valid key and SHA-256 or better"


class KeyExpired(KeyRefused):
    """A trusted key signed it, but the key has expired."""

    code = "release.key-expired"
    default_hint = "sign the release with a valid key, and rotate the devices' keys in time"


class KeyRevoked(KeyRefused):
    """A trusted key signed it, but the key is revoked."""

    code = "release.key-revoked"
    default_hint = "sign the release with another key"


class SignatureExpired(KeyRefused):
    """A trusted key signed it, but for a time that is over."""

    code = "release.signature-expired"
    default_hint = "sign the release again"


class WeakDigest(KeyRefused):
    """A trusted key signed it, but over a digest that can be forged."""

    code = "release.weak-digest"
    default_hint = "sign the release again with SHA-256 or better"


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


class SlotClassUnknown(ReleaseRefused):
    """The release has an image for slots that are not here, or lacks one for slots that are."""

    code = "release.slot-class-unknown"
    default_hint = "compare the release's images with the slots in the configuration"


class RotationRefused(ReleaseRefused):
    """The new keys that the release brings did not sign it as they should."""

    code = "release.rotation-refused"
    default_hint = "add the signatures of the new keys to the .asc file"


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


class NotProved(RetryLater):
    """The running slot is still being tried; the other one is needed to fall back to."""

    code = "agent.not-proved"
    default_hint = "`caflip health` proves it; `caflip mark-good` says so by hand"


class NotStaged(RetryLater):
    """There is nothing that was fetched before and could be applied or activated."""

    code = "agent.not-staged"
    default_hint = "`caflip fetch` comes first"


class RebootFailed(RetryLater):
    """The command that restarts the device failed; the slot that boots next is set."""

    code = "agent.reboot-failed"
    default_hint = "restart the device by other means"


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


class SigningFailed(OperatorMustAct):
    """A key or a signature could not be made."""

    code = "trust.signing-failed"
    default_hint = "`caflip keys list --gnupg-home=DIR` shows the keys; is the passphrase right?"


class ChannelRefused(OperatorMustAct):
    """A release cannot be added to a channel as it is."""

    code = "channel.refused"


class NoFallback(OperatorMustAct):
    """No other slot is proved good, so this one is kept."""

    code = "slot.no-fallback"
    default_hint = "install a release on the other slot first"


class StateCorrupt(OperatorMustAct):
    """Neither copy of the state can be believed."""

    code = "state.corrupt"
    default_hint = "`caflip doctor --repair` starts a new one; slots and their content stay"


class StateNewer(OperatorMustAct):
    """A later caflip wrote the state, and this one does not know its schema."""

    code = "state.newer"
    default_hint = "use the caflip of the newer system, or remove the state files to start afresh"


class TooDear(OperatorMustAct):
    """The update would fetch more bytes than the configuration allows."""

    code = "agent.too-dear"
    default_hint = "raise update.most-download, or bring the chunks into the cache by other means"
