# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file reads the word of a frame (kernel/mm/src/frame/word.rs): what it is, and its tag state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gdb

from . import machine, roots, rust
from .command import Problem

LOCK = 1 << 8


def _names(kind: str) -> dict[int, str]:
    return {field.enumval: field.name.rsplit("::", 1)[-1] for field in gdb.lookup_type(kind).fields()}


@dataclass(frozen=True)
class Word:
    """A frame's word."""

    pfn: int
    raw: int
    # The device whose memory it is in, "" for RAM.
    owner: str = ""

    @property
    def kind(self) -> str:
        """Returns what the frame is, as FrameKind has it."""
        return _names("mm::frame::word::FrameKind").get(self.raw & 0xF, "corrupt")

    @property
    def tag_state(self) -> str:
        """Returns whether the page's tags mean something, as MteState has it."""
        return _names("mm::frame::word::MteState").get(self.raw >> 4 & 0b11, "corrupt")

    @property
    def folio(self) -> int | None:
        """Returns the folio that the frame is a page of."""
        return self.raw >> 32 if self.kind == "Folio" else None

    def __str__(self) -> str:
        words = [f"frame {self.pfn:#x}{' of ' * bool(self.owner)}{self.owner}: {self.kind.lower()}"]
        if self.kind == "Folio":
            words += [f"of folio {self.folio}", self.tag_state.lower()]
        if self.kind == "Table":
            words.append(f"with {self.raw >> 16 & 0x3FF} entries in use")
            if self.raw & LOCK:
                words.append("locked")
            if self.raw >> 32:
                words.append(f"next set aside, or moved by, {self.raw >> 32:#x}")
        return " ".join(words)


def _tables() -> Iterator[tuple[str, gdb.Value]]:
    """Yields the words of RAM and of each device's memory."""
    system = roots.system()
    yield "", system["words"]
    for number, device in enumerate(rust.elements(system["devices"]["devices"])):
        yield f"device {number}", device["words"]


def _find(pfn: int) -> tuple[str, int] | None:
    """Returns whose a frame is, and where its word is."""
    for owner, table in _tables():
        index = pfn - rust.scalar(table["first"])
        if 0 <= index < rust.slice_len(table["words"]):
            return owner, int(table["words"]["data_ptr"]) + 8 * index
    return None


def is_ram(pfn: int) -> bool:
    """Tells whether a frame is one of the memory manager's own."""
    found = _find(pfn)
    return found is not None and found[0] == ""


def word(pfn: int) -> Word:
    """Returns a frame's word."""
    found = _find(pfn)
    if found is None:
        raise Problem(f"frame {pfn:#x} is not the memory manager's")
    owner, address = found
    return Word(pfn, machine.words(address, 1)[0], owner)


def moved(table: int) -> int:
    """Returns how far a level-3 table has moved (kernel/mm/src/mm/moved_tables.rs)."""
    return word(table).raw >> 32
