# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file finds the structures that lead to all others, and names of bits (kernel/src/debugger.rs)."""

from __future__ import annotations

import gdb

from . import rust
from .command import Problem


def _roots() -> gdb.Value:
    symbol = gdb.lookup_static_symbol("kernel::debugger::ROOTS")
    if symbol is None:
        raise Problem("no kernel with debug information is loaded: start gdb with `cargo xtask gdb`")
    return symbol.value()


def _root(name: str, what: str) -> gdb.Value:
    try:
        pointer = _roots()[name]["p"]["value"]
        address = int(pointer)
    except gdb.MemoryError:
        address = 0
    if address == 0:
        raise Problem(f"the machine has no {what} yet: it is still booting")
    return pointer.dereference()


def system() -> gdb.Value:
    """Returns the memory manager."""
    return _root("system", "memory manager")


def kernel() -> gdb.Value:
    """Returns the process layer."""
    return _root("kernel", "processes")


def bit_names(kind: str) -> list[tuple[str, int]]:
    """Returns the names of bits: of "folio_flags" or "area_flags"."""
    flags = _roots()["legend"][kind]
    return [(rust.text(flag["name"]), rust.scalar(flag["value"])) for flag in rust.elements(flags)]


def names(kind: str) -> list[str]:
    """Returns the names of counters: "events", "thp_stats" or "block_events"."""
    roots = _roots()
    table = roots["block_events"] if kind == "block_events" else roots["legend"][kind]
    return [rust.text(name) for name in rust.elements(table)]


def spell(kind: str, bits: int) -> str:
    """Returns the names of the bits that are set."""
    named = bit_names(kind)
    return " ".join(name.lower() for name, bit in named if bits & bit == bit) or "none"
