# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-vma`: the areas of an address space."""

import argparse

from granule import machine, roots, space
from granule.command import Command, Problem, bounded, number
from granule.space import Area


class MmVma(Command):
    """List the areas of an address space, or show the one that an address is in.

    mm-vma [ADDRESS] [--pid PID | --mm NUMBER]

    Example: mm-vma
             mm-vma 0xffffa40b6000 --pid 1"""

    name = "mm-vma"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("address", type=number, nargs="?")
        space.add_choice(parser)

    def run(self, args: argparse.Namespace) -> None:
        own = space.chosen(args)
        if args.address is None:
            print(f"mm {own.number}")
            for area in bounded(own.areas()):
                print(_line(area))
            return
        address = machine.untagged(args.address)
        area = own.area_at(address >> machine.PAGE_SHIFT)
        if area is None:
            raise Problem(f"{address:#x} is in no area of mm {own.number}")
        print(_line(area))


def _line(area: Area) -> str:
    start, end = area.start << machine.PAGE_SHIFT, area.end << machine.PAGE_SHIFT
    pages = area.end - area.start
    flags = roots.spell("area_flags", area.flags)
    wrong = " corrupt: ends before it starts" if pages <= 0 else ""
    return f"  {start:#014x}-{end:#014x} {pages:6} pages  {area.backing}, {flags}{wrong}"


MmVma()
