# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file reads registers and memory of a stopped machine.

QEMU's gdbstub translates addresses as the stopped CPU would: while it runs user code, the kernel's
half cannot be read. Frames are read through the kernel's linear map.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import gdb

PAGE_SHIFT = 12
PAGE = 1 << PAGE_SHIFT
# arch::layout::LINEAR_BASE: all RAM, at its physical address plus this.
LINEAR_BASE = 0xFFFF_0000_0000_0000
# PSTATE.M[3:2], the exception level; M[3:0] = 4 is EL1 with SP_EL0 (Arm ARM C5.2.19).
EL_MASK = 0b1100
EL1 = 0b0100


def register(name: str) -> int:
    """Returns a register of the selected CPU."""
    value = gdb.parse_and_eval(f"${name}")
    if value.type.code == gdb.TYPE_CODE_VOID:
        raise gdb.error(f"this QEMU has no register {name}")
    return int(value) & (1 << 64) - 1


# The CPU whose exception level is changed at the moment.
_changed: int | None = None


def was_user_mode(cpu: gdb.InferiorThread) -> bool:
    """Tells whether a CPU, which is selected, was stopped in user code."""
    return cpu.num == _changed or register("cpsr") & EL_MASK == 0


@contextlib.contextmanager
def kernel_view() -> Iterator[None]:
    """Has the selected CPU translate addresses as the kernel does. It does not run meanwhile, and its
    state is as before afterwards."""
    global _changed
    pstate = register("cpsr") & 0xFFFF_FFFF
    if pstate & EL_MASK:
        yield
        return
    gdb.execute(f"set $cpsr = {pstate | EL1}", to_string=True)
    _changed = gdb.selected_thread().num
    try:
        yield
    finally:
        _changed = None
        gdb.execute(f"set $cpsr = {pstate}", to_string=True)


def read(address: int, length: int) -> bytes:
    """Returns bytes of memory."""
    return gdb.selected_inferior().read_memory(address, length).tobytes()


def words(address: int, count: int) -> tuple[int, ...]:
    """Returns 64-bit words of memory."""
    return struct.unpack(f"<{count}Q", read(address, 8 * count))


def linear(pfn: int) -> int:
    """Returns the kernel's address of a frame."""
    return LINEAR_BASE + (pfn << PAGE_SHIFT)


def frame_words(pfn: int, first: int = 0, count: int = 512) -> tuple[int, ...]:
    """Returns words of a frame."""
    return words(linear(pfn) + 8 * first, count)


def untagged(address: int) -> int:
    """Returns an address as translation sees it: bits 63:56 are copies of bit 55."""
    low = address & (1 << 56) - 1
    return low | (0xFF << 56 if low >> 55 & 1 else 0)


@contextlib.contextmanager
def each_cpu() -> Iterator[list[gdb.InferiorThread]]:
    """Gives all CPUs, in their order; the selected one is selected again afterwards."""
    selected = gdb.selected_thread()
    try:
        yield sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num)
    finally:
        selected.switch()
