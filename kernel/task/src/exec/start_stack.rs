// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file builds what a program finds on its stack (Linux: fs/binfmt_elf.c,
//! `create_elf_tables`; fs/exec.c).
//!
//! ```text
//! top  8 bytes of 0
//!      the path it was executed by
//!      environment strings
//!      argument strings
//!      a random gap
//!      "aarch64", 16 random bytes
//!      auxiliary vector, ended by AT_NULL
//!      pointers to environment strings, 0
//!      pointers to argument strings, 0
//! sp   number of arguments
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use abi::{Errno, auxv, elf::Phdr, sigframe, time};
use base::PAGE_SIZE;

/// Most bytes of one string, with the zero at its end (MAX_ARG_STRLEN).
pub const MAX_STRING: usize = 32 * PAGE_SIZE;
/// Bytes of strings and pointers that are always allowed (ARG_MAX).
const MIN_TOTAL: u64 = 128 << 10;
/// Bytes of strings and pointers that are never exceeded: 3/4 of Linux's _STK_LIM.
const MAX_TOTAL: u64 = (8 << 20) / 4 * 3;
const PLATFORM: &[u8] = b"aarch64\0";

/// Strings of a program; none has a zero byte in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Strings {
    /// Arguments.
    pub args: Vec<Vec<u8>>,
    /// Environment.
    pub env: Vec<Vec<u8>>,
    /// The path the program was executed by: AT_EXECFN.
    pub path: Vec<u8>,
}

/// The parts of the auxiliary vector that differ between programs and machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuxValues {
    /// AT_HWCAP and AT_HWCAP2.
    pub hwcaps: (u64, u64),
    /// AT_UID, AT_EUID, AT_GID, AT_EGID.
    pub ids: [u32; 4],
    /// AT_PHDR.
    pub headers: u64,
    /// AT_PHNUM.
    pub nr_headers: u16,
    /// AT_BASE: where the dynamic linker is; 0 without one.
    pub interpreter_base: u64,
    /// AT_ENTRY.
    pub entry: u64,
    /// What AT_RANDOM points to.
    pub random: [u8; 16],
}

/// The first bytes of a stack, and where things are in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartStack {
    /// The stack pointer to start with: the address of the first byte; 16-byte aligned.
    pub sp: u64,
    /// From `sp` to the top.
    pub bytes: Vec<u8>,
    /// Addresses of argument strings, for /proc.
    pub args: Range<u64>,
    /// Addresses of environment strings, for /proc.
    pub env: Range<u64>,
}

impl Strings {
    /// Checks the limits, and gives a program without arguments an empty one, as Linux does.
    /// `stack_limit` is RLIMIT_STACK.
    ///
    /// # Errors
    ///
    /// E2BIG when a string or all of them are too long.
    pub fn prepare(mut self, stack_limit: u64) -> Result<Self, Errno> {
        if self.args.is_empty() {
            self.args.push(Vec::new());
        }
        let limit = (stack_limit / 4).clamp(MIN_TOTAL, MAX_TOTAL);
        let is_long = self.args.iter().chain(&self.env).any(|string| string.len() >= MAX_STRING);
        let pointers = 8 * (self.args.len() + self.env.len());
        let is_big = (pointers + self.total_size()) as u64 > limit;
        if is_long || is_big { Err(Errno::E2BIG) } else { Ok(self) }
    }

    fn total_size(&self) -> usize {
        let strings = self.args.iter().chain(&self.env);
        8 + self.path.len() + 1 + strings.map(|string| string.len() + 1).sum::<usize>()
    }
}

/// Builds the first bytes of a stack that ends at `top`. `gap_bytes` are left free below the
/// strings.
///
/// # Errors
///
/// ENOMEM.
pub fn build(
    strings: &Strings,
    aux: &AuxValues,
    top: u64,
    gap_bytes: u64,
) -> Result<StartStack, Errno> {
    let args_start = top - strings.total_size() as u64;
    let env_start = args_start + len_of(&strings.args);
    let path = env_start + len_of(&strings.env);
    let platform = (args_start - gap_bytes - PLATFORM.len() as u64) & !15;
    let random = platform - 16;

    let vector = aux_vector(aux, random, path, platform);
    let nr_words = 1 + strings.args.len() + 1 + strings.env.len() + 1 + vector.len();
    let sp = (random - 8 * nr_words as u64) & !15;

    let mut image = Image::new((top - sp) as usize)?;
    image.word(strings.args.len() as u64);
    image.pointers(&strings.args, args_start);
    image.pointers(&strings.env, env_start);
    vector.iter().for_each(|&word| image.word(word));
    image.skip_to(random - sp);
    image.put(&aux.random);
    image.put(PLATFORM);
    image.skip_to(args_start - sp);
    for string in strings.args.iter().chain(&strings.env).chain([&strings.path]) {
        image.put(string);
        image.put(&[0]);
    }
    Ok(StartStack { sp, bytes: image.bytes, args: args_start..env_start, env: env_start..path })
}

fn len_of(strings: &[Vec<u8>]) -> u64 {
    strings.iter().map(|string| string.len() as u64 + 1).sum()
}

fn aux_vector(aux: &AuxValues, random: u64, path: u64, platform: u64) -> [u64; 44] {
    let [uid, euid, gid, egid] = aux.ids;
    let entries = [
        (auxv::AT_MINSIGSTKSZ, sigframe::SIGNAL_MINSIGSTKSZ),
        (auxv::AT_HWCAP, aux.hwcaps.0),
        (auxv::AT_PAGESZ, PAGE_SIZE as u64),
        (auxv::AT_CLKTCK, time::USER_HZ),
        (auxv::AT_PHDR, aux.headers),
        (auxv::AT_PHENT, Phdr::SIZE as u64),
        (auxv::AT_PHNUM, aux.nr_headers.into()),
        (auxv::AT_BASE, aux.interpreter_base),
        (auxv::AT_FLAGS, 0),
        (auxv::AT_ENTRY, aux.entry),
        (auxv::AT_UID, uid.into()),
        (auxv::AT_EUID, euid.into()),
        (auxv::AT_GID, gid.into()),
        (auxv::AT_EGID, egid.into()),
        (auxv::AT_SECURE, 0),
        (auxv::AT_RANDOM, random),
        (auxv::AT_HWCAP2, aux.hwcaps.1),
        (auxv::AT_HWCAP3, 0),
        (auxv::AT_HWCAP4, 0),
        (auxv::AT_EXECFN, path),
        (auxv::AT_PLATFORM, platform),
        (auxv::AT_NULL, 0),
    ];
    core::array::from_fn(|word| {
        let (key, value) = entries[word / 2];
        if word % 2 == 0 { key } else { value }
    })
}

/// The bytes of the stack, written upwards from the stack pointer.
struct Image {
    bytes: Vec<u8>,
    at: usize,
}

impl Image {
    fn new(len: usize) -> Result<Self, Errno> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(len, 0);
        Ok(Self { bytes, at: 0 })
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn word(&mut self, word: u64) {
        self.put(&word.to_le_bytes());
    }

    /// Writes the addresses of strings that stand one behind the other, and a 0.
    fn pointers(&mut self, strings: &[Vec<u8>], mut at: u64) {
        for string in strings {
            self.word(at);
            at += string.len() as u64 + 1;
        }
        self.word(0);
    }

    fn skip_to(&mut self, offset: u64) {
        self.at = offset as usize;
    }
}
