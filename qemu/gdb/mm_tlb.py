# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-tlb`: which address space each CPU uses, and where each has run."""

import argparse

from granule import counters, machine, space
from granule.command import Command, attempt, bounded

EVENTS = ("tlbi_page", "tlbi_range", "tlbi_asid", "tlbi_local", "tlb_dsb", "tlb_elided")


class MmTlb(Command):
    """Show the ASID and root table that each CPU uses, the CPUs that may have translations of each address
    space, and what was invalidated so far.

    mm-tlb

    Example: mm-tlb"""

    name = "mm-tlb"

    def run(self, args: argparse.Namespace) -> None:
        roots = {own.root: own for own in space.spaces()}
        with machine.each_cpu() as cpus:
            for number, cpu in enumerate(cpus):
                cpu.switch()
                attempt(f"cpu {number}", lambda: print(f"  cpu {number}: {_user_half(roots)}"))
        for own in bounded(space.spaces()):
            asid, cpus = own.residency()
            ran_on = [str(cpu) for cpu in range(32) if cpus >> cpu & 1]
            if ran_on:
                print(f"  mm {own.number}: ASID {asid}, ran on cpu {', '.join(ran_on)}")
        totals = counters.events()
        print("  " + ", ".join(f"{name} {totals[name]}" for name in EVENTS if name in totals))


def _user_half(roots: dict[int, space.Space]) -> str:
    """Says what the selected CPU translates user addresses with."""
    asid, table = space.current()
    if asid == 0:
        return "no address space"
    if table not in roots:
        return f"ASID {asid}, table {table:#x}: of no address space that lives"
    own = roots[table]
    known, _ = own.residency()
    wrong = "" if known == asid else f", corrupt: its ASID is {known}"
    return f"mm {own.number}, ASID {asid}, root table {table:#x}{wrong}"


MmTlb()
