# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file loads the commands into gdb: `source qemu/gdb/load.py`, which `cargo xtask gdb` does.

A command is a file mm_*.py beside this one; what they share is in granule/. gdb 13 and later, and
what they need of the kernel is in kernel/src/debugger.rs.
"""

import importlib
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
# The source tree stays as it is.
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))

for path in sorted(HERE.glob("mm_*.py")):
    importlib.import_module(path.stem)
