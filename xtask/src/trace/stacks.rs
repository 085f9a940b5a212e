// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file folds a trace into stacks: which span was within which, and how long it took without
//! those within it.
//!
//! The text is that of Brendan Gregg's `flamegraph.pl`: frames with semicolons between, a blank, ns.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::log::{Event, Log};

/// Nanoseconds by stack; the first frame is the thread.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Stacks(pub BTreeMap<Vec<String>, u64>);

/// A span with those that enclose it on the stack.
struct Frame<'a> {
    event: &'a Event,
    /// What it took without the spans within.
    own_ns: u64,
}

impl Stacks {
    /// Folds the spans of each thread.
    pub fn of(log: &Log) -> Self {
        let mut stacks = Self::default();
        for (lane, name) in &log.lanes {
            let spans =
                log.events.iter().filter(|event| event.lane == *lane && event.duration_ns > 0);
            stacks.fold(&frame_name(name), spans);
        }
        stacks
    }

    /// Folds the spans of a thread, those that enclose others first.
    fn fold<'a>(&mut self, thread: &str, spans: impl Iterator<Item = &'a Event>) {
        let mut open: Vec<Frame<'a>> = Vec::new();
        for event in spans {
            while open.last().is_some_and(|frame| frame.event.end_ns() < event.end_ns()) {
                self.close(thread, &mut open);
            }
            if let Some(outer) = open.last_mut() {
                outer.own_ns -= event.duration_ns.min(outer.own_ns);
            }
            open.push(Frame { event, own_ns: event.duration_ns });
        }
        while !open.is_empty() {
            self.close(thread, &mut open);
        }
    }

    /// Takes the innermost span off the stack and adds up what it took.
    fn close(&mut self, thread: &str, open: &mut Vec<Frame<'_>>) {
        let names = open.iter().map(|frame| frame.event.name.clone());
        let stack: Vec<String> = std::iter::once(thread.to_owned()).chain(names).collect();
        if let Some(frame) = open.pop() {
            *self.0.entry(stack).or_default() += frame.own_ns;
        }
    }

    /// Returns a line for each stack.
    pub fn folded(&self) -> String {
        self.0.iter().filter(|(_, ns)| **ns > 0).fold(String::new(), |mut text, (stack, ns)| {
            let _ = writeln!(text, "{} {ns}", stack.join(";"));
            text
        })
    }
}

/// Frames have semicolons between and a blank behind.
fn frame_name(name: &str) -> String {
    name.replace([';', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::log::tests::sample;

    #[test]
    fn a_span_counts_without_those_within_it() {
        assert_eq!(
            Stacks::of(&sample()).folded(),
            "demo;fault 600\ndemo;fault;swap_in 400\ndemo;fault;swap_in;block_wait 500\nsh;fault 100\n"
        );
    }

    #[test]
    fn spans_one_after_the_other_are_not_within_each_other() {
        let mut log = sample();
        log.events.retain(|event| event.name == "fault");
        log.events[1].lane = 7;
        log.events[1].start_ns = log.events[0].end_ns();
        assert_eq!(Stacks::of(&log).folded(), "demo;fault 1600\n");
    }
}
