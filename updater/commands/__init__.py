# SPDX-License-Identifier: Apache-2.0
"""One module for each verb: `add_arguments(parser)` and `run(args, console) -> exit status`.

A module is imported when its verb is used, so that no verb pays for another.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from updater.arguments import Formatter, Parser
from updater.options import accept_casync_options, add_common


@dataclass(frozen=True, slots=True)
class Verb:
    """What can be done.

    Attributes:
        name: one word, or two where several verbs have a subject in common: `release make`.
        summary: one line for the help.
        casync: casync has it too, with the same options.
    """

    name: str
    summary: str
    casync: bool = False

    def module(self) -> ModuleType:
        """Import what does it."""
        name = self.name.replace("-", "_").replace(" ", "_")
        return importlib.import_module(f"updater.commands.{name}")

    def parser(self, program: str) -> Parser:
        """Return the parser of everything but the verb itself."""
        module = self.module()
        parser = Parser(
            prog=f"{program} {self.name}",
            description=module.__doc__,
            formatter_class=Formatter,
            add_help=False,
            allow_abbrev=False,
        )
        module.add_arguments(parser)
        add_common(parser)
        if self.casync:
            accept_casync_options(parser)
        return parser


GROUPS = {
    "updates of this device": (
        Verb("check", "look for a release, prove it, and say whether it would be installed"),
        Verb("plan", "what an update would take, from where, and how long"),
        Verb("update", "bring the newest release onto the inactive slot, and let it boot next"),
        Verb("install", "install one release or signed index by name; provision slots"),
        Verb("fetch", "fetch a release and the chunks that are not here, into the cache"),
        Verb("apply", "write what was fetched onto the inactive slot"),
        Verb("activate", "let the slot that was applied boot next"),
        Verb("health", "after a boot: check the running slot, mark it good or bad"),
        Verb("status", "what the slots hold, and which runs and boots next"),
        Verb("mark-good", "say that the running slot is good"),
        Verb("mark-bad", "say that a slot is bad"),
        Verb("rollback", "go back to the other slot"),
        Verb("history", "what happened to the slots, and which releases failed"),
        Verb("peer", "give neighbours on the LAN the chunks of what the slots hold"),
        Verb("peers", "who is there on the LAN, what they hold, how fast they are"),
        Verb("doctor", "look for what would make an update fail, before it does"),
    ),
    "releases and the keys that sign them": (
        Verb("release make", "publish images as a signed release, or add a signature to one"),
        Verb("release show", "what a release says, who signed it, and whether it is trusted"),
        Verb("release verify", "prove a release and its indexes, or one signed index"),
        Verb("keys make", "make a key pair to sign releases with"),
        Verb("keys import", "add public keys or revocations to a trusted keyring"),
        Verb("keys list", "the keys of a trusted keyring or a GnuPG home"),
        Verb("keys export", "write a trusted keyring for devices"),
        Verb("serve", "serve a folder of indexes and stores over HTTP, for reading only"),
    ),
    "images, indexes and chunk stores": (
        Verb("make", "cut an image into chunks: an index, and a store", casync=True),
        Verb("extract", "bring an image onto a device, a region or a file", casync=True),
        Verb("verify", "compare a device or file with an index, or check a store; repair"),
        Verb("info", "what an update would cost, without a target or with one"),
        Verb("stat", "facts about an index", casync=True),
        Verb("digest", "digest of a file, a device, or what an index describes", casync=True),
        Verb("list-chunks", "ids, places and lengths of the chunks of an index"),
        Verb("probe", "which file system a device or file holds, and how long it is"),
        Verb("cache", "copy the chunks of indexes into a local store"),
        Verb("chop", "store the chunks of an image that has an index already"),
        Verb("gc", "remove the chunks of a store that no index names", casync=True),
    ),
}
"""All verbs, as the help shows them."""

VERBS = tuple(verb for verbs in GROUPS.values() for verb in verbs)

TREE_VERBS = ("list", "mtree", "mount", "mkdev")
"""What casync can do beyond these; caflip handles no trees yet."""
