// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness repeats the experiments of docs/experiments/ on a lab kernel: what they count is the
//! same every time.

use std::process::ExitCode;

use libtest_mimic::Failed;
use tests::harness::{self, Scenario};
use tests::lab::{Boot, Lab, Transcript};
use xtask::build::Variant;
use xtask::size::Size;

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "s000_refault_costs_what_was_told", run: refault_costs_what_was_told },
    Scenario { name: "s002_races_end_well_and_their_bugs_are_caught", run: races },
    Scenario { name: "s004_stale_translations_are_named", run: stale_translations_are_named },
    Scenario {
        name: "s004_a_dirty_bit_that_is_dropped_loses_a_store",
        run: a_dirty_bit_is_dropped,
    },
];

/// Boot options, and whether the oracle of stale translations has something to say.
const STALE: [(&str, bool); 6] = [
    ("tlb=page", false),
    ("tlb=batch", false),
    ("tlb=generation", false),
    ("lab.tlb=LastPageLeft", true),
    ("lab.tlb=TakenAwayUnnoted", true),
    ("lab.tlb=NeverCompleted", true),
];

/// The races of kernel/src/lab/race.rs; the switch with which each goes wrong, and what is said then
/// (002-swapoff.md).
const RACES: [(&str, &str, &str); 6] = [
    ("five_steps", "AreaNotHeld", "is used after swapoff"),
    ("r02_split_after_lookup", "OnlyHeadRenamed", "'s folio"),
    ("r03_run_wanted_late", "OrderInsistedOn", "page 0"),
    ("r04_lookup_while_renamed", "ClearedBeforeRenamed", "'s folio"),
    ("r05_two_faults", "CachedTwice", "one of them read it"),
    ("r12_fork_behind_swapoff", "SwapoffVisitsOnce", "'s folio"),
];

/// CPUs of a race.
const RACE_CPUS: u32 = 4;

/// Boot options, faults, lookups and copies of tags a folio: 000-mte-large-folios.md.
const REFAULTS: [(&str, [u32; 3]); 4] = [
    ("lab.restore=Folio lab.map=one lab.keep=on lab.fault=TagsRestoredAgain", [16, 256, 256]),
    ("lab.restore=Folio lab.map=one lab.keep=on", [16, 256, 0]),
    ("lab.restore=Page lab.map=one", [16, 16, 16]),
    ("lab.keep=on", [1, 0, 0]),
];

fn main() -> ExitCode {
    harness::run_scenarios("lab", Lab::new(Variant::Lab), &SCENARIOS)
}

fn refault_costs_what_was_told(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    for (options, [faults, lookups, copies]) in REFAULTS {
        let mut boot = Boot::on("test")?;
        boot.machine.cpus = cpus;
        boot.initramfs = Some(lab.programs()?.as_init("refault")?);
        boot.kernel_args = options.split(' ').map(str::to_owned).collect();
        let transcript = lab.boot(boot)?;
        let told = format!("refault: {faults} faults, {lookups} lookups, {copies} copies, ");
        let is_told = transcript.lines.iter().any(|line| line.starts_with(&told));
        transcript.expect(&format!("{told:?} with {options}"), is_told)?;
    }
    Ok(())
}

/// Runs each race once without its bug and once with it.
fn races(lab: &Lab, _cpus: u32) -> Result<(), Failed> {
    for (race, fault, complaint) in RACES {
        let transcript = boot_race(lab, race, None)?;
        let passed = format!("lab: race {race}: passed");
        let has_passed = transcript.lines.iter().any(|line| line.contains(&passed));
        transcript.expect(&passed, has_passed && transcript.panic().is_none())?;
        let transcript = boot_race(lab, race, Some(fault))?;
        let is_caught = transcript.panic().is_some()
            && transcript.lines.iter().any(|line| line.contains(complaint));
        transcript.expect(&format!("{race} with {fault} is caught: {complaint:?}"), is_caught)?;
    }
    Ok(())
}

fn boot_race(lab: &Lab, race: &str, fault: Option<&str>) -> Result<Transcript, Failed> {
    let mut boot = Boot::on("test")?;
    boot.machine.cpus = RACE_CPUS;
    boot.kernel_args = vec![format!("lab.race={race}")];
    boot.kernel_args.extend(fault.map(|fault| format!("lab.fault={fault}")));
    Ok(lab.boot(boot)?)
}

/// Runs a migration that fails, without the fault and with it.
fn a_dirty_bit_is_dropped(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    for (options, is_lost) in [(None, false), (Some("lab.fault=DirtyBitDropped"), true)] {
        let mut boot = Boot::on("device-memory")?;
        boot.machine.cpus = cpus;
        boot.initramfs = Some(lab.programs()?.as_init("hmm_dmirror")?);
        boot.init_args = vec![String::from("a_store_outlives_a_migration_that_fails")];
        boot.kernel_args.extend(options.map(str::to_owned));
        let transcript = lab.boot(boot)?;
        // The page says 0 instead.
        let says_lost = transcript.lines.iter().any(|line| line.contains("right: 4711"));
        transcript.expect(&format!("lost: {is_lost}, with {options:?}"), says_lost == is_lost)?;
        transcript.expect("an end as it should be", (transcript.status() == Some(0)) != is_lost)?;
    }
    Ok(())
}

/// Runs the demo, which swaps. The oracle watches every frame.
fn stale_translations_are_named(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    for (options, is_named) in STALE {
        let mut boot = Boot::on("test")?;
        boot.machine.cpus = cpus;
        boot.machine.memory = Size::mib(32);
        boot.initramfs = Some(lab.programs()?.as_init("demo")?);
        boot.init_args = vec![String::from("--mib"), String::from("40")];
        boot.kernel_args.extend(options.split(' ').map(str::to_owned));
        let transcript = lab.boot(boot)?;
        let named = transcript.lines.iter().any(|line| line.contains("stale translation to pfn:"));
        transcript.expect(&format!("named: {is_named}, with {options}"), named == is_named)?;
        let status = transcript.status();
        transcript.expect("an end as it should be", (status == Some(0)) != is_named)?;
    }
    Ok(())
}
