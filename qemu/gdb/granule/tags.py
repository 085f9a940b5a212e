# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file reads allocation tags of memory, which no load returns.

QEMU keeps tags in a memory of its own that is on no bus. From 9.2 on, its gdbstub answers the packet
qMemTags, one granule at a time, for memory that the selected CPU would check. gdb sends it by itself for
Linux programs only, and knows of machines from version 16 on; from Python any version can.
"""

from __future__ import annotations

import gdb

from . import machine, roots, rust
from .command import Problem

GRANULE = 16
GRANULES = 256


def has_tags() -> bool:
    """Tells whether the kernel uses allocation tags on this machine."""
    return rust.scalar(roots.system()["machine"]["features"]["mte"]) != 0


def of_frame(pfn: int, user_page: int | None = None) -> list[int]:
    """Returns the tags of a frame, which the selected CPU may have at a user address too."""
    for page in (machine.linear(pfn), user_page):
        found = None if page is None else _of_page(page)
        if found is not None:
            return found
    # A CPU that was stopped in user code is not believed to reach the kernel's half.
    with machine.each_cpu() as cpus:
        for cpu in cpus:
            cpu.switch()
            found = None if machine.was_user_mode(cpu) else _of_page(machine.linear(pfn))
            if found is not None:
                return found
    raise Problem(
        "this emulator does not give the tags: QEMU does from version 9.2 on, of pages that the selected CPU "
        "uses, and of all when a CPU is stopped in the kernel"
    )


def _of_page(page: int) -> list[int] | None:
    """Asks for the tags of a page; `None` when there is no answer."""
    if _of_granule(page) is None:
        return None
    return [_expect(_of_granule(page + GRANULE * n)) for n in range(GRANULES)]


def _of_granule(address: int) -> int | None:
    """Asks for the tag of a granule; `None` when there is no answer."""
    connection = gdb.selected_inferior().connection
    if not isinstance(connection, gdb.RemoteTargetConnection):
        return None
    # Type 1: allocation tags. The stub gives the tags of one byte at a time.
    reply = connection.send_packet(f"qMemTags:{address:x},1:1")
    if not reply or not reply.startswith(b"m"):
        return None
    return int(reply[1:], 16) & 0xF


def _expect(tag: int | None) -> int:
    if tag is None:
        raise Problem("the emulator gave only a part of the page's tags")
    return tag
