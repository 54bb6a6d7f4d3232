# SPDX-License-Identifier: Apache-2.0
"""Signed releases: what they say, who signed them, and whether this device may install them.

    channel      fetch the pointer, a release, its signature and its indexes
    proof        signature over the raw bytes, then the parser: `prove`
    signatures   OpenPGP signatures, pinned keys, threshold
    document     the release and its canonical JSON
    clock        what time it is at least
    policy       compatible, newer, not expired, fits, this device's turn: `judge`
    rotation     new keys that the old ones vouch for
    publish      from images to a signed release in a channel
    keys         key pairs and trusted keyrings

Format and rules: docs/releases.md.
"""
