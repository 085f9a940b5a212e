// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file writes the rules of QEMU's block driver `blkdebug`, which fails requests (QEMU,
//! docs/devel/blkdebug.rst).
//!
//! Its state is a number that starts at 1, and can be made to change at events. The raw format above it has
//! an event for each read and each write, so the n-th of them is where the state is n.

use std::fmt::Write;

use crate::profile::{DiskError, Request};

/// The events of reads and writes.
const EVENTS: [&str; 2] = ["read_aio", "write_aio"];

/// Writes the options for a disk's errors.
pub fn rules(errors: &[DiskError]) -> String {
    let mut rules = Rules::default();
    // Requests are counted as far as somebody wants to know.
    let last = errors.iter().filter_map(|error| error.nth.map(|nth| nth + u32::from(error.once)));
    for state in 1..last.max().unwrap_or(0) {
        EVENTS.into_iter().for_each(|event| rules.count(event, state));
    }
    for error in errors {
        match error.nth {
            // Armed from the start.
            None => rules.inject("none", error),
            Some(_) => EVENTS.into_iter().for_each(|event| rules.inject(event, error)),
        }
    }
    rules.text
}

#[derive(Default)]
struct Rules {
    text: String,
    nr_states: usize,
    nr_errors: usize,
}

impl Rules {
    fn count(&mut self, event: &str, state: u32) {
        let rule = format!(",set-state.{}", self.nr_states);
        self.nr_states += 1;
        let next = state + 1;
        self.add(format_args!("{rule}.event={event}{rule}.state={state}{rule}.new_state={next}"));
    }

    fn inject(&mut self, event: &str, error: &DiskError) {
        let rule = format!(",inject-error.{}", self.nr_errors);
        self.nr_errors += 1;
        self.add(format_args!("{rule}.event={event}"));
        if let Some(state) = error.nth {
            self.add(format_args!("{rule}.state={state}"));
        }
        if let Some(request) = error.on {
            self.add(format_args!("{rule}.iotype={}", kind(request)));
        }
        self.add(format_args!("{rule}.errno={}", error.errno));
        if let Some(sector) = error.sector {
            self.add(format_args!("{rule}.sector={sector}"));
        }
        if error.once {
            self.add(format_args!("{rule}.once=on"));
        }
    }

    fn add(&mut self, option: std::fmt::Arguments<'_>) {
        self.text.write_fmt(option).expect("a string takes all");
    }
}

fn kind(request: Request) -> &'static str {
    match request {
        Request::Read => "read",
        Request::Write => "write",
        Request::Flush => "flush",
        Request::Discard => "discard",
    }
}
