// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the first lines of scripts.

use abi::Errno;

use crate::exec::HEAD_SIZE;
use crate::exec::script::{Script, parse};

#[test]
fn the_interpreter_gets_the_rest_of_the_line_as_one_argument() {
    type Case<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);
    let cases: [Case<'_>; 7] = [
        (b"#!/bin/sh\necho", b"/bin/sh", None),
        (b"#! \t/bin/sh\t \n", b"/bin/sh", None),
        (b"#!/bin/env -S  a b \nx", b"/bin/env", Some(b"-S  a b")),
        (b"#!/bin/sh", b"/bin/sh", None),
        (b"#!/bin/sh -x", b"/bin/sh", Some(b"-x")),
        (b"#!/bin/sh\0-x\n", b"/bin/sh", None),
        (b"#!s\n", b"s", None),
    ];
    for (head, interpreter, argument) in cases {
        assert_eq!(parse(head), Ok(Some(Script { interpreter, argument })), "{head:?}");
    }
}

#[test]
fn a_line_that_names_nobody_is_enoexec() {
    for head in [b"#!".as_slice(), b"#!\n/bin/sh", b"#! \t \n", b"#!   "] {
        assert_eq!(parse(head), Err(Errno::ENOEXEC), "{head:?}");
    }
    for head in [b"".as_slice(), b"#", b"# !/bin/sh\n", b"\x7fELF"] {
        assert_eq!(parse(head), Ok(None), "{head:?}");
    }
}

#[test]
fn a_name_cut_by_the_end_of_the_head_is_enoexec_an_argument_is_only_shortened() {
    let mut head = [b'a'; HEAD_SIZE];
    head[..3].copy_from_slice(b"#!/");
    assert_eq!(parse(&head), Err(Errno::ENOEXEC));
    head[100] = b' ';
    let script = parse(&head).unwrap().unwrap();
    assert_eq!((script.interpreter.len(), script.argument.unwrap().len()), (98, 155));
    assert_eq!(parse(&head[..50]).unwrap().unwrap().interpreter.len(), 48);
}
