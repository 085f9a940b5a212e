# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file adds up counters, which each CPU has of its own (kernel/base/src/counter.rs)."""

from __future__ import annotations

import gdb

from . import roots, rust

WORD = 1 << 64


def _totals(counters: gdb.Value, names: list[str]) -> dict[str, int]:
    rows = [row["__0"] for row in rust.elements(counters["rows"])]
    # What one CPU has counted up another may have counted down.
    return {name: sum(rust.scalar(row[index]) for row in rows) % WORD for index, name in enumerate(names)}


def events() -> dict[str, int]:
    """Returns the counters of the memory manager."""
    return _totals(roots.system()["counters"], roots.names("events"))


def disks() -> dict[str, int]:
    """Returns the counters of the disks."""
    return _totals(roots.system()["machine"]["disks"]["counters"], roots.names("block_events"))


def large_folios() -> dict[str, int]:
    """Returns what is counted for each order of large folios, as order-N/name."""
    rows = roots.system()["thp"]["stats"]["__0"]
    low, high = rows.type.range()
    names = roots.names("thp_stats")
    # The first row is order 2 (thp/stats.rs).
    return {
        f"order-{2 + row}/{name}": value
        for row in range(low, high + 1)
        for name, value in _totals(rows[row], names).items()
    }
