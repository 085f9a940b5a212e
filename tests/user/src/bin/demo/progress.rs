// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows how far the demo is.

use std::time::{Duration, Instant};

use user_tests::memory::PAGE;

/// How often a line is shown.
const INTERVAL: Duration = Duration::from_secs(2);

const PAGES_PER_MIB: usize = (1 << 20) / PAGE;

/// A step that goes through all pages.
#[derive(Debug)]
pub struct Progress {
    step: String,
    nr_pages: usize,
    total_mib: usize,
    start: Instant,
    shown: Instant,
}

impl Progress {
    /// Starts a step.
    pub fn new(step: &str, total_mib: usize) -> Self {
        let now = Instant::now();
        Self { step: step.to_owned(), nr_pages: 0, total_mib, start: now, shown: now }
    }

    /// Notes that a page is done.
    pub fn page(&mut self) {
        self.nr_pages += 1;
        // The clock costs a system call.
        if self.nr_pages.is_multiple_of(PAGES_PER_MIB) && self.shown.elapsed() >= INTERVAL {
            self.shown = Instant::now();
            let (done, total) = (self.nr_pages / PAGES_PER_MIB, self.total_mib);
            println!("demo: {}: {done} of {total} MiB", self.step);
        }
    }

    /// Ends the step.
    pub fn end(&self) {
        let seconds = self.start.elapsed().as_secs_f64();
        println!("demo: {}: {} MiB in {seconds:.1} s", self.step, self.total_mib);
    }
}
