# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-swap`: swap areas and their slots."""

import argparse

from granule import swap
from granule.command import Command, bounded, number
from granule.swap import Area


class MmSwap(Command):
    """Show the swap areas, or one slot, or the slots in use.

    mm-swap [SLOT] [--area NUMBER] [--used]

    Example: mm-swap
             mm-swap 18
             mm-swap --used --area 1"""

    name = "mm-swap"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("slot", type=number, nargs="?")
        parser.add_argument("--area", type=number, default=0)
        parser.add_argument("--used", action="store_true")

    def run(self, args: argparse.Namespace) -> None:
        if args.slot is not None:
            print(f"  area {args.area} slot {args.slot}: {swap.area(args.area).slot(args.slot)}")
        elif args.used:
            for slot, word in bounded(swap.area(args.area).used()):
                print(f"  area {args.area} slot {slot}: {word}")
        else:
            areas = list(swap.areas())
            for area in areas:
                print(_line(area))
            if not areas:
                print("  no swap area is in service")


def _line(area: Area) -> str:
    disk, priority = area.field("disk"), area.field("priority")
    in_use, retired = area.field("in_use"), area.field("retired")
    closing = ", closing: swapoff is at work" if area.field("is_closing") else ""
    return (
        f"  area {area.number} on disk {disk}, priority {priority}: {in_use} of {area.field('nr_usable')} slots in use, "
        f"{retired} retired, {area.field('table_frames')} frames of slot words{closing}"
    )


MmSwap()
