// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file prints what was measured, a line each: `bench: NAME VALUE [tlbis=N] [requests=N]`.
//!
//! `cargo xtask bench` makes tables, charts and files of such lines. A name is that of a row; behind
//! `@` there may be a point of a series (`growth_fault@64M`), behind `/` the size of folios
//! (`fault/64K`), and `+mte` stands for memory with tags (`fault/64K+mte`).

use crate::cost::Cost;
use crate::size::Size;

/// How the memory of a row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// The size of its folios.
    pub size: Size,
    /// Whether it has tags (PROT_MTE).
    pub is_tagged: bool,
}

impl Kind {
    /// Returns its name in the report.
    pub fn name(self) -> String {
        let tags = if self.is_tagged { "+mte" } else { "" };
        format!("{}{tags}", self.size.name())
    }
}

/// Prints a fact about the run.
pub fn fact(name: &str, value: &str) {
    println!("bench: {name}={value}");
}

/// Prints a number.
pub fn value(name: &str, value: impl std::fmt::Display) {
    println!("bench: {name} {value}");
}

/// Prints what an operation has cost on memory of some kind.
pub fn cost(name: &str, kind: Kind, cost: &Cost) {
    print!("bench: {name}/{} {}", kind.name(), cost.each);
    for (what, number) in [("tlbis", cost.tlbis), ("requests", cost.requests)] {
        if let Some(number) = number {
            print!(" {what}={number}");
        }
    }
    println!();
}
