// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes a program of several tests.
//!
//! `tests!(first, second)` names the functions that are tests and makes `main`. The program runs
//! the test named by its argument and ends with a kselftest exit code; without arguments it runs
//! all, each in a process of its own. The names are in the section [`SECTION`] of the ELF as well, a
//! line each, where the host reads them.

use std::process::ExitCode;

use crate::process::{self, Ended};

/// The section that [`tests!`](crate::tests) puts the names into.
pub const SECTION: &str = ".granule_tests";

/// Why a test could not be made here.
#[derive(Debug)]
pub struct Skip(pub &'static str);

/// What a test returns: nothing, or that it was skipped.
pub trait Outcome {
    /// Returns the exit code, after printing why a test was skipped.
    fn report(self) -> u8;
}

impl Outcome for () {
    fn report(self) -> u8 {
        0
    }
}

impl Outcome for Result<(), Skip> {
    fn report(self) -> u8 {
        match self {
            Ok(()) => 0,
            Err(Skip(reason)) => {
                println!("{reason}");
                crate::SKIP
            }
        }
    }
}

/// A test: its name, and what runs it.
pub type Test = (&'static str, fn() -> u8);

/// Makes the `main` of a program whose tests are the functions named.
#[macro_export]
macro_rules! tests {
    ($($test:ident),+ $(,)?) => {
        const NAMES: &str = concat!($(stringify!($test), "\n"),+);

        #[expect(unsafe_code, reason = "the section's name is one that nobody else gives meaning")]
        #[used]
        #[unsafe(link_section = ".granule_tests")]
        static NAMES_SECTION: [u8; NAMES.len()] = $crate::trial::bytes(NAMES);

        fn main() -> std::process::ExitCode {
            // Keeps the section from being collected by the linker.
            std::hint::black_box(&NAMES_SECTION);
            $crate::trial::main(&[$(
                (stringify!($test), || $crate::trial::Outcome::report($test())),
            )+])
        }
    };
}

/// Returns the bytes of `text`, whose length is `N`.
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    match text.as_bytes().first_chunk() {
        Some(bytes) => *bytes,
        None => [0; N],
    }
}

/// Runs the test named by the first argument, or all.
pub fn main(tests: &[Test]) -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        return run_all(tests);
    };
    match tests.iter().find(|test| test.0 == name) {
        Some((_, run)) => ExitCode::from(run()),
        None => {
            println!("no test is called {name}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(tests: &[Test]) -> ExitCode {
    let mut nr_failed = 0;
    println!("KTAP version 1\n1..{}", tests.len());
    for (index, (name, run)) in tests.iter().enumerate() {
        let number = index + 1;
        match process::fork(|| i32::from(run())).wait() {
            Ended::Exited(0) => println!("ok {number} {name}"),
            Ended::Exited(code) if code == i32::from(crate::SKIP) => {
                println!("ok {number} {name} # SKIP");
            }
            ended => {
                nr_failed += 1;
                println!("not ok {number} {name} # {ended:?}");
            }
        }
    }
    if nr_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
