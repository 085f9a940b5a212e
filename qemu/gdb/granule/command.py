# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file is what a command is made of: arguments, help, errors, and an end to every list.

What a stopped machine has in memory may be wrong: that is why somebody is looking. A command says
what it could not make sense of, and goes on with the next thing where there is one.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

import gdb

from . import machine

T = TypeVar("T")


class Problem(Exception):
    """Something cannot be shown: what was asked for is not there, or memory makes no sense."""


class Limit(gdb.Parameter):
    """Most items of a list that an mm- command shows or follows.

    Example: set mm-limit 1000"""

    set_doc = "Set how many items of a list mm- commands show."
    show_doc = "Show how many items of a list mm- commands show."

    def __init__(self) -> None:
        super().__init__("mm-limit", gdb.COMMAND_DATA, gdb.PARAM_UINTEGER)
        self.value = 64

    def get_set_string(self) -> str:
        return ""

    def get_show_string(self, value: str) -> str:
        return f"mm- commands show {value} items of a list."


_LIMIT = Limit()


def limit() -> int:
    """Returns how many items of a list to show."""
    # "unlimited" still ends: no list of this kernel is longer, unless it is a circle.
    return _LIMIT.value or 1 << 24


def bounded(items: Iterable[T]) -> Iterator[T]:
    """Yields as many items as the limit allows, and says where it stopped."""
    iterator = iter(items)
    yield from itertools.islice(iterator, limit())
    if next(iterator, None) is not None:
        print(f"  ... more: set mm-limit is {limit()}")


def attempt(what: str, action: Callable[[], T]) -> T | None:
    """Runs one part of a command; what goes wrong in it is said, and the others go on."""
    try:
        return action()
    except (Problem, gdb.error, ArithmeticError, LookupError, ValueError) as error:
        print(f"  {what}: corrupt or unreadable: {error}")
        return None


class _Parser(argparse.ArgumentParser):
    """Arguments of a gdb command: errors end the command and not gdb."""

    def error(self, message: str) -> NoReturn:
        raise gdb.GdbError(f"{message}\n{self.format_usage().strip()}")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise gdb.GdbError(message or "")


def number(text: str) -> int:
    """Reads an argument that is a number for gdb: 0x1000, $x0, $pc + 8."""
    try:
        return int(gdb.parse_and_eval(text)) & (1 << 64) - 1
    except gdb.error as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error


class Command(gdb.Command):
    """A command of gdb. Its help is its docstring; subclasses say what its arguments are and run it."""

    name = ""

    def __init__(self) -> None:
        super().__init__(self.name, gdb.COMMAND_DATA)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments."""

    def run(self, args: argparse.Namespace) -> None:
        """Does what the command does."""
        raise NotImplementedError

    def invoke(self, argument: str, from_tty: bool) -> None:
        self.dont_repeat()
        parser = _Parser(prog=self.name, add_help=False)
        self.arguments(parser)
        args = parser.parse_args(gdb.string_to_argv(argument))
        try:
            with machine.kernel_view():
                self.run(args)
        except gdb.GdbError:
            raise
        except Problem as error:
            raise gdb.GdbError(f"{self.name}: {error}") from None
        except (gdb.error, ArithmeticError, LookupError, ValueError) as error:
            why = f"{self.name}: corrupt or unreadable: {error}"
            raise gdb.GdbError(why) from None


class FrameCommand(Command):
    """A command about the frame that is its one argument."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("pfn", type=number)
