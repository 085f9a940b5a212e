# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-lru`: the lists of folios by last use."""

import argparse
from collections.abc import Iterator

import gdb

from granule import roots, rust
from granule.command import Command, Problem, attempt, bounded
from granule.folio import Folio

LISTS = ("inactive", "active")


class MmLru(Command):
    """List the folios of each CPU's inactive and active lists, most recently added first.

    mm-lru [active|inactive]

    Example: mm-lru active"""

    name = "mm-lru"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("list", choices=LISTS, nargs="?")

    def run(self, args: argparse.Namespace) -> None:
        lru = roots.system()["lru"]
        for kind, name in enumerate(LISTS):
            if args.list not in (None, name):
                continue
            print(f"{name}: {rust.scalar(lru['nr_pages'][kind])} pages")
            for cpu, shard in enumerate(rust.per_cpu(lru["shards"])):
                shown = rust.locked(shard)["lists"][kind]
                attempt(f"cpu {cpu}", lambda: _show(cpu, shown, kind))


def _show(cpu: int, shown: gdb.Value, kind: int) -> None:
    print(f" cpu {cpu}: head {int(shown['head'])}, tail {int(shown['tail'])}")
    for own in bounded(_follow(shown, kind)):
        print(f"  {own}")


def _follow(shown: gdb.Value, kind: int) -> Iterator[Folio]:
    """Yields the folios of a list, as long as its links agree."""
    previous, at = 0, int(shown["head"])
    while at:
        own = Folio(at)
        if own.lru_prev != previous:
            raise Problem(f"folio {at} links back to {own.lru_prev}, and follows {previous}")
        if not own.has("LRU") or own.has("ACTIVE") != bool(kind):
            raise Problem(f"folio {at} says that it is not on this list")
        yield own
        previous, at = at, own.lru_next
    if previous != int(shown["tail"]):
        raise Problem(f"the list ends with folio {previous}, and its tail is {int(shown['tail'])}")


MmLru()
