// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the book-keeping of boots against guests made of text.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use xtask::error::Error;
use xtask::need::Need;
use xtask::watchdog::{Ending, Hang, Limit};

use super::*;

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn exited(code: i32, lines: &[&str]) -> Result<Transcript> {
    let ending = Ending::Exited(ExitStatus::from_raw(code << 8));
    Ok(Transcript { ending, lines: lines.iter().map(|line| (*line).to_owned()).collect() })
}

fn hung(lines: &[&str]) -> Result<Transcript> {
    let hang = Hang {
        limit: Limit::Silence,
        after: Duration::from_secs(60),
        last_line: String::from("there"),
    };
    exited(0, lines).map(|transcript| Transcript { ending: Ending::Hung(hang), ..transcript })
}

#[track_caller]
fn assert_fails(verdicts: &Verdicts, test: &str, text: &str) {
    match &verdicts[test] {
        Verdict::Fail(reason) => assert!(reason.contains(text), "{test}: {reason}"),
        verdict => panic!("{test}: {verdict:?}"),
    }
}

#[test]
fn one_boot_settles_all_tests_of_a_healthy_guest() {
    let mut boots = Vec::new();
    let verdicts = run(&names("a b c"), |tests| {
        boots.push(tests.to_vec());
        exited(1, &["1..3", "ok 1 a", "# why", "not ok 2 b # exit=1", "ok 3 c # SKIP no MTE"])
    });
    assert_eq!(boots, [names("a b c")]);
    assert_eq!(verdicts["a"], Verdict::Pass);
    assert_eq!(verdicts["b"], Verdict::Fail(String::from("exit=1\n    # why")));
    assert_eq!(verdicts["c"], Verdict::Skip(String::from("no MTE")));
}

#[test]
fn the_test_that_killed_the_guest_fails_and_the_others_get_another_boot() {
    let mut boots = Vec::new();
    let verdicts = run(&names("a b c d"), |tests| {
        boots.push(tests.to_vec());
        match boots.len() {
            1 => exited(101, &["ok 1 a", "granule: PANIC at x", "  #0 0x0 f at x"]),
            _ => exited(0, &["ok 1 c", "ok 2 d"]),
        }
    });
    assert_eq!(boots, [names("a b c d"), names("c d")]);
    assert_fails(&verdicts, "b", "guest died: granule: PANIC at x");
    assert_fails(&verdicts, "b", "#0 0x0 f at x");
    let passed = |test: &&str| verdicts[*test] == Verdict::Pass;
    assert!(["a", "c", "d"].iter().all(passed), "{verdicts:?}");
}

#[test]
fn a_guest_that_always_dies_is_not_booted_for_ever() {
    let mut nr_boots = 0;
    let verdicts = run(&names("a b c d e f g"), |_| {
        nr_boots += 1;
        hung(&["booting"])
    });
    assert_eq!(nr_boots, MAX_BOOTS);
    assert_fails(&verdicts, "a", "HANG: no output for 60 s, last line: there");
    assert_fails(&verdicts, "e", "HANG");
    assert_fails(&verdicts, "f", "not run: guest died after e");
    assert_fails(&verdicts, "g", "not run: guest died after e");
}

#[test]
fn results_that_nobody_asked_for_are_dropped() {
    let verdicts = run(&names("tlb"), |_| exited(0, &["ok 1 tlb::range", "ok 2 tlb"]));
    assert_eq!(verdicts, Verdicts::from([(String::from("tlb"), Verdict::Pass)]));
}

#[test]
fn a_guest_that_dies_after_its_tests_fails_the_last_one() {
    let panics = |_: &[String]| exited(101, &["ok 1 a", "ok 2 b", "granule: PANIC at exit"]);
    let verdicts = run(&names("a b"), panics);
    assert_eq!(verdicts["a"], Verdict::Pass);
    assert_fails(&verdicts, "b", "reported, but then: granule: PANIC at exit");
    let verdicts = run(&names("a"), |_| exited(1, &["ok 1 a"]));
    assert_fails(&verdicts, "a", "exit status: 1");
    let verdicts = run(&names("a"), |_| hung(&["ok 1 a"]));
    assert_fails(&verdicts, "a", "HANG");
}

#[test]
fn a_guest_that_cannot_start_fails_all_tests_with_the_reason() {
    let verdicts = run(&names("a b"), |_| Err(Arc::new(Error::Missing(vec![Need::Qemu]))));
    assert_fails(&verdicts, "a", "qemu-system-aarch64");
    assert_fails(&verdicts, "b", "qemu-system-aarch64");
}

#[test]
fn no_tests_need_no_boot() {
    assert_eq!(run(&[], |_| panic!("booted")), Verdicts::new());
}
