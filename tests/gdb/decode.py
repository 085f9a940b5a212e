# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file runs in gdb, without a guest: it decodes what tests/src/decoding.rs has the kernel's own code
encode, a case to a line."""

import sys

from granule import entry, tag_codec


def decode(path: str) -> None:
    """Prints what each line of a file says."""
    for line in open(path, encoding="utf-8"):
        kind, *numbers = line.split()
        first, second, *words = [int(word, 0) for word in numbers]
        if kind == "entry":
            print(entry.decode(second, first))
        else:
            print("".join(f"{tag:x}" for tag in tag_codec.expand(first, second, words)))
    sys.stdout.flush()
