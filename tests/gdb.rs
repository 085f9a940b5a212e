// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness stops a guest and runs each of gdb's commands (`qemu/gdb`) on memory whose state the program
//! in the guest, `picture`, has printed.

use std::collections::BTreeMap;
use std::process::ExitCode;

use libtest_mimic::Failed;
use tests::debugger::{Picture, Session};
use tests::decoding;
use tests::harness::{self, Scenario};
use tests::lab::Lab;
use xtask::build::Variant;
use xtask::workspace;

const PREFIX: &str = "gdb";

const SCENARIOS: [Scenario; 5] = [
    Scenario { name: "commands_describe_the_picture", run: commands_describe_the_picture },
    Scenario { name: "user_code_is_looked_at_and_goes_on", run: user_code_goes_on },
    Scenario { name: "corrupt_structures_are_reported", run: corruption_is_reported },
    Scenario { name: "commands_before_boot_say_so", run: commands_before_boot_say_so },
    Scenario { name: "decoders_agree_with_the_kernel", run: |_, _| decoding::agrees() },
];

/// All commands, as an argument each could have them.
const COMMANDS: [&str; 10] = [
    "mm-pt $tagged",
    "mm-vma",
    "mm-folio $tagged_pfn",
    "mm-rmap $tagged_pfn",
    "mm-swap",
    "mm-tags $tagged",
    "mm-tlb",
    "mm-lru",
    "mm-ps",
    "mm-counters",
];

fn main() -> ExitCode {
    harness::run_scenarios(PREFIX, Lab::new(Variant::Plain), &SCENARIOS)
}

fn commands_describe_the_picture(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let pages =
        ["shared", "tagged", "folio", "block", "moved", "closed", "raw", "zeroes", "untouched"];
    let mut commands: Vec<String> = pages.iter().map(|page| format!("mm-pt ${page}")).collect();
    for page in ["shared", "tagged", "folio", "block", "moved"] {
        commands.push(format!("mm-folio ${page}_pfn"));
        commands.push(format!("mm-rmap ${page}_pfn"));
    }
    commands.extend(Picture::SAVED.map(|page| format!("mm-tags ${page}")));
    commands.extend(Picture::SAVED.map(|page| format!("mm-swap ${page}_slot")));
    let others = ["mm-vma $tagged", "mm-vma --pid 1", "mm-swap --used"];
    commands.extend(others.map(str::to_owned));
    commands.extend((0..16).map(tagged_pointer));
    commands.extend(COMMANDS.map(str::to_owned));
    for command in COMMANDS {
        let name = command.split(' ').next().unwrap_or(command);
        commands.push(format!("help {name}"));
    }
    let session = Session::at_stop(lab, cpus, &commands)?;
    translations_are_decoded(&session)?;
    folios_are_described(&session)?;
    slots_and_tags_are_found(&session)?;
    lists_are_shown(&session, cpus)?;
    for command in COMMANDS {
        let name = command.split(' ').next().unwrap_or(command);
        session.says(&format!("help {name}"), &[&format!("Example: {name}")])?;
    }
    session.was_harmless()
}

/// Returns the command for a pointer with a tag.
fn tagged_pointer(tag: u64) -> String {
    format!("mm-tags $tagged+{:#x}", tag << 56)
}

fn translations_are_decoded(session: &Session) -> Result<(), Failed> {
    let picture = &session.picture;
    for page in ["shared", "tagged", "folio", "block", "moved", "closed"] {
        let (address, pfn) = picture.mapped(page)?;
        let start = format!("{address:#x} in mm ");
        session.says(
            &format!("mm-pt ${page}"),
            &[&start, "L0[511]", &format!("frame {pfn:#x}: folio of")],
        )?;
    }
    let (address, _) = picture.mapped("folio")?;
    let run = format!("entry 3 of a run of 16 from {:#x}", address - 3 * 4096);
    session.says("mm-pt $folio", &["L3[3]", "contiguous", &run, "page 3 of 16"])?;
    session.says("mm-pt $block", &["L2[", ": block ", "rw-", "dirty", "page 5 of 512"])?;
    session.says("mm-pt $closed", &["--- not-valid"])?;
    session.says("mm-pt $untouched", &["L3[", ": empty"])?;
    for page in ["raw", "zeroes"] {
        let slot = picture.swapped(page)?.1;
        let entry = format!("swap area 0 slot {slot}");
        session.says(
            &format!("mm-pt ${page}"),
            &[&entry, &format!("slot {slot}: count 1, on disk")],
        )?;
    }
    session.says("mm-pt $zeroes", &["all zeroes"])?;
    let memory_type = if picture.has_tags { "dirty tagged" } else { "dirty" };
    session.says("mm-pt $tagged", &[&format!("rw- young {memory_type}\n")])
}

fn folios_are_described(session: &Session) -> Result<(), Failed> {
    for (page, nr) in [
        ("shared", "1 page "),
        ("tagged", "1 page "),
        ("moved", "1 page "),
        ("folio", "16 pages"),
        ("block", "512 pages"),
    ] {
        let (command, rmap) = (format!("mm-folio ${page}_pfn"), format!("mm-rmap ${page}_pfn"));
        session.says(&command, &[nr, "dirty uptodate", "content: nowhere else"])?;
        session.says_not(&command, "corrupt")?;
        session.says(&rmap, &[", as the tables have it"])?;
        session.says_not(&rmap, "corrupt")?;
    }
    let shared = session.output("mm-rmap $shared_pfn")?;
    let nr_mappers = shared.matches(": 1 of 1 pages").count();
    session.expect("two address spaces that map the page", nr_mappers == 2)?;
    let state = if session.picture.has_tags { "512 tagged" } else { "512 untagged" };
    session.says("mm-folio $block_pfn", &[state])
}

fn slots_and_tags_are_found(session: &Session) -> Result<(), Failed> {
    let picture = &session.picture;
    let used = session.output("mm-swap --used")?;
    session.expect("ten slots in use", used.lines().count() == 10)?;
    session.says("mm-swap", &["area 0 on disk 0, priority -1: 10 of "])?;
    for page in Picture::SAVED {
        let (command, slot) = (format!("mm-tags ${page}"), picture.swapped(page)?.1);
        if !picture.has_tags {
            session.says(&command, &[&format!("no tags are saved with slot {slot}: ")])?;
            continue;
        }
        let record = mm::tag_codec::encode(&picture.tags(page)?);
        let (shape, len_bytes) = (record.shape(), 8 * record.words().len());
        let kind = format!("{:?} ({:#x}), {len_bytes} bytes", shape.kind, shape.arg).to_lowercase();
        session.says(&format!("mm-swap ${page}_slot"), &[&format!("tags {kind}")])?;
        session.says(&command, &[&format!("saved with slot {slot}"), &picture.digits(page)?])?;
    }
    if picture.has_tags {
        let (address, pfn) = picture.mapped("tagged")?;
        let at = format!("{address:#x} in mm ");
        let place = format!("in frame {pfn:#x}");
        let digits = picture.digits("tagged")?;
        session.says("mm-tags $tagged", &[&at, "logical tag 0", &place, &digits])?;
        let own = u64::from(picture.tags("tagged")?.get(0));
        for (tag, verdict) in [(own, "match"), (own ^ 6, "differ")] {
            let said = [&*format!("logical tag {tag:x}"), &*format!("has {own:x}, they {verdict}")];
            session.says(&tagged_pointer(tag), &said)?;
        }
    }
    Ok(())
}

fn lists_are_shown(session: &Session, cpus: u32) -> Result<(), Failed> {
    let picture = &session.picture;
    for pid in picture.processes {
        let thread = format!("thread {pid} ");
        session.says("mm-ps", &[&thread])?;
    }
    let (tagged, _) = picture.mapped("tagged")?;
    let area = session.output("mm-vma $tagged")?;
    session.expect("one area around the page", is_around(area, tagged))?;
    session.says("mm-vma", &[area])?;
    if picture.has_tags {
        // Without tags the area is one with its neighbours.
        let line = format!("{tagged:#014x}-{:#014x}      1 pages  anon, read", tagged + 4096);
        session.says("mm-vma $tagged", &[&line, "write tagged"])?;
    }
    session.expect("areas in order", are_ascending(session.output("mm-vma")?))?;
    let tlb = session.output("mm-tlb")?;
    let nr_cpus = tlb.lines().filter(|line| line.trim_start().starts_with("cpu ")).count();
    session.expect("a line for each CPU", nr_cpus == cpus as usize)?;
    session.says("mm-tlb", &["root table", "tlb_dsb "])?;
    session.says("mm-lru", &["inactive: ", "active: ", "page from 0x"])?;
    session.says_not("mm-lru", "corrupt")?;
    let counters = counters(session.output("mm-counters")?);
    session.expect("nine pages written", counters.get("pswpout") == Some(&9))?;
    session.expect("one page of zeroes", counters.get("swpout_zero") == Some(&1))?;
    session.expect("a block", counters.get("order-9/nr_anon") == Some(&1))
}

fn counters(text: &str) -> BTreeMap<&str, u64> {
    let row = |line: &'_ str| -> Option<(usize, u64)> {
        let (name, value) = line.trim_start().split_once(' ')?;
        Some((name.len(), value.parse().ok()?))
    };
    text.lines()
        .filter_map(|line| row(line).map(|(len, value)| (&line.trim_start()[..len], value)))
        .collect()
}

/// Tells whether a line of `mm-vma`, and no other, is about an area with this address.
fn is_around(line: &str, address: u64) -> bool {
    let hex = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
    let range = line.trim().split(' ').next().and_then(|range| range.split_once('-'));
    let ends = range.and_then(|(start, end)| hex(start).zip(hex(end)));
    ends.is_some_and(|(start, end)| (start..end).contains(&address)) && line.lines().count() == 1
}

fn are_ascending(areas: &str) -> bool {
    let starts: Vec<&str> = areas
        .lines()
        .filter_map(|line| line.trim_start().split_once('-'))
        .map(|row| row.0)
        .collect();
    starts.len() > 10 && starts.is_sorted()
}

/// Stops in user code, where the kernel's memory cannot be read without more ado.
fn user_code_goes_on(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let mut commands = vec!["tbreak *$ELR_EL1", "continue", "p/x $cpsr", "p/x $sp", "p/x $pc"];
    commands.extend(COMMANDS);
    commands.extend(["output/x $cpsr", "output/x $sp", "output/x $pc"]);
    let commands: Vec<String> = commands.into_iter().map(str::to_owned).collect();
    let session = Session::at_stop(lab, cpus, &commands)?;
    for register in ["cpsr", "sp", "pc"] {
        let before = session.output(&format!("p/x ${register}"))?.trim();
        let after = session.output(&format!("output/x ${register}"))?.trim();
        session.expect("registers as before", !after.is_empty() && before.ends_with(after))?;
    }
    let (_, pfn) = session.picture.mapped("tagged")?;
    session.says("mm-pt $tagged", &[&format!("frame {pfn:#x}: folio of")])?;
    session.says("mm-ps", &["thread 1 "])?;
    if session.picture.has_tags {
        session.says("mm-tags $tagged", &[&session.picture.digits("tagged")?])?;
    }
    session.was_harmless()
}

fn corruption_is_reported(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let spoil = format!("source {}", workspace::root().join("tests/gdb/spoil.py").display());
    let mut commands = vec![&*spoil, "mm-pt $block", "mm-pt $untouched"];
    commands.extend(["mm-folio $shared_pfn", "mm-folio $closed_pfn", "mm-rmap $closed_pfn"]);
    commands.extend(["mm-swap $repeat_slot", "mm-swap $runs_slot", "mm-tags $runs"]);
    commands.extend(COMMANDS);
    let commands: Vec<String> = commands.into_iter().map(str::to_owned).collect();
    let session = Session::at_stop(lab, cpus, &commands)?;
    session.says("mm-pt $block", &["mm-pt: level 3: table 0xfffffffff is no frame"])?;
    session.says("mm-pt $untouched", &[": corrupt 0x00000000000007c0"])?;
    session.says("mm-folio $shared_pfn", &["order 15"])?;
    session.says("mm-folio $closed_pfn", &["corrupt: 7 mapped, but the reverse map has 1"])?;
    session.says("mm-swap $repeat_slot", &["tag record of kind 2, parameter 0x9"])?;
    session.says("mm-lru", &["corrupt or unreadable: folio ", "links back to "])?;
    if session.picture.has_tags {
        session.says("mm-tags $runs", &["mm-tags: corrupt or unreadable"])?;
    }
    session.says("mm-ps", &["thread 1 "])?;
    session.says("mm-counters", &["pswpout 9"])?;
    session.expect("no error of Python", !session.all.contains("Python"))
}

fn commands_before_boot_say_so(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let session = Session::at_start(lab, cpus, &["mm-ps", "mm-counters", "mm-tlb", "mm-nothing"])?;
    session.says("mm-ps", &["mm-ps: the machine has no processes yet"])?;
    session.says("mm-counters", &["the machine has no memory manager yet"])?;
    session.says("mm-nothing", &["Undefined command"])?;
    session.expect("no error of Python", !session.all.contains("Python"))
}
