# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file runs in gdb for tests/src/debugger.rs: it runs commands, with their errors among their output,
and knows the addresses that the program `picture` has printed to the guest's serial line."""

import pathlib

import gdb

SUFFIX = {"mapped": "pfn", "swapped": "slot"}


def run(command: str) -> None:
    """Runs a command behind a line that names it."""
    print(f"@@@ {command}", flush=True)
    try:
        print(gdb.execute(command, to_string=True), end="", flush=True)
    except gdb.error as error:
        print(error, flush=True)


def know(serial: str) -> None:
    """Makes convenience variables of what the program printed.

    picture: mapped tagged 0xffffa40b6000 0x40097   $tagged = 0xffffa40b6000, $tagged_pfn = 0x40097
    picture: swapped raw 0xffffa40b4000 23          $raw = 0xffffa40b4000, $raw_slot = 23
    """
    for line in pathlib.Path(serial).read_text("utf-8", "replace").splitlines():
        match line.split():
            case ["picture:", ("mapped" | "swapped") as kind, name, address, place]:
                gdb.set_convenience_variable(name, gdb.Value(int(address, 16)))
                gdb.set_convenience_variable(f"{name}_{SUFFIX[kind]}", gdb.Value(int(place, 0)))
            case ["picture:", "untouched", address]:
                gdb.set_convenience_variable("untouched", gdb.Value(int(address, 16)))
