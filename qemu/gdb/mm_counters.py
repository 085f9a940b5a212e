# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-counters`: what was counted, over all CPUs."""

import argparse

from granule import counters
from granule.command import Command, Problem, attempt


class MmCounters(Command):
    """Show the counters that are not 0, or those with WORD in their names.

    mm-counters [WORD]

    Gauges that the kernel computes when it is asked (/proc/vmstat has them) are not among them.

    Example: mm-counters swp"""

    name = "mm-counters"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("word", nargs="?")

    def run(self, args: argparse.Namespace) -> None:
        shown = 0
        for source in (counters.events, counters.disks, counters.large_folios):
            totals = attempt(source.__name__, source) or {}
            for name, total in totals.items():
                if (total != 0) if args.word is None else (args.word in name):
                    print(f"  {name} {total}")
                    shown += 1
        if args.word is not None and not shown:
            raise Problem(f"no counter has {args.word} in its name")


MmCounters()
