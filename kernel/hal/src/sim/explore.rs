// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs a test body once per seed and says which seed failed.

use core::ops::Range;

/// Runs `body` for each seed. Under the model checker the seed also decides the schedule, so that a
/// seed replays the whole run; otherwise the host schedules what threads `body` starts.
///
/// # Panics
///
/// When `body` does; the failing seed is printed first.
#[cfg(not(shuttle))]
pub fn explore(seeds: Range<u64>, body: impl Fn(u64) + Send + Sync + 'static) {
    for seed in seeds {
        let _named = NameOnPanic(seed);
        body(seed);
    }
}

/// Runs `body` for each seed. Under the model checker the seed also decides the schedule, so that a
/// seed replays the whole run; otherwise the host schedules what threads `body` starts.
///
/// # Panics
///
/// When `body` does; the failing seed is printed first.
#[cfg(shuttle)]
pub fn explore(seeds: Range<u64>, body: impl Fn(u64) + Send + Sync + 'static) {
    use shuttle::scheduler::RandomScheduler;

    let mut config = shuttle::Config::new();
    // Kernel code formats panics on these stacks; the default of 32 KiB does not hold that.
    config.stack_size = 256 << 10;
    // The seed replays the schedule; printing the schedule as well is of no use.
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.silence_warnings = true;
    // More steps than any test takes: a run that gets there goes round in circles.
    config.max_steps = shuttle::MaxSteps::FailAfter(20_000_000);
    let body = std::sync::Arc::new(body);
    for seed in seeds {
        let _named = NameOnPanic(seed);
        let body = std::sync::Arc::clone(&body);
        let runner = shuttle::Runner::new(RandomScheduler::new_from_seed(seed, 1), config.clone());
        runner.run(move || body(seed));
    }
}

struct NameOnPanic(u64);

impl Drop for NameOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("failing seed: {}", self.0);
        }
    }
}
