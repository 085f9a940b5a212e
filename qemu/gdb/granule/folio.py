# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file reads folio descriptors and the reverse map (kernel/mm/src/folio, kernel/mm/src/rmap)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gdb

from . import frame, roots, rust
from .command import Problem

# Descriptors in a chunk of the arena.
CHUNK = 64
ORDER_SHIFT, SHARD_SHIFT = 24, 28
# Of a packed place, and of the page within an object (shmem/object.rs).
SHMEM = 1 << 63
OBJECT_SHIFT = 39


@dataclass(frozen=True)
class Mapping:
    """One place where an address space maps pages of a folio (rmap/entry.rs)."""

    mm: int
    # Page at which the folio's first page is or would be mapped.
    base: int
    nr: int

    @staticmethod
    def unpack(raw: int) -> "Mapping":
        """Reads a packed mapping."""
        return Mapping(raw >> 46 & 0xFFFF, raw >> 10 & (1 << 36) - 1, raw & 0x3FF)


class Folio:
    """A folio's descriptor."""

    def __init__(self, number: int) -> None:
        chunks = roots.system()["folios"]["chunks"]
        if number == 0 or number // CHUNK >= rust.slice_len(chunks):
            raise Problem(f"folio {number} does not exist")
        chunk = rust.once_box(rust.slice_at(chunks, number // CHUNK))
        if chunk is None:
            raise Problem(f"folio {number} is of a chunk that does not exist")
        self.number = number
        self.value = chunk[number % CHUNK]

    def _field(self, name: str) -> int:
        return rust.scalar(self.value[name])

    @property
    def flags(self) -> int:
        """Returns flags, order and LRU shard."""
        return self._field("flags")

    @property
    def order(self) -> int:
        """Returns the order."""
        order = self.flags >> ORDER_SHIFT & 0xF
        if order > 9:
            raise Problem(f"folio {self.number}: order {order}")
        return order

    @property
    def nr_pages(self) -> int:
        """Returns the number of pages."""
        return 1 << self.order

    @property
    def shard(self) -> int:
        """Returns the CPU whose lists it is on."""
        return self.flags >> SHARD_SHIFT

    @property
    def head(self) -> int:
        """Returns the first frame."""
        return self._field("head")

    @property
    def refcount(self) -> int:
        """Returns the references."""
        return self._field("refcount")

    @property
    def mapcount(self) -> int:
        """Returns how many entries map its pages."""
        return self._field("mapcount")

    @property
    def lru_next(self) -> int:
        """Returns the next folio on its list, 0 for none."""
        return self._field("lru_next")

    @property
    def lru_prev(self) -> int:
        """Returns the one before."""
        return self._field("lru_prev")

    def has(self, name: str) -> bool:
        """Tells whether a flag is set."""
        return any(self.flags & bit for flag, bit in roots.bit_names("folio_flags") if flag == name)

    def place(self) -> str:
        """Returns where the content belongs beside the folio itself."""
        packed = self._field("place")
        if packed == 0:
            return "nowhere else"
        if packed & SHMEM:
            place = packed & ~SHMEM
            index = place & (1 << OBJECT_SHIFT) - 1
            return f"page {index} of shared object {place >> OBJECT_SHIFT}"
        return f"swap area {packed >> 32} slot {packed & 0xFFFF_FFFF}"

    def mappings(self) -> Iterator[Mapping]:
        """Yields the reverse map: what is in the descriptor, then what is in the spill table."""
        for index in range(2):
            raw = rust.scalar(self.value["rmap"][index])
            if raw:
                yield Mapping.unpack(raw)
        spill = self._field("rmap_spill")
        if spill:
            tables = rust.vec(rust.locked(roots.system()["spill"]["tables"])["tables"])
            if spill >= len(tables):
                raise Problem(f"folio {self.number}: spill table {spill} of {len(tables)}")
            for raw in rust.vec(tables[spill]):
                yield Mapping.unpack(int(raw))

    def __str__(self) -> str:
        return (
            f"folio {self.number}: {self.nr_pages} page{'s' * (self.nr_pages > 1)} from {self.head:#x}, "
            f"{self.refcount} references, {self.mapcount} mapped, {roots.spell('folio_flags', self.flags)}"
        )


def of_frame(pfn: int) -> Folio:
    """Returns the folio that a frame is a page of."""
    word = frame.word(pfn)
    if word.folio is None:
        raise Problem(f"{word}: no page of a folio")
    return Folio(word.folio)
