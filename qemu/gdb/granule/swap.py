# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file reads swap areas, the words of slots, and tags saved with them (kernel/mm/src/swap)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gdb

from . import machine, roots, rust, tag_codec
from .command import Problem

# Slots whose words fill a frame.
CLUSTER = 512
TAG_ON_DEVICE = 7


@dataclass(frozen=True)
class SlotWord:
    """The word of a slot (slot.rs)."""

    raw: int

    @property
    def is_free(self) -> bool:
        """Tells whether nothing is in the slot."""
        return self.raw == 0

    @property
    def count(self) -> int:
        """Returns the entries and objects that refer to the slot."""
        return self.raw & 0xFFFF

    @property
    def folio(self) -> int | None:
        """Returns the folio that caches it."""
        return self.raw >> 16 & 0xFFFF_FFFF if self.raw >> 48 & 1 else None

    @property
    def tag_kind(self) -> int:
        """Returns the kind of its tag record, 0 for none."""
        return self.raw >> 52 & 0b111

    @property
    def tag_arg(self) -> int:
        """Returns the parameter of its tag record."""
        return self.raw >> 56

    def __str__(self) -> str:
        if self.is_free:
            return "free"
        words = [f"count {self.count}"]
        if self.folio is not None:
            words.append(f"cached by folio {self.folio}")
        else:
            words.append(f"on disk, shadow {self.raw >> 16 & 0xFFFF_FFFF}")
        for bit, name in [(49, "all zeroes"), (50, "bad"), (51, "of a shared object")]:
            if self.raw >> bit & 1:
                words.append(name)
        if self.tag_kind == TAG_ON_DEVICE:
            words.append("tags on the disk")
        elif self.tag_kind:
            words.append(f"tags {tag_codec.describe(self.tag_kind, self.tag_arg)}")
        return ", ".join(words)


class Area:
    """A swap area."""

    def __init__(self, value: gdb.Value) -> None:
        self.value = value
        self.number = rust.scalar(value["id"])
        self.nr_slots = rust.scalar(value["nr_slots"])

    def field(self, name: str) -> int:
        """Returns a number in it."""
        return rust.scalar(self.value[name])

    def _table(self, slot: int, beside: int | None) -> int | None:
        """Returns the frame with the words of a slot's cluster, or with those beside them."""
        if not 0 < slot < self.nr_slots:
            raise Problem(f"area {self.number} has slots 1 to {self.nr_slots - 1}, and not {slot}")
        cluster = rust.locked(rust.slice_at(self.value["clusters"], slot // CLUSTER))
        frame = rust.option(cluster["words"] if beside is None else cluster["beside"][beside])
        return None if frame is None else rust.scalar(frame)

    def _word(self, slot: int, beside: int | None = None) -> int | None:
        frame = self._table(slot, beside)
        return None if frame is None else machine.frame_words(frame, slot % CLUSTER, 1)[0]

    def slot(self, slot: int) -> SlotWord:
        """Returns the word of a slot."""
        return SlotWord(self._word(slot) or 0)

    def used(self) -> Iterator[tuple[int, SlotWord]]:
        """Yields the slots in use."""
        for cluster in range(rust.slice_len(self.value["clusters"])):
            frame = self._table(max(cluster * CLUSTER, 1), None)
            if frame is not None:
                for index, raw in enumerate(machine.frame_words(frame)):
                    if raw:
                        yield cluster * CLUSTER + index, SlotWord(raw)

    def tags(self, slot: int) -> list[int] | None:
        """Returns the tags saved with a slot, if there are any in memory."""
        word = self.slot(slot)
        if word.tag_kind in (0, TAG_ON_DEVICE):
            return None
        nr_words = tag_codec.nr_words(word.tag_kind, word.tag_arg)
        if nr_words == 0:
            return tag_codec.expand(word.tag_kind, word.tag_arg, ())
        beside = self._word(slot, beside=0)
        if beside is None:
            raise Problem(f"slot {slot} of area {self.number} has no tag word")
        if nr_words == 1:
            return tag_codec.expand(word.tag_kind, word.tag_arg, (beside,))
        # The name of a record (tag_store.rs): a frame, and which of its records.
        frame, index = beside >> 8, beside & 0xFF
        record = machine.frame_words(frame, index * nr_words, nr_words)
        return tag_codec.expand(word.tag_kind, word.tag_arg, record)


def areas() -> Iterator[Area]:
    """Yields the areas in service."""
    slots = rust.locked(roots.system()["swap"]["areas"])
    low, high = slots.type.range()
    for index in range(low, high + 1):
        area = rust.option(slots[index])
        if area is not None:
            yield Area(rust.arc(area))


def area(number: int) -> Area:
    """Returns the area with a number."""
    found = next((area for area in areas() if area.number == number), None)
    if found is None:
        raise Problem(f"there is no swap area {number} in service")
    return found
