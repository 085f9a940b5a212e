// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file has gdb's commands decode entries and tag records that the kernel's own code encodes: the
//! bits are written down twice, and must be the same.

use std::process::{Command, Stdio};

use base::Pfn;
use hal::PageTags;
use libtest_mimic::Failed;
use pgtable::{AreaId, Entry, MemType, NonPresent, Prot, Pte, SwapEntry, TablePte};
use xtask::need;
use xtask::scratch::Scratch;
use xtask::workspace;

/// A line for `tests/gdb/decode.py`, and the one that it prints.
type Case = (String, String);

/// Compares the two.
///
/// # Errors
///
/// When they differ, or gdb cannot be started.
pub fn agrees() -> Result<(), Failed> {
    let cases: Vec<Case> = entries().into_iter().chain(records()).collect();
    let mut files = Scratch::new()?;
    let path = files.file("cases");
    std::fs::write(&path, cases.iter().map(|(input, _)| format!("{input}\n")).collect::<String>())?;
    let gdb = need::find_gdb().ok_or("no gdb for arm64")?;
    let mut command = Command::new(gdb);
    command.args(["-nx", "-batch"]).stdin(Stdio::null());
    for script in ["qemu/gdb/load.py", "tests/gdb/decode.py"] {
        command.arg("-x").arg(workspace::root().join(script));
    }
    command.args(["-ex", &format!("python decode({:?})", path.display().to_string())]);
    let output = command.output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = printed.lines().collect();
    if lines.len() != cases.len() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Failed::from(format!("{} of {} lines: {errors}", lines.len(), cases.len())));
    }
    for ((input, expected), line) in cases.iter().zip(lines) {
        if expected != line {
            return Err(Failed::from(format!("{input}: expected {expected}, got {line}")));
        }
    }
    Ok(())
}

fn entry_case(level: u32, raw: u64, expected: String) -> Case {
    (format!("entry {level} {raw:#x}"), expected)
}

fn entries() -> Vec<Case> {
    let mut cases: Vec<Case> = (0..4).map(|level| entry_case(level, 0, "empty".into())).collect();
    let table = TablePte::new(Pfn::new(0x4_0097));
    cases.extend((0..3).map(|level| entry_case(level, table.raw(), "table 0x40097".into())));
    for prot in (0..8).map(Prot::from_bits_truncate) {
        for mem in [MemType::Normal, MemType::Tagged] {
            let pte = Pte::new(Pfn::new(0xf_fe00), prot, mem);
            cases.extend(states(pte).into_iter().flat_map(|pte| present(pte, prot)));
        }
    }
    for bits in 0..8 {
        cases.extend(non_present(bits));
    }
    for raw in [31 << 6, 1 << 52 | 3 << 6, 29 << 6 | 1 << 12] {
        assert!(matches!(Entry::decode(raw), Entry::Corrupt(_)), "{raw:#x}");
        cases.push(entry_case(3, raw, format!("corrupt {raw:#018x}")));
    }
    cases
}

fn states(pte: Pte) -> [Pte; 10] {
    let special = pte.special();
    [
        pte,
        pte.old(),
        pte.dirty(),
        pte.clean(),
        pte.contiguous(),
        special,
        pte.frozen(),
        pte.on_device(pte.pfn()),
        pte.device_exclusive(),
        pte.dirty().write_protected(),
    ]
}

/// Makes the cases of an entry that maps a page, and a block if it can.
fn present(pte: Pte, prot: Prot) -> Vec<Case> {
    let words = [
        (!pte.is_valid(), "not-valid"),
        (pte.is_young(), "young"),
        (pte.is_dirty(), "dirty"),
        (pte.mem_type() == MemType::Tagged, "tagged"),
        (pte.is_contiguous(), "contiguous"),
        (pte.is_special(), "special"),
        (pte.is_frozen(), "frozen"),
        (pte.is_on_device(), "device-private"),
        (pte.is_device_exclusive(), "device-exclusive"),
    ];
    let flag = |is_set, letter| if is_set { letter } else { '-' };
    // Who may access at all may read.
    let rights: String = [
        flag(!prot.is_empty(), 'r'),
        flag(pte.is_writable(), 'w'),
        flag(prot.contains(Prot::EXEC), 'x'),
    ]
    .into_iter()
    .collect();
    let state: String =
        words.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| format!(" {word}")).collect();
    let said = format!("{:#x} {rights}{state}", pte.pfn().get());
    let mut cases = vec![entry_case(3, pte.raw(), format!("page {said}"))];
    if !pte.is_contiguous() {
        cases.push(entry_case(2, pte.block(), format!("block {said}")));
    }
    cases
}

fn non_present(bits: u8) -> Vec<Case> {
    let exclusive = bits & 1 != 0;
    let slot = 1000 + u32::from(bits);
    let area = AreaId::new(usize::from(bits)).expect("an area");
    let raw = |what: NonPresent| what.encode();
    vec![
        entry_case(
            3,
            raw(NonPresent::Swap { entry: SwapEntry { area, slot }, exclusive }),
            format!("swap area {bits} slot {slot}{}", if exclusive { " exclusive" } else { "" }),
        ),
        entry_case(3, raw(NonPresent::Poison), "poison".into()),
    ]
}

/// Makes records of all kinds and sizes: of objects of each size, with headers and without, and of runs.
fn records() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut seed = 1;
    for size in 1..128 {
        for phase in [0, 1, size / 2] {
            for header in [false, true] {
                cases.push(record(&objects(size, phase, header, &mut seed)));
            }
        }
    }
    for nr_runs in 1..140 {
        let starts: Vec<usize> = (0..nr_runs).map(|_| next(&mut seed) as usize % 256).collect();
        let has_common = nr_runs % 2 == 0;
        let tag_of = |granule| {
            let run = starts.iter().filter(|start| **start <= granule).count();
            if has_common && run % 2 == 0 { 3 } else { (run * 7 % 16) as u8 }
        };
        cases.push(record(&(0..256).map(tag_of).collect::<Vec<u8>>()));
    }
    cases
}

/// Returns pseudo-random numbers (Knuth's MMIX constants).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 40
}

fn objects(size: usize, phase: usize, header: bool, seed: &mut u64) -> Vec<u8> {
    let mut tag = next(seed) as u8 & 0xf;
    let tag_of = |granule: usize| {
        let is_start = granule % size == phase % size;
        if is_start {
            tag = next(seed) as u8 & 0xf;
        }
        if is_start && header { 0 } else { tag }
    };
    (0..256).map(tag_of).collect()
}

fn record(granules: &[u8]) -> Case {
    let mut tags = PageTags::ZERO;
    for (granule, tag) in granules.iter().enumerate() {
        tags.0[granule / 16] |= u64::from(*tag) << (granule % 16 * 4);
    }
    let record = mm::tag_codec::encode(&tags);
    let words: String = record.words().iter().map(|word| format!(" {word:#x}")).collect();
    let shape = record.shape();
    let digits = granules.iter().map(|tag| format!("{tag:x}")).collect();
    (format!("tags {} {}{words}", shape.kind as u8, shape.arg), digits)
}
