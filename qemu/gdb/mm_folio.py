# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-folio`: what a frame is, and the folio it belongs to."""

import argparse

from granule import folio, frame
from granule.command import FrameCommand, attempt, bounded
from granule.folio import Folio


class MmFolio(FrameCommand):
    """Show what a frame is, and the folio that it is a page of.

    mm-folio PFN

    Example: mm-folio 0x40097"""

    name = "mm-folio"

    def run(self, args: argparse.Namespace) -> None:
        word = frame.word(args.pfn)
        print(f"  {word}")
        if word.folio is None:
            return
        own = Folio(word.folio)
        print(f"  {own}")
        print(f"  content: {own.place()}")
        attempt("pages", lambda: _show_pages(own, args.pfn))
        attempt("reverse map", lambda: _check_mapcount(own))


def _show_pages(own: Folio, pfn: int) -> None:
    first, nr = own.head, own.nr_pages
    if not first <= pfn < first + nr:
        print(f"  corrupt: frame {pfn:#x} is none of its frames")
    states: dict[str, int] = {}
    for page in range(first, first + nr):
        word = frame.word(page)
        if word.folio != own.number:
            print(f"  corrupt: {word}, not of folio {own.number}")
        states[word.tag_state.lower()] = states.get(word.tag_state.lower(), 0) + 1
    print("  pages: " + ", ".join(f"{count} {state}" for state, count in states.items()))


def _check_mapcount(own: Folio) -> None:
    mapped = 0
    for mapping in bounded(own.mappings()):
        mapped += mapping.nr
        print(f"  mm {mapping.mm} maps {mapping.nr} from {mapping.base << 12:#x}")
    if mapped != own.mapcount:
        print(f"  corrupt: {own.mapcount} mapped, but the reverse map has {mapped}")


MmFolio()
