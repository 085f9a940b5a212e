// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the start stack by reading it as a C library does.

use abi::{Errno, auxv};
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use crate::exec::start_stack::{AuxValues, MAX_STRING, StartStack, Strings, build};

const TOP: u64 = 1 << 48;

fn strings(args: &[&str], env: &[&str]) -> Strings {
    let owned = |list: &[&str]| list.iter().map(|text| text.as_bytes().to_vec()).collect();
    Strings { args: owned(args), env: owned(env), path: b"/bin/prog".to_vec() }
}

/// What a program finds.
struct Found {
    args: Vec<String>,
    env: Vec<String>,
    aux: BTreeMap<u64, u64>,
}

fn text(stack: &StartStack, at: u64) -> String {
    let bytes = &stack.bytes[(at - stack.sp) as usize..];
    let len = bytes.iter().position(|&byte| byte == 0).expect("a zero");
    String::from_utf8(bytes[..len].to_vec()).unwrap()
}

fn read(stack: &StartStack) -> Found {
    let mut words = stack
        .bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect::<Vec<_>>()
        .into_iter();
    let nr_args = words.next().unwrap();
    let args = (0..nr_args).map(|_| text(stack, words.next().unwrap())).collect();
    assert_eq!(words.next(), Some(0));
    let env = words.by_ref().take_while(|&word| word != 0).map(|at| text(stack, at)).collect();
    let mut aux = BTreeMap::new();
    loop {
        let (key, value) = (words.next().unwrap(), words.next().unwrap());
        if key == auxv::AT_NULL {
            break;
        }
        assert_eq!(aux.insert(key, value), None, "key {key} twice");
    }
    Found { args, env, aux }
}

#[test]
fn a_program_finds_what_it_was_given() {
    let aux = AuxValues {
        hwcaps: (0x1234, 0x40_0000),
        ids: [1, 2, 3, 4],
        headers: 0x40_0040,
        nr_headers: 5,
        interpreter_base: 0,
        entry: 0x40_0200,
        random: *b"0123456789abcdef",
    };
    for (args, gap) in [(&["a"][..], 0), (&["prog", "", "three words here"], 0), (&["x"; 9], 8176)]
    {
        for env in [&[][..], &["HOME=/", "A="]] {
            let stack = build(&strings(args, env), &aux, TOP, gap).unwrap();
            assert_eq!(stack.sp % 16, 0);
            assert_eq!(stack.sp + stack.bytes.len() as u64, TOP);
            let found = read(&stack);
            assert_eq!(found.args, args);
            assert_eq!(found.env, env);
            let value = |key| found.aux[&key];
            assert_eq!(text(&stack, value(auxv::AT_EXECFN)), "/bin/prog");
            assert_eq!(text(&stack, value(auxv::AT_PLATFORM)), "aarch64");
            let random = (value(auxv::AT_RANDOM) - stack.sp) as usize;
            assert_eq!(&stack.bytes[random..random + 16], b"0123456789abcdef");
            assert_eq!(value(auxv::AT_PHDR), 0x40_0040);
            assert_eq!((value(auxv::AT_PHNUM), value(auxv::AT_PHENT)), (5, 56));
            assert_eq!((value(auxv::AT_HWCAP), value(auxv::AT_HWCAP2)), (0x1234, 0x40_0000));
            assert_eq!((value(auxv::AT_PAGESZ), value(auxv::AT_ENTRY)), (4096, 0x40_0200));
            assert_eq!((value(auxv::AT_UID), value(auxv::AT_EUID)), (1, 2));
            assert_eq!((value(auxv::AT_GID), value(auxv::AT_EGID)), (3, 4));
            assert_eq!((value(auxv::AT_MINSIGSTKSZ), value(auxv::AT_SECURE)), (4720, 0));
            assert!(!found.aux.contains_key(&auxv::AT_SYSINFO_EHDR));
            // The range that /proc/self/cmdline shows.
            let shown =
                (stack.args.start - stack.sp) as usize..(stack.args.end - stack.sp) as usize;
            let joined = args.iter().map(|arg| String::from(*arg) + "\0").collect::<String>();
            assert_eq!(stack.bytes[shown], *joined.as_bytes());
            assert_eq!(stack.env.start, stack.args.end);
            assert_eq!(stack.bytes[stack.bytes.len() - 8..], [0; 8]);
        }
    }
}

#[test]
fn strings_are_bounded_one_by_one_and_together() {
    let with = |len: usize, nr: usize, stack_limit| {
        let arg = std::vec![b'x'; len];
        Strings { args: std::vec![arg; nr], ..strings(&[], &[]) }.prepare(stack_limit).map(drop)
    };
    let stack = 8 << 20;
    assert_eq!(with(MAX_STRING - 1, 1, stack), Ok(()));
    assert_eq!(with(MAX_STRING, 1, stack), Err(Errno::E2BIG));
    assert_eq!(with(MAX_STRING - 1, 15, stack), Ok(()));
    assert_eq!(with(MAX_STRING - 1, 16, stack), Err(Errno::E2BIG));
    // An empty string costs its pointer too.
    assert_eq!(with(0, 200_000, stack), Ok(()));
    assert_eq!(with(0, 240_000, stack), Err(Errno::E2BIG));
    // Not less than 128 KiB, not more than 6 MiB.
    assert_eq!(with(60_000, 2, 0), Ok(()));
    assert_eq!(with(100_000, 60, u64::MAX), Ok(()));
    assert_eq!(with(100_000, 63, u64::MAX), Err(Errno::E2BIG));
}

#[test]
fn no_arguments_become_an_empty_one() {
    assert_eq!(strings(&[], &["A=1"]).prepare(8 << 20).unwrap().args, [b""]);
}
