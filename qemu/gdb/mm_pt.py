# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-pt`: the translation of an address, entry by entry."""

import argparse

import gdb

from granule import entry, folio, frame, machine, space, swap, walk
from granule.command import Command, attempt, number
from granule.walk import Step

RUN = 16


class MmPt(Command):
    """Walk the translation tables for an address and decode every entry on the way.

    mm-pt ADDRESS [--pid PID | --mm NUMBER]

    The address space is that of the selected CPU unless one is chosen. Beside the last entry stands what it
    leads to: the frame, the folio and the place in it; the slot of a swap entry and what is saved there;
    the run of 16 entries that a TLB may hold as one. An entry of a folio that is being split or migrated is
    frozen; one whose page is in a device's memory is device-private as well. One whose page of RAM a device
    has for itself is device-exclusive.

    The last entry's address is left in $pte, for a watchpoint: watch *$pte stops where it is changed next,
    reverse-continue from there, in a replay, where it was changed last.

    Example: mm-pt 0xffffa40ad000
             mm-pt $x0 --pid 2"""

    name = "mm-pt"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("address", type=number)
        space.add_choice(parser)

    def run(self, args: argparse.Namespace) -> None:
        address = machine.untagged(args.address)
        page = address >> machine.PAGE_SHIFT
        own = space.chosen(args)
        print(f"{address:#x} in mm {own.number}, root table {own.root:#x}")
        for step in walk.walk(own.live_root(), page):
            print(f"  L{step.level}[{step.index}] {step.entry.raw:#018x}: {step.entry}")
        _remember(step)
        attempt("what it leads to", lambda: _explain(step, page))


def _remember(step: Step) -> None:
    """Makes a pointer to the entry of $pte."""
    word = gdb.lookup_type("u64").pointer()
    gdb.set_convenience_variable("pte", gdb.Value(machine.linear(step.table) + 8 * step.index).cast(word))


def _explain(step: Step, page: int) -> None:
    """Says what the last entry leads to."""
    found = step.entry
    if found.kind in (entry.PAGE, entry.BLOCK):
        pfn = walk.frame_at(step, page)
        assert pfn is not None
        if found.is_contiguous:
            attempt("run", lambda: _explain_run(step, page))
        _explain_frame(pfn, found.is_special)
    elif found.kind == entry.SWAP:
        print(f"  slot {found.slot}: {swap.area(found.area).slot(found.slot)}")


def _explain_run(step: Step, page: int) -> None:
    first = step.index - step.index % RUN
    raws = machine.frame_words(step.table, first, RUN)
    entries = [entry.decode(raw, step.level) for raw in raws]
    is_whole = all(other.is_contiguous and other.pfn == entries[0].pfn + n for n, other in enumerate(entries))
    start = (page - page % RUN) << machine.PAGE_SHIFT
    state = "" if is_whole and entries[0].pfn % RUN == 0 else ", corrupt: not 16 frames in a row"
    print(f"  entry {step.index % RUN} of a run of {RUN} from {start:#x}{state}")


def _explain_frame(pfn: int, is_special: bool) -> None:
    print(f"  {frame.word(pfn)}")
    if not is_special:
        owner = folio.of_frame(pfn)
        print(f"  {owner}")
        print(f"  page {pfn - owner.head} of {owner.nr_pages}")


MmPt()
