// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds where a row's instructions go: QEMU logs the PC of each, and they are counted by the
//! functions and files of the kernel (`cargo xtask bench --profile pageout/4K`).
//!
//! The program executes a hint before and behind what it measures (`tests/user/src/bin/bench/cost.rs`);
//! what is logged between the two counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, PipeReader};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use object::{Object, ObjectSection, SectionKind};

use super::result::Measured;
use super::rows::{Per, SECTIONS, SIZES, Section};
use crate::build;
use crate::error::Error;
use crate::guest::{Guest, Setup};
use crate::lines::Piece;
use crate::scratch::Scratch;
use crate::symbolize::Symbols;
use crate::watchdog::Limits;

/// The hints `hint #112` and `hint #113` (Arm ARM C6.2.127: the number is in bits 11:5).
const BEGIN: u32 = 0xd503_201f | 112 << 5;
const END: u32 = 0xd503_201f | 113 << 5;

/// Pages of the regions that the rows are measured on.
const NR_PAGES: f64 = 16384.0;

/// Kernel addresses have the topmost bit.
const KERNEL: u64 = 1 << 63;

/// What takes less than this for a page is not shown.
const LEAST_SHOWN: f64 = 0.5;

/// Instructions, by the PC at which they were executed.
type Counts = HashMap<u64, u64>;

/// Returns whether a name is that of a row that can be looked into: `pageout/4K`, `fault/2M+mte`.
pub fn is_row(name: &str) -> bool {
    let Some((row, kind)) = name.split_once('/') else { return false };
    let mut rows = SECTIONS.iter().filter(|section| section.cpus.is_none()).flat_map(|s| s.rows);
    let size = kind.strip_suffix("+mte").unwrap_or(kind);
    SIZES.contains(&size) && rows.any(|known| known.name == row && known.per == Per::Page)
}

/// Returns the kernel option that such a row needs.
pub fn kernel_arg(name: &str) -> Option<&'static str> {
    let row = name.split('/').next();
    let has_row = |section: &&Section| section.rows.iter().any(|known| Some(known.name) == row);
    SECTIONS.iter().find(has_row)?.kernel_arg
}

/// Boots the benchmark with one row, its setup in `setup`, and says where the instructions went.
///
/// # Errors
///
/// When the guest cannot be started, or does not get to its end.
pub fn profile(setup: &Setup, program: &str, limits: &Limits) -> Result<String, Error> {
    let marks = Marks::of(&build::user_program(program)?)?;
    let mut guest = Guest::prepare(setup, Scratch::new()?, None)?;
    let no_pipe = Error::file("make", Path::new("a pipe"));
    let (reader, writer) = std::io::pipe().map_err(no_pipe)?;
    // QEMU opens this process's end of the pipe by its name.
    let log = format!("/proc/{}/fd/{}", std::process::id(), writer.as_raw_fd());
    guest.log_instructions(Path::new(&log));
    let counting = thread::spawn(move || count(reader, &marks));
    let mut measured = Measured::default();
    let ending = guest.run(Stdio::null(), limits, &mut |piece| {
        let (Piece::Line(line) | Piece::Fragment(line)) = piece;
        measured.take(&String::from_utf8_lossy(&line));
    });
    drop(writer);
    let counts = counting.join().expect("it does not panic");
    let ending = ending?;
    if counts.is_empty() {
        return Err(Error::GuestFailed { guest: "granule", how: ending.to_string() });
    }
    Ok(report(&counts, &Symbols::of(&setup.kernel.elf)))
}

/// Where the hints are in the program.
struct Marks {
    begin: HashSet<u64>,
    end: HashSet<u64>,
}

impl Marks {
    fn of(program: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(program).map_err(Error::file("read", program))?;
        let mut marks = Self { begin: HashSet::new(), end: HashSet::new() };
        let Ok(file) = object::File::parse(&*bytes) else { return Ok(marks) };
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            let code = section.data().unwrap_or_default().as_chunks().0;
            for (at, word) in (section.address()..).step_by(4).zip(code) {
                match u32::from_le_bytes(*word) {
                    BEGIN => marks.begin.insert(at),
                    END => marks.end.insert(at),
                    _ => continue,
                };
            }
        }
        Ok(marks)
    }
}

/// Counts what is logged between the hints.
fn count(log: PipeReader, marks: &Marks) -> Counts {
    let mut log = BufReader::with_capacity(1 << 20, log);
    let (mut counts, mut line, mut is_counting) = (Counts::new(), Vec::new(), false);
    while log.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        if let Some(pc) = pc_of(&line) {
            if pc & KERNEL == 0 {
                is_counting =
                    (is_counting || marks.begin.contains(&pc)) && !marks.end.contains(&pc);
            }
            if is_counting {
                *counts.entry(pc).or_default() += 1;
            }
        }
        line.clear();
    }
    counts
}

/// Reads the PC of a line: `Trace 0: 0x7f3a [00000000/ffff800008001234/11/ff000000] name`.
fn pc_of(line: &[u8]) -> Option<u64> {
    let open = line.iter().position(|byte| *byte == b'[')?;
    let rest = &line[open..];
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let digits = str::from_utf8(rest.get(slash + 1..slash + 17)?).ok()?;
    line.starts_with(b"Trace").then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn report(counts: &Counts, symbols: &Symbols) -> String {
    let (mut functions, mut lines) = (BTreeMap::new(), BTreeMap::new());
    let mut total = 0;
    let both = |name: &str| (name.to_owned(), name.to_owned());
    for (pc, nr) in counts {
        let (function, line) = match pc & KERNEL {
            0 => both("(the program)"),
            _ => symbols.function_and_line(*pc).unwrap_or_else(|| both("(assembly)")),
        };
        *functions.entry(function).or_default() += nr;
        *lines.entry(line).or_default() += nr;
        total += nr;
    }
    let mut text = format!("{:8.1} instructions a page\n", total as f64 / NR_PAGES);
    for (title, counts) in [
        ("by function, what is inlined with its caller", functions),
        ("by line, what is inlined apart", lines),
    ] {
        let _ = write!(text, "\n{title}:\n\n{}", sorted(counts));
    }
    text
}

fn sorted(counts: BTreeMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, nr)| std::cmp::Reverse(*nr));
    let each = counts.into_iter().map(|(name, nr)| (name, nr as f64 / NR_PAGES));
    let shown = each.take_while(|(_, each)| *each >= LEAST_SHOWN);
    shown.map(|(name, each)| format!("{each:8.1}  {name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_with_their_kind_of_memory() {
        assert!(is_row("pageout/4K") && is_row("fault/2M+mte"));
        assert!(!is_row("pageout") && !is_row("pageout/8K") && !is_row("null_call/4K"));
        assert!(!is_row("fault_at_once/4K"), "each CPU has a PC");
    }

    #[test]
    fn the_pc_of_a_logged_instruction_is_read() {
        let line = b"Trace 0: 0x7f8e [0000000000000400/ffff8000080a1234/00000000/ff200000] \n";
        assert_eq!(pc_of(line), Some(0xffff_8000_080a_1234));
        assert_eq!(pc_of(b"Taking exception 2 [SVC] on CPU 0\n"), None);
    }

    #[test]
    fn what_is_between_the_hints_counts() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        for pc in ["1", "10", "8000000000000004", "2", "20", "3"] {
            let line = format!("Trace 0: 0x1 [0/{pc:0>16}/0/0] x\n");
            std::io::Write::write_all(&mut writer, line.as_bytes()).expect("room");
        }
        drop(writer);
        let marks = Marks { begin: HashSet::from([0x10]), end: HashSet::from([0x20]) };
        let expected = Counts::from([(0x10, 1), (KERNEL | 4, 1), (2, 1)]);
        assert_eq!(count(reader, &marks), expected);
    }
}
