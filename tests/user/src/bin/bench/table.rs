// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file prints the table of the benchmark.

use crate::rows::Cost;

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    /// The operation.
    pub name: &'static str,
    /// What it costs here with each size of folios; nothing where it could not be made.
    pub costs: Vec<Option<Cost>>,
    /// What it costs Linux.
    pub linux: &'static str,
    /// What it is to cost here.
    pub aim: &'static str,
}

impl Row {
    /// Prints it.
    pub fn print(&self) {
        let Self { name, linux, aim, .. } = self;
        let each = self.column(|cost| Some(cost.each));
        let (tlbis, requests) = (self.column(|cost| cost.tlbis), self.column(|cost| cost.requests));
        println!("bench: {name:<28} {each:>16} {linux:>16} {aim:>14} {tlbis:>14} {requests:>17}");
    }

    /// Returns a value for each size of folios; nothing when it is counted for none.
    fn column(&self, value: fn(&Cost) -> Option<u64>) -> String {
        let values: Vec<_> = self.costs.iter().map(|cost| cost.as_ref().and_then(value)).collect();
        if values.iter().all(Option::is_none) {
            return String::new();
        }
        let text = |value: &Option<u64>| value.map_or(String::from("-"), |value| value.to_string());
        values.iter().map(text).collect::<Vec<_>>().join("/")
    }
}

/// Prints the names of the columns.
pub fn heading(what: &str) {
    println!(
        "bench: {what:<28} {:>16} {:>16} {:>14} {:>14} {:>17}",
        "here", "Linux 7.2", "aim", "TLBIs", "disk I/O"
    );
}

/// Says what the numbers are.
pub fn unit(is_exact: bool) {
    let unit = if is_exact { "instructions" } else { "nanoseconds (no virtual time here)" };
    line("unit", unit);
    line("Linux 7.2.12 and the aims", "instructions on QEMU 10.0.2");
    line("a/b/c", "with folios of 4 KiB, of 64 KiB and of 2 MiB");
    line("TLBIs and disk I/O", "requests in all, over 64 MiB");
}

/// Prints a value that is in no table.
pub fn line(what: &str, value: &str) {
    println!("bench: {what}: {value}");
}
