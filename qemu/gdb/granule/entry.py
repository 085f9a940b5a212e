# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file reads the bits of a translation-table entry, as kernel/pgtable/src/pte.rs and swap_pte.rs
define them. `tests/gdb.rs` compares it with them. It needs no gdb."""

from __future__ import annotations

from dataclasses import dataclass

# VMSAv8-64 descriptor bits (Arm ARM D8.3.1.2, D8.3.2), and those that software uses.
VALID = 1 << 0
PAGE_OR_TABLE = 1 << 1
ATTR_SHIFT = 2
USER = 1 << 6
READ_ONLY = 1 << 7
ACCESSED = 1 << 10
# In an entry that is not valid: present all the same.
PRESENT_INVALID = 1 << 11
ADDRESS = 0x0000_FFFF_FFFF_F000
DBM = 1 << 51
CONTIGUOUS = 1 << 52
USER_NX = 1 << 54
SW_DIRTY = 1 << 55
SW_SPECIAL = 1 << 56
SW_FROZEN = 1 << 57
SW_DEVICE = 1 << 58

# Entries that map no frame: type in bits 10:6, offset in bits 61:12, exclusive in bit 2.
EXCLUSIVE = 1 << 2
FIRST_SPECIAL, POISON = 24, 24

EMPTY, TABLE, BLOCK, PAGE = "empty", "table", "block", "page"
SWAP, POISONED, CORRUPT = "swap", "poison", "corrupt"


@dataclass(frozen=True)
class Entry:
    """What an entry says."""

    kind: str
    raw: int
    # Frame that it maps, of RAM or of a device, or that holds the table.
    pfn: int = 0
    # Swap area and slot.
    area: int = 0
    slot: int = 0
    # Rights and state, in words.
    words: tuple[str, ...] = ()

    @property
    def is_contiguous(self) -> bool:
        """Tells whether it is one of a run of 16 that a TLB may hold as one."""
        return self.kind == PAGE and "contiguous" in self.words

    @property
    def is_special(self) -> bool:
        """Tells whether the frame is one that no folio owns."""
        return "special" in self.words

    def __str__(self) -> str:
        words = " ".join(self.words)
        match self.kind:
            case "table" | "block" | "page":
                return f"{self.kind} {self.pfn:#x} {words}".rstrip()
            case "swap":
                return f"swap area {self.area} slot {self.slot} {words}".rstrip()
            case "corrupt":
                return f"corrupt {self.raw:#018x}"
        return self.kind


def decode(raw: int, level: int) -> Entry:
    """Reads the raw bits of an entry of this level."""
    if raw == 0:
        return Entry(EMPTY, raw)
    if level < 3 and raw & (VALID | PAGE_OR_TABLE) == VALID | PAGE_OR_TABLE:
        return Entry(TABLE, raw, pfn=(raw & ADDRESS) >> 12)
    if raw & (VALID | PRESENT_INVALID):
        if level < 2:
            return Entry(CORRUPT, raw)
        return Entry(PAGE if level == 3 else BLOCK, raw, pfn=(raw & ADDRESS) >> 12, words=_state(raw))
    return _decode_non_present(raw)


def _state(raw: int) -> tuple[str, ...]:
    """Names rights and state. A block has the bits of a page (pgtable::Pte::of_block). An entry of a
    folio that is being split or migrated is frozen; one whose page is in a device's memory is frozen, and
    device-private; one whose page of RAM a device has for itself is device-exclusive."""
    is_valid = raw & VALID != 0
    is_hardware_dirty = raw & (DBM | READ_ONLY) == DBM
    readable = "r" if raw & USER else "-"
    writable = "w" if raw & DBM else "-"
    executable = "x" if raw & USER and not raw & USER_NX else "-"
    flags = [
        (not is_valid, "not-valid"),
        (raw & ACCESSED, "young"),
        (raw & SW_DIRTY or is_hardware_dirty, "dirty"),
        ((raw >> ATTR_SHIFT) & 0b111 == 1, "tagged"),
        (raw & CONTIGUOUS, "contiguous"),
        (raw & SW_SPECIAL, "special"),
        (raw & SW_FROZEN, "frozen"),
        (raw & SW_DEVICE, "device-private"),
        (raw & (VALID | USER | SW_FROZEN) == USER, "device-exclusive"),
    ]
    return (readable + writable + executable, *(name for is_set, name in flags if is_set))


def _decode_non_present(raw: int) -> Entry:
    kind = raw >> 6 & 0x1F
    offset = raw >> 12 & (1 << 50) - 1
    if kind < FIRST_SPECIAL:
        if offset > 0xFFFF_FFFF:
            return Entry(CORRUPT, raw)
        words = ("exclusive",) if raw & EXCLUSIVE else ()
        return Entry(SWAP, raw, area=kind, slot=offset, words=words)
    return Entry(POISONED if kind == POISON else CORRUPT, raw)
