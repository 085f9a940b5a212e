# SPDX-License-Identifier: MIT OR Apache-2.0
"""This package is what the commands of qemu/gdb share: the kernel's structures, seen from outside.

| what | where |
|---|---|
| a command: arguments, help, errors, limits | command.py |
| registers and memory of a stopped machine | machine.py |
| Rust's own types: Option, Arc, Vec, BTreeMap, locks | rust.py |
| where everything starts, names of bits | roots.py |
| entries of translation tables; walks | entry.py, walk.py |
| frame words, folios, reverse map | frame.py, folio.py |
| address spaces, areas | space.py |
| swap areas, slots, saved tags | swap.py, tag_codec.py |
| processes | process.py |
"""
