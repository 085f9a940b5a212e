# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-tlb`: which address space each CPU uses, where each has run,
and how far invalidations have come."""

import argparse

import gdb

from granule import counters, machine, roots, rust, space
from granule.command import Command, attempt, bounded

EVENTS = ("tlbi_page", "tlbi_range", "tlbi_asid", "tlbi_all", "tlbi_local", "tlbi_elided", "tlb_dsb", "tlb_elided")


class MmTlb(Command):
    """Show the ASID and root table that each CPU uses, and the number of the last invalidation that it has
    started and of the last that its barriers have completed; of each address space the CPUs that may have
    translations of it, and the devices that mirror it; and what was invalidated so far.

    mm-tlb

    Example: mm-tlb"""

    name = "mm-tlb"

    def run(self, args: argparse.Namespace) -> None:
        tlb = roots.system()["tlb"]
        by_root = {own.root: own for own in space.spaces()}
        progress = rust.per_cpu(tlb["generations"]["__0"])
        with machine.each_cpu() as cpus:
            for number, cpu in enumerate(cpus):
                cpu.switch()
                attempt(f"cpu {number}", lambda: _show_cpu(number, by_root, progress[number]))
        generation = rust.scalar(tlb["spaces"]["generation"])
        for own in bounded(space.spaces()):
            attempt(f"mm {own.number}", lambda: _show_space(own, generation))
        totals = counters.events()
        print("  " + ", ".join(f"{name} {totals[name]}" for name in EVENTS if name in totals))


def _show_cpu(number: int, by_root: dict[int, space.Space], progress: gdb.Value) -> None:
    started, completed = rust.scalar(progress["started"]), rust.scalar(progress["completed"])
    state = f"invalidation {started} complete" if completed == started else (
        f"corrupt: {completed} complete, {started} started" if completed > started else
        f"invalidation {started} started, {completed} complete"
    )
    print(f"  cpu {number}: {_user_half(by_root)}; {state}")


def _show_space(own: space.Space, generation: int) -> None:
    asid, cpus = own.residency()
    ran_on = [str(cpu) for cpu in range(32) if cpus >> cpu & 1]
    if ran_on:
        # An ASID of an earlier generation may be somebody else's by now: it is not used again.
        old = "" if own.asid_generation == generation else f" of generation {own.asid_generation}, now {generation}"
        print(f"  mm {own.number}: ASID {asid}{old}, ran on cpu {', '.join(ran_on)}")
    for mirror in own.mirrors():
        print(f"  mm {own.number}: {mirror}")


def _user_half(by_root: dict[int, space.Space]) -> str:
    """Says what the selected CPU translates user addresses with."""
    asid, table = space.current()
    if asid == 0:
        return "no address space"
    if table not in by_root:
        return f"ASID {asid}, table {table:#x}: of no address space that lives"
    own = by_root[table]
    known, _ = own.residency()
    wrong = "" if known == asid else f", corrupt: its ASID is {known}"
    return f"mm {own.number}, ASID {asid}, root table {table:#x}{wrong}"


MmTlb()
