// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness records runs and replays them, forwards and backwards. QEMU does so with one CPU.

use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::Failed;
use tests::debugger::by_command;
use tests::harness::{self, Scenario};
use tests::lab::Lab;
use tests::verb::VerbRun;
use xtask::build::Variant;
use xtask::workspace;

const PREFIX: &str = "replay";

const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "replay_writes_what_was_recorded", run: replay_is_equal },
    Scenario { name: "replay_that_differs_is_an_error_with_its_line", run: difference_is_found },
    Scenario { name: "reverse_continue_lands_at_the_hit_before", run: reverse_continue },
    Scenario { name: "an_entry_is_followed_back_to_who_wrote_it", run: entry_is_followed_back },
    Scenario { name: "run_that_hangs_can_be_replayed", run: hang_is_replayed },
    Scenario { name: "replay_of_another_program_is_refused", run: other_program_is_refused },
    Scenario { name: "several_cpus_are_refused", run: several_cpus_are_refused },
];

/// Page by page out to the disk and back: about a hundred requests.
const PROGRAM: &str = "sysrq";
const PAGES: &str = "40";

fn main() -> ExitCode {
    harness::run_scenarios_at(&[1], PREFIX, Lab::new(Variant::Plain), &SCENARIOS)
}

fn replay_is_equal(lab: &Lab, _cpus: u32) -> Result<(), Failed> {
    let (recording, recorded) = record(lab, "equal")?;
    let swaps = recorded.stdout.lines().any(|line| line == "pswpout 80");
    recorded.expect("requests to the disk", swaps)?;
    let replayed = replay(&recording.name, &[])?;
    replayed.expect("success", replayed.succeeded())?;
    replayed.expect("a line that says so", replayed.stderr.contains("lines, each as recorded"))?;
    replayed.expect("the same output", replayed.stdout == recorded.stdout)
}

fn difference_is_found(lab: &Lab, _cpus: u32) -> Result<(), Failed> {
    let (recording, _) = record(lab, "different")?;
    let log = recording.dir().join("serial.log");
    let text = std::fs::read_to_string(&log)?;
    std::fs::write(&log, text.replace("pswpout 80", "pswpout 81"))?;
    let line = text.lines().position(|line| line == "pswpout 80").ok_or("no such line")? + 1;
    let replayed = replay(&recording.name, &[])?;
    replayed.expect("a failure", !replayed.succeeded())?;
    let told = format!(
        "differs from the recording at line {line} of the serial log\n    \
         recorded: \"pswpout 81\\n\"\n    replayed: \"pswpout 80\\n\"\n"
    );
    replayed.expect(&told, replayed.stderr.contains(&told))
}

/// Stops at the first three lines of the boot, goes back to the second, and comes to the third again,
/// before which swap was read from the disk: QEMU's count of instructions tells them apart.
fn reverse_continue(lab: &Lab, _cpus: u32) -> Result<(), Failed> {
    let (recording, _) = record(lab, "backwards")?;
    let at = "monitor info replay";
    let commands =
        ["hbreak kernel::console::print", "continue", at, "continue", at, "continue", at]
            .into_iter()
            .chain(["reverse-continue", at, "reverse-stepi", at, "continue", at, "continue", at]);
    let ex: Vec<&str> = commands.flat_map(|command| ["--ex", command]).collect();
    let session = replay(&recording.name, &[&["--gdb"][..], &ex].concat())?;
    // What `monitor` prints comes over gdb's standard output or error, depending on its version.
    let text = format!("{}{}", session.stdout, session.stderr);
    let count = |line: &str| line.rsplit_once("instruction count = ")?.1.trim().parse().ok();
    let counts: Vec<u64> = text.lines().filter_map(count).collect();
    let [one, two, three, back, step, two_again, three_again] = counts[..] else {
        return session.expect("seven instruction counts", false);
    };
    session.expect("three hits", one < two && two < three)?;
    session.expect("the second hit again", back == two)?;
    session.expect("one instruction before it", step == two - 1)?;
    session.expect("the same way forwards", (two_again, three_again) == (two, three))
}

/// Stops where the program `picture` has its memory ready, finds the entry of a page, and goes back to
/// where it was written: the page's first fault.
fn entry_is_followed_back(lab: &Lab, _cpus: u32) -> Result<(), Failed> {
    let recording = Recording { name: String::from("test-entry") };
    let program = lab.programs()?.path("picture").display().to_string();
    let words = ["record", "--machine", "test", "--name", &recording.name];
    lab.xtask(1, &words, &[&program])?;
    let serial = recording.dir().join("serial.log").display().to_string();
    let source = workspace::root().join("tests/gdb/session.py").display().to_string();
    let (source, know) = (format!("source {source}"), format!("python know({serial:?})"));
    let commands = [&source, "break task/src/syscall/unknown.rs:32", "continue", &know]
        .into_iter()
        .chain(["python run('mm-ps')", "python run('mm-pt $tagged')", "python run('p *$pte')"])
        .chain(["watch *$pte", "reverse-continue", "python run('bt 5')"]);
    let ex: Vec<&str> = commands.flat_map(|command| ["--ex", command]).collect();
    let session = replay(&recording.name, &[&["--gdb"][..], &ex].concat())?;
    let outputs = by_command(&session.stdout);
    let output = |command: &str| outputs.get(command).map_or("", String::as_str);
    session.expect("processes", output("mm-ps").contains("thread 1 init"))?;
    session.expect("the walk", output("mm-pt $tagged").contains("rw- young dirty"))?;
    // gdb goes on to print behind it.
    let entry = output("p *$pte").lines().next().and_then(|line| line.rsplit_once("= "));
    let entry = entry.map_or("", |(_, value)| value.trim());
    let written = format!("new={entry}) at kernel/mm/src/mm/leaf_table.rs");
    session.expect("the store of this entry", output("bt 5").contains(&written))?;
    session.expect(
        "the fault that did it",
        output("bt 5").contains("kernel/mm/src/fault/anonymous.rs"),
    )
}

fn hang_is_replayed(lab: &Lab, _cpus: u32) -> Result<(), Failed> {
    let program = lab.programs()?.path("sleeper").display().to_string();
    let recording = Recording { name: String::from("test-hang") };
    let words = ["record", "--machine", "test", "--watchdog", "5", "--name", &recording.name];
    let recorded = lab.xtask(1, &words, &[&program])?;
    recorded.expect("a hang", recorded.stderr.contains("HANG: "))?;
    let replayed = replay(&recording.name, &[])?;
    replayed.expect("success", replayed.succeeded())?;
    replayed.expect("the last line", replayed.stdout.contains("sleeper: asleep"))
}

fn other_program_is_refused(lab: &Lab, _cpus: u32) -> Result<(), Failed> {
    let (recording, _) = record(lab, "program")?;
    let path = |name: &str| Ok::<_, Failed>(lab.programs()?.path(name).display().to_string());
    let (own, other) = (path(PROGRAM)?, path("echo")?);
    let refused = |program: &[&str], told: &str| {
        let replayed = Lab::xtask_as_typed(&["replay", "--name", &recording.name], program)?;
        replayed.expect("a failure", !replayed.succeeded() && replayed.stdout.is_empty())?;
        replayed.expect(told, replayed.stderr.contains(told))
    };
    let recorded = format!("the recording is of `{own} {PAGES}` and not of ");
    refused(&[&other, PAGES], &format!("{recorded}`{other} {PAGES}`"))?;
    refused(&[&own, "41"], &format!("{recorded}`{own} 41`"))?;
    let same = Lab::xtask_as_typed(&["replay", "--name", &recording.name], &[&own, PAGES])?;
    same.expect("the recorded program to be accepted", same.succeeded())
}

fn several_cpus_are_refused(lab: &Lab, _cpus: u32) -> Result<(), Failed> {
    let run = lab.xtask(4, &["record", "--name", "test-several"], &[])?;
    run.expect("a failure", !run.succeeded())?;
    run.expect("the reason", run.stderr.contains("QEMU records one CPU, and this machine has 4"))?;
    let missing = Lab::xtask_as_typed(&["replay", "--name", "test-several"], &[])?;
    missing.expect("a failure", !missing.succeeded())?;
    missing.expect("the reason", missing.stderr.contains("no recording \"test-several\""))
}

/// A recording of one test. It is removed when it is dropped.
struct Recording {
    name: String,
}

impl Recording {
    fn dir(&self) -> PathBuf {
        workspace::granule_dir().join("recordings").join(&self.name)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // What was never recorded is not there.
        let _ = std::fs::remove_dir_all(self.dir());
    }
}

fn record(lab: &Lab, test: &str) -> Result<(Recording, VerbRun), Failed> {
    let program = lab.programs()?.path(PROGRAM).display().to_string();
    let recording = Recording { name: format!("test-{test}") };
    let words = ["record", "--machine", "test", "--name", &recording.name];
    let run = lab.xtask(1, &words, &[&program, PAGES])?;
    run.expect("success", run.succeeded())?;
    Ok((recording, run))
}

fn replay(name: &str, words: &[&str]) -> Result<VerbRun, Failed> {
    Lab::xtask_as_typed(&[&["replay", "--name", name], words].concat(), &[])
}
