// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the reader of `cargo test` against outputs of libtest and libtest-mimic.

use super::*;

fn read(output: &str, succeeded: bool) -> String {
    let mut report = Report::default();
    let mut reader = Reader::default();
    output.lines().for_each(|line| reader.line(line, &mut report));
    reader.finish("host", succeeded, &mut report);
    report.summary()
}

#[track_caller]
fn assert_last_line(summary: &str, expected: &str) {
    assert_eq!(summary.lines().last(), Some(expected), "{summary}");
}

#[test]
fn results_of_several_programs_add_up() {
    let summary = read(
        "     Running unittests src/lib.rs (target/debug/deps/base-1)

running 3 tests
test addr::tests::a ... ok
test addr::tests::b - should panic ... ok
test addr::tests::c ... ignored, needs a month

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests base

running 1 test
test kernel/base/src/sync.rs - sync (line 3) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.10s
",
        true,
    );
    assert!(summary.contains("    addr::tests::c: needs a month\n"), "{summary}");
    assert_last_line(&summary, "3 passed, 0 failed, 1 skipped");
}

#[test]
fn each_failure_is_named_and_explained() {
    let summary = read(
        "     Running unittests src/lib.rs (target/debug/deps/base-1)

running 2 tests
test one ... FAILED
test two ... FAILED

failures:

---- one stdout ----

thread 'one' panicked at x.rs:1:2:
left is right

---- two stdout ----
no


failures:
    one
    two

test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s

error: test failed, to rerun pass `-p base --lib`
",
        false,
    );
    assert!(summary.contains("    one: thread 'one' panicked at x.rs:1:2:\n"), "{summary}");
    assert!(summary.contains("left is right"), "{summary}");
    assert!(summary.contains("    two: no\n"), "{summary}");
    assert_last_line(&summary, "0 passed, 2 failed, 0 skipped");
}

#[test]
fn guest_trials_look_a_little_different() {
    let summary = read(
        "     Running tests/el0.rs (target/debug/deps/el0-1)

running 3 tests
test el0::fork@1      ... ok
test el0::no_mte@4    ... ignored (no MTE here)
test el0::swap@1      ... FAILED

failures:

---- el0::swap@1 ----
guest died: HANG


failures:
    el0::swap@1

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 9.00s
",
        false,
    );
    assert!(summary.contains("    el0::no_mte@4: no MTE here\n"), "{summary}");
    assert!(summary.contains("    el0::swap@1: guest died: HANG\n"), "{summary}");
    assert_last_line(&summary, "1 passed, 1 failed, 1 skipped");
}

#[test]
fn a_program_that_dies_without_a_result_is_a_failure() {
    let summary = read(
        "     Running unittests src/lib.rs (target/debug/deps/mm-1)
running 2 tests
test a ... ok
thread 'b' has overflowed its stack
error: test failed, to rerun pass `-p mm --lib`
     Running unittests src/lib.rs (target/debug/deps/pgtable-1)
test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
",
        false,
    );
    assert!(summary.contains("mm-1): died without a result:"), "{summary}");
    assert!(summary.contains("overflowed its stack"), "{summary}");
    assert_last_line(&summary, "4 passed, 1 failed, 0 skipped");
}

#[test]
fn a_compile_error_is_one_failure_with_its_text() {
    let summary = read("   Compiling base\nerror[E0308]: mismatched types\n", false);
    assert!(summary.contains("    host:    Compiling base\n"), "{summary}");
    assert!(summary.contains("E0308"), "{summary}");
    assert_last_line(&summary, "0 passed, 1 failed, 0 skipped");
}

#[test]
fn counts_hold_where_the_lines_were_not_understood() {
    let summary = read(
        "     Running x (y)
test result: FAILED. 0 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s
",
        false,
    );
    assert_last_line(&summary, "0 passed, 2 failed, 1 skipped");
}

#[test]
fn a_failure_of_an_earlier_step_does_not_hide_one_of_this() {
    let mut report = Report::default();
    report.fail("lint::host", "a warning");
    Reader::default().finish("host", false, &mut report);
    assert_eq!(report.nr_failed(), 2);
}
