# SPDX-License-Identifier: Apache-2.0
"""One module for each verb: `add_arguments(parser)` and `run(args, console) -> exit status`.

A module is imported when its verb is used, so that no verb pays for another.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from types import ModuleType

from updater.arguments import Parser
from updater.options import accept_casync_options, add_common


@dataclass(frozen=True, slots=True)
class Verb:
    """What can be done.

    Attributes:
        summary: one line for the help.
        casync: casync has it too, with the same options.
    """

    name: str
    summary: str
    casync: bool = False

    def module(self) -> ModuleType:
        """Import what does it."""
        return importlib.import_module(f"updater.commands.{self.name.replace('-', '_')}")

    def parser(self, program: str) -> Parser:
        """Return the parser of everything but the verb itself."""
        module = self.module()
        parser = Parser(
            prog=f"{program} {self.name}",
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        module.add_arguments(parser)
        add_common(parser)
        if self.casync:
            accept_casync_options(parser)
        return parser


VERBS = (
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
    Verb("serve", "serve a folder of indexes and stores over HTTP, for reading only"),
)

TREE_VERBS = ("list", "mtree", "mount", "mkdev")
"""What casync can do beyond these; caflip handles no trees yet."""
