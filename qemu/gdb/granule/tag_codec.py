# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file decodes the tag records of swapped pages: docs/formats/tag-record.md. It needs no gdb.

A page is a list of 256 tags. `tests/gdb.rs` has it decode what the kernel's encoder writes.
"""

from __future__ import annotations

from collections.abc import Sequence

GRANULES = 256
UNIFORM, REPEAT, ALIGNED, RUNS, SLAB, MASK = range(1, 7)
NAMES = {UNIFORM: "uniform", REPEAT: "repeat", ALIGNED: "aligned", RUNS: "runs", SLAB: "slab", MASK: "mask"}
HEADER = 0x80


class Malformed(ValueError):
    """A record that no encoder writes."""


class _Bits:
    """Reads a record's payload from its start, low bits first."""

    def __init__(self, words: Sequence[int]) -> None:
        self.rest = sum(word << 64 * index for index, word in enumerate(words))

    def take(self, width: int) -> int:
        """Returns the next bits."""
        value = self.rest & (1 << width) - 1
        self.rest >>= width
        return value

    def tags(self, count: int) -> list[int]:
        """Returns the next tags."""
        return [self.take(4) for _ in range(count)]


def nr_words(kind: int, arg: int) -> int:
    """Returns the 8-byte words of a record."""
    size = arg & ~HEADER
    match kind:
        case 1 if arg < 16:
            return 0
        case 2 if arg == 0:
            return 1
        case 3 if size <= 4:
            return 16 >> size
        case 4 if 2 <= arg <= 23:
            return 1 if arg <= 6 else 2 if arg <= 11 else 4
        case 5 if size >= 3:
            return 1 if size >= 20 else 2 if size >= 9 else 4 if size >= 5 else 8
        case 6:
            return 8
    raise Malformed(f"tag record of kind {kind}, parameter {arg:#x}")


def describe(kind: int, arg: int) -> str:
    """Names a record's kind and size."""
    return f"{NAMES.get(kind, 'corrupt')} ({arg:#x}), {8 * nr_words(kind, arg)} bytes"


def expand(kind: int, arg: int, words: Sequence[int]) -> list[int]:
    """Returns the tags of the page that a record describes."""
    if len(words) != nr_words(kind, arg):
        raise Malformed(f"tag record of {len(words)} words")
    bits = _Bits(words)
    match kind:
        case 1:
            return [arg] * GRANULES
        case 2:
            return bits.tags(16) * 16
        case 3:
            return _aligned(arg, bits)
        case 4:
            return _runs(arg, bits)
        case 5:
            return _slab(arg, bits)
    return _mask(arg, bits)


def _aligned(arg: int, bits: _Bits) -> list[int]:
    size = 1 << (arg & ~HEADER)
    page: list[int] = []
    for tag in bits.tags(GRANULES // size):
        page += [0] + [tag] * (size - 1) if arg & HEADER else [tag] * size
    return page


def _runs(count: int, bits: _Bits) -> list[int]:
    tags = bits.tags(count)
    longest = bits.take(5)
    lengths = [0 if run == longest else bits.take(7) + 1 for run in range(count)]
    rest = GRANULES - sum(lengths)
    if longest >= count or rest < 1:
        raise Malformed("tag record: runs that are no page")
    lengths[longest] = rest
    return [tag for tag, length in zip(tags, lengths) for _ in range(length)]


def _slab(arg: int, bits: _Bits) -> list[int]:
    size, header = arg & ~HEADER, 1 if arg & HEADER else 0
    phase = bits.take(8)
    if phase >= size:
        raise Malformed("tag record: a slab that starts beyond its first object")
    page = [bits.take(4)] * phase if phase else []
    while len(page) < GRANULES:
        page += [0] * header
        if len(page) < GRANULES:
            page += [bits.take(4)] * (size - header)
    return page[:GRANULES]


def _mask(arg: int, bits: _Bits) -> list[int]:
    starts = [bits.take(1) for _ in range(GRANULES)]
    if starts[0] or arg not in (0, *range(16, 48)):
        raise Malformed("tag record: a mask that is none")
    page: list[int] = []
    run, tag = -1, 0
    for granule, is_start in enumerate(starts):
        if granule == 0 or is_start:
            run += 1
            is_common = arg != 0 and run % 2 == (arg >> 4) - 1
            tag = arg & 0xF if is_common else bits.take(4)
        page.append(tag)
    return page
