// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness counts what it takes to make the TLBs forget 2 MiB, under each policy: the counts of
//! docs/experiments/004-migrate-device.md, exactly.

use std::process::ExitCode;

use libtest_mimic::Failed;
use tests::harness::{self, Scenario};
use tests::lab::{Boot, Lab};
use xtask::build::Variant;

const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "by_page", run: |lab, cpus| costs(lab, cpus, "page", &BY_PAGE) },
    Scenario { name: "by_batch", run: |lab, cpus| costs(lab, cpus, "batch", &BY_BATCH) },
    Scenario { name: "by_generation", run: |lab, cpus| costs(lab, cpus, "generation", &BY_BATCH) },
];

/// Operations on 2 MiB.
const OPERATIONS: [&str; 5] = ["munmap", "mprotect", "discard", "pageout", "migrate"];

/// TLBIs of pages, TLBIs of ranges, DSBs.
type Counts = [u64; 3];

const ONE: Counts = [0, 1, 1];
const EACH: Counts = [512, 0, 512];

/// By size of folios, and for MADV_PAGEOUT of single pages.
const BY_PAGE: [(&str, Counts, Counts); 3] =
    [("4K", EACH, EACH), ("64K", EACH, EACH), ("2M", ONE, ONE)];

/// What is freed waits elsewhere by generation; an operation costs the same. Reclaim waits once for 32
/// folios.
const BY_BATCH: [(&str, Counts, Counts); 3] =
    [("4K", ONE, [0, 16, 16]), ("64K", ONE, ONE), ("2M", ONE, ONE)];

fn main() -> ExitCode {
    harness::run_scenarios("tlb_costs", Lab::new(Variant::Plain), &SCENARIOS)
}

fn costs(
    lab: &Lab,
    cpus: u32,
    policy: &str,
    sizes: &[(&str, Counts, Counts)],
) -> Result<(), Failed> {
    let mut boot = Boot::on("tlb-costs")?;
    boot.machine.cpus = cpus;
    boot.initramfs = Some(lab.programs()?.as_init("tlb_costs")?);
    boot.kernel_args = vec![format!("tlb={policy}")];
    let transcript = lab.boot(boot)?;
    for operation in OPERATIONS {
        for (size, counts, of_pageout) in sizes {
            let [pages, ranges, dsbs] = if operation == "pageout" { of_pageout } else { counts };
            // Where one CPU has run the program, that CPU forgets alone.
            let local = if cpus == 1 { pages + ranges } else { 0 };
            let told = format!(
                "tlb: {operation}/{size} pages={pages} ranges={ranges} wholes=0 local={local} \
                 covered=512 dsbs={dsbs} "
            );
            let is_told = transcript.lines.iter().any(|line| line.starts_with(&told));
            transcript.expect(&told, is_told)?;
        }
    }
    transcript.expect("status 0", transcript.status() == Some(0))
}
