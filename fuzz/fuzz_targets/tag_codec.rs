// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program looks for bytes that the tag codec takes wrongly, or that make it panic.

#![no_main]

#[path = "../../kernel/mm/tests/tag_codec/checks.rs"]
mod checks;
#[path = "../../kernel/mm/tests/tag_codec/reference.rs"]
mod reference;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::any(bytes));
