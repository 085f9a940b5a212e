// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness runs scenarios that need a special machine, kernel option or initramfs.

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::Failed;
use tests::harness::{self, Scenario};
use tests::lab::{self, Boot, Lab, Transcript};
use xtask::build::Variant;
use xtask::counters::sample::MARKS;
use xtask::initramfs::Initramfs;
use xtask::size::Size;
use xtask::watchdog::Ending;

const PREFIX: &str = "machine";

/// The program whose success says that a machine works.
const PROGRAM: &str = "argv_names_the_program";

/// What is run again and again.
const REPEATED: [&str; 5] = ["threads", "pipes", "signals", "tags", "swap_tags"];

/// The status of a kernel that panicked.
const PANIC_STATUS: i32 = 101;

/// RAM of a machine that has to swap, and what the demo maps on it, in MiB.
const SMALL_RAM: u64 = 32;
const LARGE_DEMO: u64 = 40;

const SCENARIOS: [Scenario; 22] = [
    Scenario { name: "panic_is_symbolised", run: panic_is_symbolised },
    Scenario { name: "kernel_fault_is_symbolised", run: kernel_fault_is_symbolised },
    Scenario { name: "hang_is_caught", run: hang_is_caught },
    Scenario { name: "memory_larger_than_ram_survives", run: |lab, cpus| swaps(lab, "test", cpus) },
    Scenario { name: "el2_entry_works", run: |lab, cpus| swaps(lab, "el2", cpus) },
    Scenario { name: "pci_disk_works", run: |lab, cpus| swaps(lab, "pci-disk", cpus) },
    Scenario { name: "no_mte_is_said_and_swaps", run: no_mte_is_said_and_swaps },
    Scenario { name: "tags_on_the_disk_lose_nothing", run: tags_on_the_disk_lose_nothing },
    Scenario { name: "tlb_by_page_loses_nothing", run: tlb_by_page_loses_nothing },
    Scenario { name: "tlb_by_generation_loses_nothing", run: tlb_by_generation_loses_nothing },
    Scenario { name: "ram_set_aside_is_devices_memory", run: ram_set_aside_is_devices_memory },
    Scenario { name: "more_than_ram_is_not_set_aside", run: more_than_ram_is_not_set_aside },
    Scenario { name: "no_disk_works", run: |lab, cpus| works(lab, "no-disk", cpus) },
    Scenario { name: "blank_disk_is_reported", run: blank_disk_is_reported },
    Scenario { name: "counters_are_printed_on_request", run: counters_are_printed_on_request },
    Scenario { name: "the_magic_key_prints_counters", run: the_magic_key_prints_counters },
    Scenario { name: "deterministic_runs_are_equal", run: deterministic_runs_are_equal },
    Scenario { name: "cut_initramfs_is_reported", run: cut_initramfs_is_reported },
    Scenario { name: "initramfs_of_noise_is_reported", run: initramfs_of_noise_is_reported },
    Scenario { name: "missing_initramfs_is_reported", run: missing_initramfs_is_reported },
    Scenario { name: "init_of_another_machine_is_reported", run: foreign_init_is_reported },
    Scenario { name: "init_cut_short_is_reported", run: cut_init_is_reported },
];

fn main() -> ExitCode {
    harness::run_scenarios(PREFIX, Lab::new(Variant::Plain), &SCENARIOS)
}

fn panic_is_symbolised(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    dies_symbolised(lab, cpus, "panic=test")
}

fn kernel_fault_is_symbolised(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    dies_symbolised(lab, cpus, "fault=test")
}

fn dies_symbolised(lab: &Lab, cpus: u32, option: &str) -> Result<(), Failed> {
    let mut boot = boot_on("test", cpus)?;
    boot.kernel_args.push(option.to_owned());
    let transcript = lab.boot(boot)?;
    transcript.expect("a panic", transcript.panic().is_some())?;
    transcript.expect("status 101", transcript.status() == Some(PANIC_STATUS))?;
    let is_symbolised = |line: &String| line.starts_with("  #") && line.contains(" at kernel/src/");
    transcript.expect("frames with lines", transcript.lines.iter().any(is_symbolised))
}

fn hang_is_caught(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let mut boot = boot_on("test", cpus)?;
    boot.initramfs = Some(lab.programs()?.as_init("sleeper")?);
    boot.silence = Duration::from_secs(10);
    let transcript = lab.boot(boot)?;
    let Ending::Hung(hang) = &transcript.ending else {
        return transcript.expect("a hang", false);
    };
    transcript.expect("the sleeper's line last", hang.last_line == "sleeper: asleep")
}

/// Runs the demo with more memory than the machine has, and expects that nothing is lost.
fn swaps(lab: &Lab, machine: &str, cpus: u32) -> Result<(), Failed> {
    demo_on(lab, machine, cpus, &[]).map(drop)
}

fn no_mte_is_said_and_swaps(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let transcript = demo_on(lab, "no-mte", cpus, &[])?;
    let says_so = |line: &String| line.contains("this machine has no tags");
    transcript.expect("a line that says so", transcript.lines.iter().any(says_so))
}

/// Keeps the tags of swapped pages on the disk: requests are the price, no memory is.
fn tags_on_the_disk_lose_nothing(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let transcript = demo_on(lab, "test", cpus, &["swap.tags=device"])?;
    let counted = |name| counted(&transcript, name).unwrap_or(0);
    transcript.expect("tags on the disk", counted("mte_tag_device") > 0)?;
    transcript.expect("requests for tags", counted("swap_tag_requests") > 0)?;
    let in_memory = ["mte_tag_inline", "mte_tag_16", "mte_tag_32", "mte_tag_64", "mte_tag_raw"];
    transcript.expect("no tags in memory", in_memory.into_iter().all(|name| counted(name) == 0))
}

/// Invalidates a page at a time, and waits each time.
fn tlb_by_page_loses_nothing(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let transcript = demo_on(lab, "test", cpus, &["tlb=page"])?;
    let counted = |name| counted(&transcript, name).unwrap_or(0);
    transcript.expect("no ranges", counted("tlbi_range") == 0)?;
    transcript.expect("a wait for each page", counted("tlb_dsb") >= counted("tlbi_page"))
}

/// Lets what is freed wait for barriers of others.
fn tlb_by_generation_loses_nothing(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let transcript = demo_on(lab, "test", cpus, &["tlb=generation"])?;
    let counted = |name| counted(&transcript, name).unwrap_or(0);
    transcript.expect("ranges", counted("tlbi_range") > 0)?;
    transcript.expect(
        "less waits",
        counted("tlb_dsb") < counted("tlbi_page") + counted("tlbi_range_pages"),
    )
}

/// Without a PCI function RAM that an option sets aside is the devices', and tags travel there.
fn ram_set_aside_is_devices_memory(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let transcript = set_aside(lab, cpus, "device_mem=34M")?;
    // 17 blocks of 2 MiB, one of them for the tags of the others.
    let is_said = |line: &String| line.starts_with("devices: 2 with 16 MiB each at ");
    transcript.expect("two devices", transcript.lines.iter().any(is_said))?;
    // The other one needs an emulator that has a tag for each granule.
    let is_passed = |line: &String| line.starts_with("ok 2 ") && !line.contains("# SKIP");
    transcript.expect("a test that was not skipped", transcript.lines.iter().any(is_passed))
}

/// Without the memory there are no devices, and a line that says why.
fn more_than_ram_is_not_set_aside(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    for option in ["device_mem=9999M", "device_mem=much"] {
        let transcript = set_aside(lab, cpus, option)?;
        let is_said = |line: &String| line.contains(option) && line.contains("left out");
        transcript.expect("a line that says so", transcript.lines.iter().any(is_said))?;
        let is_skipped = |line: &String| line.starts_with("ok 1 ") && line.contains("# SKIP");
        transcript.expect("no device", transcript.lines.iter().any(is_skipped))?;
    }
    Ok(())
}

/// Runs tests of devices on a machine with no other devices than RAM that an option sets aside.
fn set_aside(lab: &Lab, cpus: u32, option: &str) -> Result<Transcript, Failed> {
    let tests = ["tags_travel", "a_large_folio_moves_whole_and_without_a_run_page_by_page"];
    let tests = tests.map(|test| format!("hmm_dmirror::{test}"));
    let initramfs = Some(lab.programs()?.with_runner(&tests)?);
    let kernel_args = vec![option.to_owned()];
    let transcript = lab.boot(Boot { initramfs, kernel_args, ..boot_on("no-disk", cpus)? })?;
    transcript.expect("status 0", transcript.status() == Some(0))?;
    Ok(transcript)
}

fn demo_on(lab: &Lab, machine: &str, cpus: u32, options: &[&str]) -> Result<Transcript, Failed> {
    let mut boot = boot_on(machine, cpus)?;
    boot.kernel_args.extend(options.iter().map(|option| (*option).to_owned()));
    boot.machine.memory = Size::mib(SMALL_RAM);
    boot.initramfs = Some(lab.programs()?.as_init("demo")?);
    boot.init_args = vec![String::from("--mib"), LARGE_DEMO.to_string()];
    let transcript = lab.boot(boot)?;
    transcript.expect("status 0", transcript.status() == Some(0))?;
    // What cannot have been in memory all the time: the map of one side, but for all of RAM.
    let least = (LARGE_DEMO - SMALL_RAM) * 256;
    transcript.expect("pages swapped out", counted(&transcript, "pswpout") >= Some(least))?;
    Ok(transcript)
}

/// Reads a counter from the block that the kernel prints when it stops.
fn counted(transcript: &Transcript, name: &str) -> Option<u64> {
    let row = |line: &String| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    transcript.lines.iter().find_map(row)
}

fn blank_disk_is_reported(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let transcript = run_program(lab, boot_on("blank-disk", cpus)?)?;
    let is_report = |line: &String| line.contains("vda") && line.contains("swap");
    transcript.expect("a line about vda", transcript.lines.iter().any(is_report))?;
    succeeded(&transcript)
}

/// Runs a program on the machine and expects its success.
fn works(lab: &Lab, machine: &str, cpus: u32) -> Result<(), Failed> {
    succeeded(&run_program(lab, boot_on(machine, cpus)?)?)
}

fn succeeded(transcript: &Transcript) -> Result<(), Failed> {
    let is_result = |line: &String| line.starts_with("ok 1 ");
    transcript.expect("ok 1", transcript.lines.iter().any(is_result))?;
    transcript.expect("status 0", transcript.status() == Some(0))
}

/// A program asks once, and the end of the machine asks again.
fn counters_are_printed_on_request(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let mut boot = boot_on("test", cpus)?;
    boot.initramfs = Some(lab.programs()?.as_init("sysrq")?);
    boot.init_args = vec![String::from("8")];
    let transcript = lab.boot(boot)?;
    transcript.expect("8 pages, then 16", swapped_out(&transcript) == ["pswpout 8", "pswpout 16"])
}

/// What was typed before there was anybody to read it is taken when the files are there.
fn the_magic_key_prints_counters(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let mut boot = boot_on("test", cpus)?;
    boot.initramfs = Some(lab.programs()?.as_init("sysrq")?);
    boot.init_args = vec![String::from("8")];
    // The UART drops what its FIFO holds when it is set up: a byte that nobody will miss.
    boot.typed = b"\n\x0f?\x0fm".to_vec();
    let transcript = lab.boot(boot)?;
    let expected = ["pswpout 0", "pswpout 8", "pswpout 16"];
    transcript.expect("blocks of 0, 8 and 16 pages", swapped_out(&transcript) == expected)?;
    let is_help = |line: &String| line.starts_with("sysrq: help: ");
    transcript.expect("help for another key", transcript.lines.iter().any(is_help))
}

/// Returns the lines of pages swapped out, of each complete block of counters.
fn swapped_out(transcript: &Transcript) -> Vec<&str> {
    let blocks = transcript.lines.split(|line| line == MARKS.begin).skip(1);
    let whole = blocks.filter_map(|block| block.split(|line| line == MARKS.end).next());
    whole.flatten().map(String::as_str).filter(|line| line.starts_with("pswpout ")).collect()
}

/// Runs a short suite again and again: threads, signals, tags, and pages that go to the disk and
/// come back.
fn deterministic_runs_are_equal(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let tests = lab.programs()?.tests_of_programs(&REPEATED)?;
    let initramfs = lab.programs()?.with_runner(&tests)?;
    let run = || {
        let mut boot = boot_on("test", cpus)?;
        boot.machine.make_deterministic();
        lab.boot(Boot { initramfs: Some(initramfs.clone()), ..boot })
    };
    let one = run()?;
    one.expect("status 0", one.status() == Some(0))?;
    one.expect("pages swapped in", counted(&one, "pswpin") > Some(0))?;
    let runs = if lab.choices().is_long { 100 } else { 3 };
    for _ in 1..runs {
        let other = run()?;
        let difference = one.lines.iter().zip(&other.lines).find(|(one, other)| one != other);
        if let Some((one, other)) = difference {
            return Err(Failed::from(format!("two runs differ:\n    {one}\n    {other}")));
        }
        other.expect("a run of the same length", one.lines.len() == other.lines.len())?;
    }
    Ok(())
}

fn cut_initramfs_is_reported(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let mut archive = archive(lab)?;
    archive.truncate(archive.len() / 2);
    bad_initramfs_is_reported(lab, cpus, Some(archive))
}

fn initramfs_of_noise_is_reported(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let noise = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    bad_initramfs_is_reported(lab, cpus, Some(noise))
}

fn missing_initramfs_is_reported(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    bad_initramfs_is_reported(lab, cpus, None)
}

fn bad_initramfs_is_reported(
    lab: &Lab,
    cpus: u32,
    initramfs: Option<Vec<u8>>,
) -> Result<(), Failed> {
    let boot = Boot { initramfs, ..boot_on("test", cpus)? };
    is_refused(&lab.boot(boot)?, "initramfs")
}

fn foreign_init_is_reported(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    // An ELF header with e_machine, at offset 18, of no arm64 (EM_68K).
    bad_init_is_reported(lab, cpus, |init| init[18] = 4)
}

fn cut_init_is_reported(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    bad_init_is_reported(lab, cpus, |init| init.truncate(100))
}

fn bad_init_is_reported(
    lab: &Lab,
    cpus: u32,
    spoil: impl FnOnce(&mut Vec<u8>),
) -> Result<(), Failed> {
    let path = lab.programs()?.path(PROGRAM);
    let mut init = std::fs::read(path)?;
    spoil(&mut init);
    let mut tree = Initramfs::new();
    tree.program("init", &init);
    let boot = Boot { initramfs: Some(tree.finish()), ..boot_on("test", cpus)? };
    is_refused(&lab.boot(boot)?, "/init")
}

/// Expects that the guest ended on its own, with a failure and a message that names `subject`.
fn is_refused(transcript: &Transcript, subject: &str) -> Result<(), Failed> {
    let fails = transcript.status().is_some_and(|status| status != 0);
    transcript.expect("a status that is not 0", fails)?;
    transcript.expect("no panic: bad input is no bug", transcript.panic().is_none())?;
    let names = |line: &String| line.contains(subject);
    transcript.expect("a message with its subject", transcript.lines.iter().any(names))
}

fn run_program(lab: &Lab, boot: Boot) -> lab::Result<Transcript> {
    let init_args = vec![PROGRAM.to_owned()];
    lab.boot(Boot { initramfs: Some(archive(lab)?), init_args, ..boot })
}

fn archive(lab: &Lab) -> lab::Result<Vec<u8>> {
    Ok(lab.programs()?.with_runner(&[PROGRAM.to_owned()])?)
}

fn boot_on(machine: &str, cpus: u32) -> lab::Result<Boot> {
    let mut boot = Boot::on(machine)?;
    boot.machine.cpus = cpus;
    Ok(boot)
}
