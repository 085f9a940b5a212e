// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file prints the table of the benchmark.

use crate::rows::Cost;

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    /// The operation.
    pub name: &'static str,
    /// What it costs here; nothing when it could not be made.
    pub cost: Option<Cost>,
    /// What it costs Linux.
    pub linux: &'static str,
    /// What it is to cost here.
    pub aim: &'static str,
}

impl Row {
    /// Makes the row of a cost that has no TLB column.
    pub fn of_call(name: &'static str, each: u64, linux: &'static str, aim: &'static str) -> Self {
        Self { name, cost: Some(Cost { each, tlbis: None, requests: None }), linux, aim }
    }

    /// Prints it.
    pub fn print(&self) {
        let Self { name, cost, linux, aim } = self;
        let Some(cost) = cost else {
            println!("bench: {name:<32} {:>10} {linux:>10} {aim:>8}", "no swap");
            return;
        };
        let (tlbis, requests) = (count(cost.tlbis), count(cost.requests));
        let each = cost.each;
        println!("bench: {name:<32} {each:>10} {linux:>10} {aim:>8} {tlbis:>8} {requests:>10}");
    }
}

/// Prints the names of the columns.
pub fn heading() {
    println!(
        "bench: {:<32} {:>10} {:>10} {:>8} {:>8} {:>10}",
        "per 4 KiB page", "here", "Linux 7.2", "aim", "TLBIs", "disk I/O"
    );
}

/// Says what the numbers are.
pub fn unit(is_exact: bool) {
    let unit = if is_exact { "instructions" } else { "nanoseconds (no virtual time here)" };
    line("unit", unit);
    line("Linux 7.2.12 and the aims", "instructions on QEMU 10.0.2");
    line("TLBIs and disk I/O", "requests in all, over 64 MiB");
}

/// Prints a value that is in no table.
pub fn line(what: &str, value: &str) {
    println!("bench: {what}: {value}");
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(String::new, |count| count.to_string())
}
