// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the first line of a script (Linux: fs/binfmt_script.c).

use abi::Errno;

/// Scripts that may name scripts as their interpreters, one after the other; then ELOOP.
pub const MAX_DEPTH: usize = 5;

/// Who runs a script. The new arguments are the interpreter, the argument if there is one, the
/// path of the script, and the old arguments without the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Script<'a> {
    /// Path of the interpreter.
    pub interpreter: &'a [u8],
    /// All that follows it in the line, as one argument.
    pub argument: Option<&'a [u8]>,
}

/// Reads the head of a file: its first [`HEAD_SIZE`](super::HEAD_SIZE) bytes or all it has. Returns
/// `None` when it is no script.
///
/// # Errors
///
/// ENOEXEC when the line names nobody, or is too long to tell.
pub fn parse(head: &[u8]) -> Result<Option<Script<'_>>, Errno> {
    let Some(rest) = head.strip_prefix(b"#!") else { return Ok(None) };
    // A zero byte ends the line too: Linux works on a C string.
    let end = rest.iter().position(|&byte| byte == b'\n' || byte == 0);
    let line = trim(&rest[..end.unwrap_or(rest.len())]);
    let separator = line.iter().position(|&byte| is_blank(byte));
    let is_cut = end.is_none() && head.len() >= super::HEAD_SIZE;
    if line.is_empty() || is_cut && separator.is_none() {
        return Err(Errno::ENOEXEC);
    }
    let (interpreter, rest) = line.split_at(separator.unwrap_or(line.len()));
    let argument = Some(trim(rest)).filter(|argument| !argument.is_empty());
    Ok(Some(Script { interpreter, argument }))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn trim(mut line: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = line
        && is_blank(*first)
    {
        line = rest;
    }
    while let [rest @ .., last] = line
        && is_blank(*last)
    {
        line = rest;
    }
    line
}
