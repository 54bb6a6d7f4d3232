# SPDX-License-Identifier: Apache-2.0
"""Images as chunks: casync's formats, stores, seeds, plans and assembly.

No policy, no partitions, no bootloader; no printing and no exiting. Progress is a stream of
events to a function of the caller's, errors are `ImageError`s sorted by what to do next.

    make        an image into an index and chunks
    plan        what bringing an image onto a target would cost
    extract     plan, assemble, flush, read back
    assemble    carry out a plan on an open target
    verify      which chunks of a target are right
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from images.assembly import Report, assemble
    from images.blob import read_blob
    from images.check import verify
    from images.compression import Compression
    from images.digests import ChunkId, Digest
    from images.errors import ImageError
    from images.events import Event, EventSink, Phase, Progress, SourceFailed
    from images.extraction import Options, extract, plan
    from images.gc import collect
    from images.index import Index
    from images.inputs import open_input
    from images.making import Made, make
    from images.planning import Plan, Share, make_plan
    from images.seeds import Seeds
    from images.sizes import ChunkSizes
    from images.sources import Source
    from images.specs import SeedSpec, TargetSpec
    from images.storecheck import check_store
    from images.stores.chain import Chain
    from images.stores.local import LocalStore
    from images.stores.opening import open_stores
    from images.stores.options import StoreOptions
    from images.target import open_for_plan, open_target

__all__ = [
    "Chain",
    "ChunkId",
    "ChunkSizes",
    "Compression",
    "Digest",
    "Event",
    "EventSink",
    "ImageError",
    "Index",
    "LocalStore",
    "Made",
    "Options",
    "Phase",
    "Plan",
    "Progress",
    "Report",
    "SeedSpec",
    "Seeds",
    "Share",
    "Source",
    "SourceFailed",
    "StoreOptions",
    "TargetSpec",
    "assemble",
    "check_store",
    "collect",
    "extract",
    "make",
    "make_plan",
    "open_for_plan",
    "open_input",
    "open_stores",
    "open_target",
    "plan",
    "read_blob",
    "verify",
]

_HOMES = {
    "Chain": "stores.chain",
    "ChunkId": "digests",
    "ChunkSizes": "sizes",
    "Compression": "compression",
    "Digest": "digests",
    "Event": "events",
    "EventSink": "events",
    "ImageError": "errors",
    "Index": "index",
    "LocalStore": "stores.local",
    "Made": "making",
    "Options": "extraction",
    "Phase": "events",
    "Plan": "planning",
    "Progress": "events",
    "Report": "assembly",
    "SeedSpec": "specs",
    "Seeds": "seeds",
    "Share": "planning",
    "Source": "sources",
    "SourceFailed": "events",
    "StoreOptions": "stores.options",
    "TargetSpec": "specs",
    "assemble": "assembly",
    "check_store": "storecheck",
    "collect": "gc",
    "extract": "extraction",
    "make": "making",
    "make_plan": "planning",
    "open_for_plan": "target",
    "open_input": "inputs",
    "open_stores": "stores.opening",
    "open_target": "target",
    "plan": "extraction",
    "read_blob": "blob",
    "verify": "check",
}


if not TYPE_CHECKING:  # a type checker would take it to have every name

    def __getattr__(name: str) -> object:
        """Import a public name at its first use (PEP 562): no verb needs all of them."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
