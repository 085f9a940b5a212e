# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-tags`: the tag of a pointer and those of the memory it points to."""

import argparse

from granule import entry, frame, machine, space, swap, tags, walk
from granule.command import Command, Problem, number

# Granules in a line.
COLUMNS = 32


class MmTags(Command):
    """Show the logical tag of a pointer and the allocation tags of the page it points to.

    mm-tags ADDRESS [--pid PID | --mm NUMBER]

    Tags of a page in memory are read from memory, tags of a page in swap from what was saved with its slot. Each
    digit is the tag of a granule of 16 bytes; that of the pointer's granule stands in brackets.

    Tags on the swap disk (swap.tags=device) are not read, and those of memory only from QEMU 9.2 on.

    Example: mm-tags 0x600ffffa40b6000"""

    name = "mm-tags"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("address", type=number)
        space.add_choice(parser)

    def run(self, args: argparse.Namespace) -> None:
        address = machine.untagged(args.address)
        logical = args.address >> 56 & 0xF
        page = address >> machine.PAGE_SHIFT
        own = space.chosen(args)
        print(f"{address:#x} in mm {own.number}: logical tag {logical:x}")
        if not tags.has_tags():
            raise Problem("this machine has no allocation tags")
        step = walk.leaf(own.live_root(), page)
        print(f"  {step.entry}")
        where, found = _find(step, page, own)
        if found is None:
            print(f"  {where}")
            return
        granule = address % machine.PAGE // tags.GRANULE
        is_checked = entry.SWAP == step.entry.kind or "tagged" in step.entry.words
        verdict = "match" if found[granule] == logical else "differ"
        unchecked = "" if is_checked else " (not checked: the memory type is not Tagged)"
        print(f"  allocation tags, {where}: granule {granule} has {found[granule]:x}, they {verdict}{unchecked}")
        _print_page(found, granule)


def _find(step: walk.Step, page: int, own: space.Space) -> tuple[str, list[int] | None]:
    """Returns where the tags of a page are, and the tags."""
    if step.entry.kind == entry.SWAP:
        area = swap.area(step.entry.area)
        word = area.slot(step.entry.slot)
        if word.folio is None:
            saved = area.tags(step.entry.slot)
            none = "" if saved is not None else "no tags are "
            return f"{none}saved with slot {step.entry.slot}: {word}", saved
        return f"slot {step.entry.slot} is {word}: mm-folio shows where its page is", None
    pfn = walk.frame_at(step, page)
    if pfn is None:
        return "no page is there, and no tags", None
    state = "" if step.entry.is_special else frame.word(pfn).tag_state.lower()
    if state == "untagged":
        return "the page's tags mean nothing (untagged)", None
    is_own = space.current()[1] == own.root
    user_page = page << machine.PAGE_SHIFT if is_own else None
    return f"in frame {pfn:#x}", tags.of_frame(pfn, user_page)


def _print_page(found: list[int], marked: int) -> None:
    for start in range(0, tags.GRANULES, COLUMNS):
        digits = [
            f"[{tag:x}]" if start + n == marked else f"{tag:x}" for n, tag in enumerate(found[start : start + COLUMNS])
        ]
        print(f"  {start * tags.GRANULE:#05x}: {''.join(digits)}")


MmTags()
