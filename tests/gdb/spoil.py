# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file runs in gdb while the program `picture` is stopped: it spoils structures of the kernel, which the
commands then have to survive."""

import struct

import gdb
from granule import folio, machine, rust, space, swap, walk

write = gdb.selected_inferior().write_memory


def address(name: str) -> int:
    return int(gdb.convenience_variable(name))


def store(value: gdb.Value, bits: int) -> None:
    """Overwrites a field."""
    write(int(value.address), bits.to_bytes(value.type.sizeof, "little"))


own = space.chosen(type("Arguments", (), {"mm": None, "pid": None}))
root = own.live_root()

# A table entry that leads to a frame beyond all memory, and a last-level one that nothing writes.
block = walk.leaf(root, address("block") >> 12)
write(machine.linear(block.table) + 8 * block.index, struct.pack("<Q", 0x0000_FFFF_FFFF_F003))
untouched = walk.leaf(root, address("untouched") >> 12)
write(machine.linear(untouched.table) + 8 * untouched.index, struct.pack("<Q", 31 << 6))

# A folio whose links lead back to itself, one whose order is none, one that says too much is mapped.
tagged = folio.of_frame(address("tagged_pfn"))
store(tagged.value["lru_next"], tagged.number)
shared = folio.of_frame(address("shared_pfn"))
store(shared.value["flags"], 0xF << folio.ORDER_SHIFT)
closed = folio.of_frame(address("closed_pfn"))
store(closed.value["mapcount"], 7)

# Tag records of a kind that is none, and of a kind whose words are elsewhere.
area = swap.area(0)
words = rust.scalar(rust.option(rust.locked(rust.slice_at(area.value["clusters"], 0))["words"]))
for name, tag_bits in [("repeat", 2 << 52 | 9 << 56), ("runs", 4 << 52 | 23 << 56)]:
    slot = address(f"{name}_slot")
    word = machine.frame_words(words, slot, 1)[0] & (1 << 52) - 1
    write(machine.linear(words) + 8 * slot, struct.pack("<Q", word | tag_bits))
