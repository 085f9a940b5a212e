# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is `mm-ps`: processes, their threads, and what memory they have."""

import argparse

from granule import process
from granule.command import Command, attempt, bounded
from granule.process import Process, Thread
from granule.space import Space


class MmPs(Command):
    """List the processes with their address spaces, in pages, and their threads.

    mm-ps

    Example: mm-ps"""

    name = "mm-ps"

    def run(self, args: argparse.Namespace) -> None:
        print("  PID PPID  MM USERS   ANON  SHMEM   SWAP TABLES")
        for one in bounded(process.processes()):
            attempt(f"process {one.pid}", lambda: _show(one))


def _show(one: Process) -> None:
    own = Space(one.mm)
    gauges = " ".join(f"{own.gauge(name):6}" for name in ("anon", "shmem", "swap", "tables"))
    ended = " ended" if one.has_ended else ""
    print(f"{one.pid:5} {one.parent:4} {own.number:3} {own.users:5} {gauges}{ended}")
    for thread in bounded(one.threads):
        print(f"      {_line(thread)}")


def _line(thread: Thread) -> str:
    if thread.cpu is None:
        return f"thread {thread.tid} {thread.name}: has not run"
    state = "on" if thread.is_running else "not running, last on"
    return f"thread {thread.tid} {thread.name}: {state} cpu {thread.cpu}"


MmPs()
