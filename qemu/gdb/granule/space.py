# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file finds address spaces and their areas (kernel/mm/src/mm, kernel/mm/src/vma)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import gdb

from . import machine, process, roots, rust
from .command import Problem, number

# TTBR0_EL1: ASID in bits 63:48, table in bits 47:1 (Arm ARM D24.2.200).
ASID_SHIFT = 48
TABLE = (1 << 48) - 2

# Pages of user memory are counted modulo this plus 1.
PAGES = (1 << 36) - 1


@dataclass(frozen=True)
class Area:
    """An area: pages, flags, and what is behind it."""

    start: int
    end: int
    flags: int
    backing: str


class Space:
    """An address space."""

    def __init__(self, value: gdb.Value) -> None:
        self.value = value
        self.number = rust.scalar(value["id"])
        self.root = rust.scalar(value["root"])

    def gauge(self, name: str) -> int:
        """Returns a count of pages, as MmStats has it."""
        return rust.scalar(self.value["stats"][name])

    @property
    def users(self) -> int:
        """Returns threads and lookers-on."""
        return rust.scalar(self.value["users"])

    @property
    def has_tables(self) -> bool:
        """Tells whether it has not been torn down."""
        return rust.option(rust.locked(self.value["tables"])) is not None

    def residency(self) -> tuple[int, int]:
        """Returns the ASID, and the CPUs that may have translations, a bit each."""
        residency = self.value["residency"]
        return rust.scalar(residency["context"]) & 0xFFFF, rust.scalar(residency["cpus"])

    @property
    def asid_generation(self) -> int:
        """Returns the generation in which the ASID was given out, 0 if there is none."""
        return rust.scalar(self.value["residency"]["context"]) >> 16

    def mirrors(self) -> Iterator[str]:
        """Yields what the devices that mirror it are and know."""
        for pointer in rust.vec(rust.locked(self.value["mirrors"]["list"])):
            mirror = rust.arc(pointer)
            inside = rust.locked(mirror["inside"])
            device, known = rust.scalar(mirror["device"]["__0"]), rust.scalar(inside["pages"]["length"])
            yield f"device {device} mirrors it and knows {known} pages, {rust.scalar(inside['seq'])} invalidations"

    def areas(self) -> Iterator[Area]:
        """Yields the areas, lowest first."""
        for _, area in rust.btree(rust.locked(self.value["areas"])["tree"]):
            pages = area["pages"]
            start, end = rust.scalar(pages["start"]), rust.scalar(pages["end"])
            yield Area(start, end, rust.scalar(area["flags"]), _backing(area["backing"]))

    def area_at(self, page: int) -> Area | None:
        """Returns the area that a page is in."""
        return next((area for area in self.areas() if area.start <= page < area.end), None)

    def pages_from(self, origin: int) -> Iterator[tuple[int, int]]:
        """Yields the pages that the reverse map has at `origin`, each with how far its table has moved
        (kernel/mm/src/mm/moved_tables.rs)."""
        yield origin, 0
        tree = rust.option(rust.locked(self.value["tables"]))
        for table in [] if tree is None else rust.vec(tree["moved"]["__0"]):
            if rust.scalar(table["origin"]) == origin >> 9:
                moved = rust.scalar(table["moved"])
                yield origin - (moved << 9) & PAGES, moved

    def live_root(self) -> int:
        """Returns the root table, of an address space that has one."""
        if not self.has_tables:
            raise Problem(f"address space {self.number} has been torn down")
        return self.root


def _backing(value: gdb.Value) -> str:
    name, content = rust.variant(value)
    if name == "Anon":
        return "anon"
    object_id = rust.scalar(rust.arc(content["object"])["id"])
    return f"object {object_id} from page {rust.scalar(content['first'])}"


def spaces() -> Iterator[Space]:
    """Yields the address spaces that live, by number."""
    for slot in rust.vec(rust.locked(roots.system()["mms"]["slots"])["mms"]):
        weak = rust.option(slot["mm"])
        value = None if weak is None else rust.weak(weak)
        if value is not None:
            yield Space(value)


def by_number(wanted: int) -> Space:
    """Returns the address space with a number."""
    found = next((space for space in spaces() if space.number == wanted), None)
    if found is None:
        raise Problem(f"there is no address space {wanted}")
    return found


def current() -> tuple[int, int]:
    """Returns the ASID and the root table that the selected CPU translates user addresses with."""
    value = machine.register("TTBR0_EL1")
    return value >> ASID_SHIFT, (value & TABLE) >> machine.PAGE_SHIFT


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose an address space."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--mm", type=number, metavar="NUMBER")
    choice.add_argument("--pid", type=number)


def chosen(args: argparse.Namespace) -> Space:
    """Returns the address space that was chosen, or else the one of the selected CPU."""
    if args.mm is not None:
        return by_number(args.mm)
    if args.pid is not None:
        return Space(process.by_pid(args.pid).mm)
    asid, table = current()
    if asid == 0:
        raise Problem("this CPU uses no address space: choose one with --pid or --mm (mm-ps lists them)")
    found = next((space for space in spaces() if space.root == table), None)
    if found is None:
        raise Problem(f"this CPU uses table {table:#x}, of no address space that lives")
    return found
