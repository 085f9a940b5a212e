// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate holds what every EL0 test program needs.
//!
//! A program tests one behaviour and is named after it. It ends with a kselftest exit code: 0 for
//! pass, 4 for skip, anything else for failure. An `assert!` that fails aborts, which `runner`
//! reports as a failure too. The same programs run on Linux, whose answer is the right one.

use std::process::ExitCode;

/// The kselftest exit code of a test that could not be made here (`KSFT_SKIP`).
pub const SKIP: u8 = 4;

/// Ends a test that cannot be made here; the last line of its output is the reason.
pub fn skip(reason: &str) -> ExitCode {
    println!("{reason}");
    ExitCode::from(SKIP)
}
