# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file finds processes and their threads (kernel/task/src/process, kernel/task/src/sched)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gdb

from . import roots, rust
from .command import Problem


@dataclass(frozen=True)
class Thread:
    """A thread: its number and name, the CPU it is on or was last, and what it sleeps for."""

    tid: int
    name: str
    cpu: int | None
    is_running: bool
    channel: int


@dataclass(frozen=True)
class Process:
    """A process in the tree."""

    pid: int
    parent: int
    has_ended: bool
    mm: gdb.Value
    threads: list[Thread]


def _thread(value: gdb.Value) -> Thread:
    tid = rust.scalar(value["tid"])
    raw = rust.locked(value["name"])
    name = bytes(int(raw[index]) for index in range(16)).split(b"\0")[0].decode("utf-8", "replace")
    pointer = rust.once_cell(value["kernel_thread"])
    if pointer is None:
        return Thread(tid, name, None, False, 0)
    running = pointer.dereference()
    is_running = rust.scalar(running["on_cpu"]) != 0
    channel = rust.scalar(running["channel"])
    return Thread(tid, name, rust.scalar(running["last_cpu"]), is_running, channel)


def _process(pid: int, node: gdb.Value) -> Process:
    value = rust.arc(node["process"])
    threads = [_thread(rust.arc(thread)) for thread in rust.vec(node["threads"])]
    has_ended = rust.option(node["ended"]) is not None
    mm = rust.arc(rust.locked(value["mm"]))
    return Process(pid, rust.scalar(node["parent"]), has_ended, mm, threads)


def processes() -> Iterator[Process]:
    """Yields the processes, by number."""
    tree = rust.locked(roots.kernel()["processes"]["tree"])
    for pid, node in rust.btree(tree["nodes"]):
        yield _process(int(pid), node)


def by_pid(wanted: int) -> Process:
    """Returns the process with a number."""
    found = next((process for process in processes() if process.pid == wanted), None)
    if found is None:
        raise Problem(f"there is no process {wanted}")
    return found
