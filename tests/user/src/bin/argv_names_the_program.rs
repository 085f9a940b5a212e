// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests that a program finds its own name in `argv[0]`, and nothing after it.

fn main() {
    let mut arguments = std::env::args();
    let name = arguments.next().expect("argv[0]");
    assert!(name.ends_with("/argv_names_the_program"), "argv[0] is {name}");
    assert_eq!(arguments.next(), None);
}
