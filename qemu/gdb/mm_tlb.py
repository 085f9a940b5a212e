# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-tlb`: which address space each CPU uses, and invalidations that are not complete."""

import argparse

from granule import counters, machine, space
from granule.command import Command, attempt, bounded

# TTBR0_EL1: ASID in bits 63:48, table in bits 47:1 (Arm ARM D24.2.200).
TABLE = (1 << 48) - 2
EVENTS = ("tlbi_page", "tlbi_range", "tlbi_asid", "tlb_dsb", "tlb_elided")


class MmTlb(Command):
    """Show the ASID and root table that each CPU uses, address spaces in which a batch of reclaim has issued
    invalidations and not completed them, and what was invalidated so far.

    mm-tlb

    Example: mm-tlb"""

    name = "mm-tlb"

    def run(self, args: argparse.Namespace) -> None:
        roots = {own.number: own.root for own in space.spaces()}
        with machine.each_cpu() as cpus:
            for number, cpu in enumerate(cpus):
                cpu.switch()
                attempt(f"cpu {number}", lambda: print(f"  cpu {number}: {_user_half(roots)}"))
        for own in bounded(space.spaces()):
            opened, closed = own.tickets()
            if opened != closed:
                print(f"  mm {own.number}: {opened - closed} batches issued and not complete")
        totals = counters.events()
        print("  " + ", ".join(f"{name} {totals[name]}" for name in EVENTS if name in totals))


def _user_half(roots: dict[int, int]) -> str:
    """Says what the selected CPU translates user addresses with."""
    value = machine.register("TTBR0_EL1")
    asid, table = value >> space.ASID_SHIFT, (value & TABLE) >> machine.PAGE_SHIFT
    if asid == 0:
        return "no address space"
    if asid not in roots:
        return f"ASID {asid}, table {table:#x}: of no address space that lives"
    wrong = "" if roots[asid] == table else f", corrupt: its root is {roots[asid]:#x}"
    return f"mm {asid} (ASID), root table {table:#x}{wrong}"


MmTlb()
