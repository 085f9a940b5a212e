// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness runs swap on disks of which each fails another request: the first fails its first, the
//! second its second, and so on past the last one that the program makes.

use std::process::ExitCode;

use libtest_mimic::Failed;
use tests::harness::{self, Scenario};
use tests::lab::{Boot, Lab, Transcript};
use xtask::build::Variant;
use xtask::profile::{Content, Disk, DiskError, Transport};
use xtask::size::Size;

const SCENARIOS: [Scenario; 2] = [
    Scenario { name: "each_request_fails_once", run: |lab, cpus| each_fails(lab, cpus, true) },
    Scenario { name: "each_request_is_the_last", run: |lab, cpus| each_fails(lab, cpus, false) },
];

/// More than the program makes requests.
const NR_DISKS: u32 = 25;

/// EIO.
const ERRNO: u32 = 5;

fn main() -> ExitCode {
    harness::run_scenarios("disks", Lab::new(Variant::Plain), &SCENARIOS)
}

fn each_fails(lab: &Lab, cpus: u32, once: bool) -> Result<(), Failed> {
    let mut boot = Boot::on("test")?;
    boot.machine.cpus = cpus;
    boot.machine.disks.extend((1..=NR_DISKS).map(|nth| failing(nth, once)));
    boot.initramfs = Some(lab.programs()?.as_init("failing_disks")?);
    boot.init_args = once.then(|| String::from("once")).into_iter().collect();
    let transcript = lab.boot(boot)?;
    transcript.expect("status 0", transcript.status() == Some(0))?;
    let errors = errors(&transcript);
    transcript.expect("a line for each disk", errors.len() == NR_DISKS as usize)?;
    // QEMU itself reads the first sector of each disk, for the geometry.
    let nr_failing = errors[1..].iter().take_while(|errors| **errors > 0).count();
    let behind = &errors[1 + nr_failing..];
    let all_met = nr_failing > 10 && !behind.is_empty() && behind.iter().all(|errors| *errors == 0);
    transcript.expect("every request failed on a disk", all_met)?;
    transcript.expect("once each", !once || errors.iter().all(|errors| *errors <= 1))
}

fn failing(nth: u32, once: bool) -> Disk {
    let error = DiskError { on: None, errno: ERRNO, sector: None, once, nth: Some(nth) };
    Disk {
        content: Content::Swap,
        size: Size::mib(1),
        transport: Transport::Mmio,
        errors: vec![error],
    }
}

/// Reads how many requests failed on each disk.
fn errors(transcript: &Transcript) -> Vec<u64> {
    let count = |line: &String| {
        line.strip_prefix("failing_disks: ")?.split_once(" requests failed")?.0.parse().ok()
    };
    transcript.lines.iter().filter_map(count).collect()
}
