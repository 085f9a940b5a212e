// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs a test body under every schedule of its stop points, or under one that is written
//! down.
//!
//! A thread runs until it is at a stop point (`base::sync::stop_point`), has to wait, or ends. Only
//! there is it decided who goes on, so the schedules can be counted, and each is a short list of
//! decisions that replays it. Leaving a thread that could go on is a *preemption*; bugs need few.
//!
//! It takes the model checker; without, the body runs a few times as the host likes.

#[cfg(shuttle)]
use alloc::vec::Vec;

/// One part of a schedule that is written down: a thread, counted from 1 in the order they were
/// started (0: the one that started them), and the stop point that it runs to. Without one, it runs to
/// its end or until it has to wait.
pub type Leg = (usize, Option<&'static str>);

/// Runs `body` under every schedule with `preemptions` preemptions at most, and returns how many
/// there are. `GRANULE_STOPS=0,2,1` runs the one schedule with these decisions, and 0 for all after.
///
/// # Panics
///
/// When `body` does; the decisions that led there are printed first.
#[cfg(not(shuttle))]
pub fn explore_stops(_preemptions: usize, body: impl Fn() + Send + Sync + 'static) -> usize {
    const RUNS: usize = 5;
    (0..RUNS).for_each(|_| body());
    RUNS
}

/// Runs `body` under one schedule, and the rest of it in order.
///
/// # Panics
///
/// When `body` does, or when a stop point is not met.
#[cfg(not(shuttle))]
pub fn replay_stops(_legs: &[Leg], body: impl Fn() + Send + Sync + 'static) {
    body();
}

#[cfg(shuttle)]
pub use checked::{explore_stops, replay_stops};

#[cfg(shuttle)]
mod checked {
    use alloc::string::String;
    use alloc::sync::Arc;
    use std::sync::Mutex;

    use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

    use super::{Leg, Vec};

    /// A decision: which of so many ways was taken.
    #[derive(Clone, Copy)]
    struct Taken {
        way: usize,
        nr_ways: usize,
    }

    /// The decisions of a run.
    #[derive(Default)]
    struct Path {
        taken: Vec<Taken>,
        /// How many of them this run has come to.
        depth: usize,
        nr_preemptions: usize,
        nr_runs: usize,
        is_given: bool,
    }

    impl Path {
        fn decide(&mut self, nr_ways: usize) -> usize {
            if self.depth == self.taken.len() {
                self.taken.push(Taken { way: 0, nr_ways });
            }
            let taken = &mut self.taken[self.depth];
            taken.nr_ways = nr_ways;
            assert!(taken.way < nr_ways, "a decision among {nr_ways} ways was {}", taken.way);
            self.depth += 1;
            taken.way
        }

        /// Goes on to the next schedule, depth first; `false` when that was the last.
        fn advance(&mut self) -> bool {
            (self.depth, self.nr_preemptions) = (0, 0);
            self.nr_runs += 1;
            if self.nr_runs == 1 {
                return true;
            }
            while let Some(last) = self.taken.last_mut() {
                last.way += 1;
                if last.way < last.nr_ways && !self.is_given {
                    return true;
                }
                self.taken.pop();
            }
            false
        }
    }

    struct AllStops {
        path: Arc<Mutex<Path>>,
        preemptions: usize,
    }

    impl Scheduler for AllStops {
        fn new_execution(&mut self) -> Option<Schedule> {
            let goes_on = self.path.lock().expect("one thread").advance();
            goes_on.then(|| Schedule::new(0))
        }

        fn next_task(
            &mut self,
            tasks: &[&Task],
            current: Option<TaskId>,
            is_yielding: bool,
        ) -> Option<TaskId> {
            let stop = base::sync::take_stop();
            let current = current.filter(|id| tasks.iter().any(|task| task.id() == *id));
            let Some(current) = current else {
                let mut path = self.path.lock().expect("one thread");
                return Some(tasks[path.decide(tasks.len())].id());
            };
            let others = || tasks.iter().map(|task| task.id()).filter(|id| *id != current);
            if is_yielding {
                // It spins for somebody else: all get their turn.
                return Some(next_in_turn(current, others()).unwrap_or(current));
            }
            let mut path = self.path.lock().expect("one thread");
            if stop.is_none() || path.nr_preemptions == self.preemptions {
                return Some(current);
            }
            let way = path.decide(1 + others().count());
            path.nr_preemptions += usize::from(way != 0);
            Some(if way == 0 { current } else { others().nth(way - 1).expect("a way") })
        }

        fn next_u64(&mut self) -> u64 {
            0
        }
    }

    fn next_in_turn(current: TaskId, others: impl Iterator<Item = TaskId>) -> Option<TaskId> {
        // Those behind it first, then from the start.
        others.min_by_key(|id| (*id < current, *id))
    }

    /// See above.
    pub fn explore_stops(preemptions: usize, body: impl Fn() + Send + Sync + 'static) -> usize {
        let mut path = Path::default();
        if let Ok(given) = std::env::var("GRANULE_STOPS") {
            let way = |word: &str| word.trim().parse().expect("GRANULE_STOPS=0,2,1");
            let words = given.split(',').filter(|word| !word.trim().is_empty());
            path.taken = words.map(|word| Taken { way: way(word), nr_ways: 0 }).collect();
            path.is_given = true;
        }
        let path = Arc::new(Mutex::new(path));
        let _named = PathOnPanic(Arc::clone(&path));
        run(AllStops { path: Arc::clone(&path), preemptions }, body);
        let nr_runs = path.lock().expect("one thread").nr_runs;
        nr_runs - 1
    }

    struct PathOnPanic(Arc<Mutex<Path>>);

    impl Drop for PathOnPanic {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let path = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let ways = &path.taken[..path.depth];
                // What is not given is 0.
                let end = ways.iter().rposition(|taken| taken.way != 0).map_or(0, |last| last + 1);
                let ways: Vec<String> =
                    ways[..end].iter().map(|taken| alloc::format!("{}", taken.way)).collect();
                std::eprintln!("failing schedule: GRANULE_STOPS={}", ways.join(","));
            }
        }
    }

    struct OneWay {
        legs: Vec<Leg>,
        /// Legs that are over.
        nr_over: Arc<Mutex<usize>>,
        is_done: bool,
    }

    impl Scheduler for OneWay {
        fn new_execution(&mut self) -> Option<Schedule> {
            (!core::mem::replace(&mut self.is_done, true)).then(|| Schedule::new(0))
        }

        fn next_task(
            &mut self,
            tasks: &[&Task],
            current: Option<TaskId>,
            is_yielding: bool,
        ) -> Option<TaskId> {
            let stop = base::sync::take_stop();
            let can_go_on = |id: TaskId| {
                tasks.iter().any(|task| task.id() == id) && !(is_yielding && current == Some(id))
            };
            let mut nr_over = self.nr_over.lock().expect("one thread");
            while let Some((thread, until)) = self.legs.get(*nr_over) {
                let id = TaskId::from(*thread);
                let is_met = until.is_some() && current == Some(id) && stop == *until;
                if !is_met && can_go_on(id) {
                    return Some(id);
                }
                if !is_met && until.is_some() {
                    // It has not started, or waits for another.
                    break;
                }
                *nr_over += 1;
            }
            let others = tasks.iter().map(|task| task.id()).filter(|id| Some(*id) != current);
            let next = || next_in_turn(current.unwrap_or(TaskId::from(0)), others);
            current.filter(|id| can_go_on(*id)).or_else(next).or(current)
        }

        fn next_u64(&mut self) -> u64 {
            0
        }
    }

    /// See above.
    pub fn replay_stops(legs: &[Leg], body: impl Fn() + Send + Sync + 'static) {
        let nr_over = Arc::new(Mutex::new(0));
        // First of all the threads are started.
        let legs: Vec<Leg> = [(0, None)].iter().chain(legs).copied().collect();
        let scheduler =
            OneWay { legs: legs.clone(), nr_over: Arc::clone(&nr_over), is_done: false };
        run(scheduler, body);
        let nr_over = *nr_over.lock().expect("one thread");
        assert!(nr_over == legs.len(), "the schedule stops at leg {:?}", legs[nr_over]);
    }

    fn run(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) {
        let mut config = shuttle::Config::new();
        config.stack_size = 256 << 10;
        config.failure_persistence = shuttle::FailurePersistence::None;
        config.silence_warnings = true;
        config.max_steps = shuttle::MaxSteps::FailAfter(20_000_000);
        shuttle::Runner::new(scheduler, config).run(body);
    }
}
