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
from images.seeds import Seeds, SeedSpec
from images.sizes import ChunkSizes
from images.sources import Source
from images.storecheck import check_store
from images.stores.chain import Chain
from images.stores.local import LocalStore
from images.stores.opening import StoreOptions, open_stores
from images.target import TargetSpec, open_for_plan, open_target

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
