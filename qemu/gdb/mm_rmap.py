# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-rmap`: who maps a folio, checked against the tables."""

import argparse

from granule import folio, frame, space, walk
from granule.command import FrameCommand, Problem, attempt, bounded
from granule.folio import Folio, Mapping

PAGES = (1 << 36) - 1


class MmRmap(FrameCommand):
    """List who maps the folio of a frame, and check each mapping against the translation tables.

    mm-rmap PFN

    Example: mm-rmap 0x40065"""

    name = "mm-rmap"

    def run(self, args: argparse.Namespace) -> None:
        own = folio.of_frame(args.pfn)
        print(f"  {own}")
        for mapping in bounded(own.mappings()):
            attempt(f"mm {mapping.mm}", lambda: _check(own, mapping))


def _check(own: Folio, mapping: Mapping) -> None:
    """Compares what the reverse map says with what the tables say."""
    start = mapping.base << 12
    line = f"  mm {mapping.mm}: {mapping.nr} of {own.nr_pages} pages, folio from {start:#x}"
    mapper = space.by_number(mapping.mm)
    root = mapper.live_root()
    found = 0
    for index in range(own.nr_pages):
        origin = mapping.base + index & PAGES
        for page, moved in mapper.pages_from(origin):
            try:
                last = walk.leaf(root, page)
                is_from = last.level < 3 or frame.moved(last.table) == moved
                found += is_from and walk.frame_at(last, page) == own.head + index
            except Problem as error:
                print(f"  {page << 12:#x}: {error}")
    if found == mapping.nr:
        print(f"{line}, as the tables have it")
    else:
        print(f"{line}, corrupt: the tables map {found}")


MmRmap()
