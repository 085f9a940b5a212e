# SPDX-License-Identifier: MIT OR Apache-2.0
"""This file takes Rust's own types apart, by what debug information says of them.

It knows the names of fields inside the standard library and the crates of locks, of the toolchain that
rust-toolchain.toml names; all of them are here.
"""

from __future__ import annotations

from collections.abc import Iterator

import gdb

# Most entries of a tree that are followed: more than any tree of this kernel has.
MOST = 1 << 20


class Malformed(gdb.error):
    """A value that no Rust program makes."""


def scalar(value: gdb.Value) -> int:
    """Returns the number in a newtype, an atomic or a cell, however many are around it."""
    while True:
        kind = value.type.strip_typedefs()
        if kind.code == gdb.TYPE_CODE_UNION:
            # MaybeUninit.
            value = value["value"]
        elif kind.code == gdb.TYPE_CODE_STRUCT:
            fields = [field for field in kind.fields() if field.type.sizeof != 0]
            if len(fields) != 1:
                raise Malformed(f"{kind} is not one number")
            value = value[fields[0]]
        else:
            return int(value)


def variant(value: gdb.Value) -> tuple[str, gdb.Value]:
    """Returns the name of an enum's variant, and what it holds."""
    # gdb has taken out the variants that the value is not; the discriminant has no name.
    for field in value.type.fields():
        if field.name is not None:
            return field.name, value[field]
    raise Malformed(f"{value.type}: no variant")


def option(value: gdb.Value) -> gdb.Value | None:
    """Returns what an Option holds."""
    name, content = variant(value)
    if name not in ("Some", "None"):
        raise Malformed(f"{value.type} is no Option")
    return content["__0"] if name == "Some" else None


def locked(lock: gdb.Value) -> gdb.Value:
    """Returns what a lock guards, whoever holds it: SpinLock, RwSpinLock, RwSleepLock."""
    if any(field.name == "cell" for field in lock.type.fields()):
        lock = lock["cell"]
    return lock["inner"]["data"]["value"]


def arc(value: gdb.Value) -> gdb.Value:
    """Returns what an Arc points to."""
    return value["ptr"]["pointer"].dereference()["data"]


def weak(value: gdb.Value) -> gdb.Value | None:
    """Returns what a Weak points to, while there is an Arc."""
    pointer = value["ptr"]["pointer"]
    # A Weak of nothing points to the last address.
    if int(pointer) == (1 << 64) - 1:
        return None
    inner = pointer.dereference()
    return inner["data"] if scalar(inner["strong"]) else None


def _element_type(value: gdb.Value) -> gdb.Type:
    return value.type.template_argument(0)


def vec(value: gdb.Value) -> list[gdb.Value]:
    """Returns the elements of a Vec."""
    start = scalar(value["buf"]["inner"]["ptr"])
    length = int(value["len"])
    if length > MOST:
        raise Malformed(f"a Vec of {length} elements")
    pointer = gdb.Value(start).cast(_element_type(value).pointer())
    return [(pointer + index).dereference() for index in range(length)]


def slice_len(value: gdb.Value) -> int:
    """Returns the length of a slice, boxed or borrowed."""
    return int(value["length"])


def slice_at(value: gdb.Value, index: int) -> gdb.Value:
    """Returns an element of a slice, boxed or borrowed."""
    if not 0 <= index < slice_len(value):
        raise Malformed(f"index {index} of a slice of {slice_len(value)}")
    return (value["data_ptr"] + index).dereference()


def elements(value: gdb.Value) -> Iterator[gdb.Value]:
    """Yields the elements of a slice, boxed or borrowed."""
    for index in range(min(slice_len(value), MOST)):
        yield slice_at(value, index)


def text(value: gdb.Value) -> str:
    """Returns a &str."""
    data = gdb.selected_inferior().read_memory(int(value["data_ptr"]), min(int(value["length"]), 4096))
    return data.tobytes().decode("utf-8", "replace")


def per_cpu(value: gdb.Value) -> list[gdb.Value]:
    """Returns the values of all CPUs."""
    return [slot["__0"] for slot in elements(value["slots"])]


def once_box(value: gdb.Value) -> gdb.Value | None:
    """Returns what a OnceBox was set to."""
    pointer = value["__0"]["inner"]["p"]["value"]
    return pointer.dereference() if int(pointer) else None


def once_cell(value: gdb.Value) -> gdb.Value | None:
    """Returns what a OnceCell was set to."""
    once = value["__0"]
    # spin::once::Status::Complete.
    is_set = scalar(once["status"]) == 2
    return _inside(once["data"], value.type.template_argument(0)) if is_set else None


def _inside(wrapper: gdb.Value, kind: gdb.Type) -> gdb.Value:
    """Returns what is in wrappers that add nothing to it: MaybeUninit, ManuallyDrop."""
    return wrapper.address.cast(kind.pointer()).dereference()


def btree(value: gdb.Value) -> Iterator[tuple[gdb.Value, gdb.Value]]:
    """Yields keys and values of a BTreeMap, in order."""
    root = option(value["root"])
    kinds = value.type.template_argument(0), value.type.template_argument(1)
    if root is not None:
        yield from _subtree(root["node"]["pointer"], int(root["height"]), kinds)


def _subtree(
    leaf: gdb.Value, height: int, kinds: tuple[gdb.Type, gdb.Type]
) -> Iterator[tuple[gdb.Value, gdb.Value]]:
    """Yields what is in and below a node. An inner node starts with a leaf, and its edges follow."""
    node = leaf.dereference()
    length = int(node["len"])
    if height > 12 or length > 11:
        raise Malformed(f"a tree node of height {height} with {length} keys")
    for index in range(length + 1):
        if height:
            # gdb leaves the padding out of the size of a type with enums in it.
            behind = int(leaf) + (node.type.sizeof + 7) // 8 * 8
            edges = gdb.Value(behind).cast(leaf.type.pointer())
            yield from _subtree((edges + index).dereference(), height - 1, kinds)
        if index < length:
            yield _inside(node["keys"][index], kinds[0]), _inside(node["vals"][index], kinds[1])
