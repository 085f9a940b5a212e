# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file walks translation tables, as the hardware does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import entry, frame, machine
from .command import Problem
from .entry import Entry


@dataclass(frozen=True)
class Step:
    """An entry on the way to a page."""

    level: int
    table: int
    index: int
    entry: Entry


def index_of(page: int, level: int) -> int:
    """Returns the index of a page's entry in its table of this level."""
    return page >> 9 * (3 - level) & 0x1FF


def span_pages(level: int) -> int:
    """Returns how many pages an entry of this level spans."""
    return 1 << 9 * (3 - level)


def walk(root: int, page: int) -> Iterator[Step]:
    """Yields the entries on the way to a page, the last of them one that is no table."""
    table = root
    for level in range(4):
        if not frame.is_ram(table):
            raise Problem(f"level {level}: table {table:#x} is no frame of the memory manager")
        index = index_of(page, level)
        found = entry.decode(machine.frame_words(table, index, 1)[0], level)
        yield Step(level, table, index, found)
        if found.kind != entry.TABLE:
            return
        table = found.pfn


def leaf(root: int, page: int) -> Step:
    """Returns the last entry on the way to a page."""
    *_, last = walk(root, page)
    return last


def frame_at(step: Step, page: int) -> int | None:
    """Returns the frame that maps a page, if one does."""
    if step.entry.kind == entry.PAGE:
        return step.entry.pfn
    if step.entry.kind == entry.BLOCK:
        return step.entry.pfn + page % span_pages(step.level)
    return None
