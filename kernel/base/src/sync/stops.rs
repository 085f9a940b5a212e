// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds a CPU at a stop point until another lets it go on: a race, on the real machine, in
//! the one order that matters. Only kernels for experiments have it.

use super::atomic::{AtomicU32, Ordering};
use super::{backend, notify, relax};

/// Nobody is wanted.
const OPEN: u32 = 0;
/// Who comes next is to stop.
const WANTED: u32 = 1;
/// Somebody stands there.
const HELD: u32 = 2;

/// A stop point at which the next who comes is held.
pub struct Hold {
    name: backend::Mutex<&'static str>,
    state: AtomicU32,
}

/// As many as one race needs.
static HOLDS: [Hold; 2] = [Hold::new(), Hold::new()];

impl Hold {
    const fn new() -> Self {
        Self { name: backend::Mutex::new(""), state: AtomicU32::new(OPEN) }
    }

    /// Has the next CPU that comes to `name` stop there.
    ///
    /// # Panics
    ///
    /// When there are two already.
    pub fn at(name: &'static str) -> &'static Self {
        let is_open = |hold: &&Self| hold.state.load(Ordering::Acquire) == OPEN;
        let hold = HOLDS.iter().find(is_open).expect("two holds at most");
        *hold.name.lock() = name;
        hold.state.store(WANTED, Ordering::Release);
        hold
    }

    /// Tells whether a CPU stands there.
    pub fn is_held(&self) -> bool {
        self.state.load(Ordering::Acquire) == HELD
    }

    /// Lets the CPU go on.
    pub fn release(&self) {
        self.state.store(OPEN, Ordering::Release);
        notify();
    }

    fn come(&self, name: &str) {
        let is_wanted = self.state.load(Ordering::Acquire) == WANTED && *self.name.lock() == name;
        let stops = || {
            let relaxed = Ordering::Relaxed;
            self.state.compare_exchange(WANTED, HELD, Ordering::AcqRel, relaxed).is_ok()
        };
        if is_wanted && stops() {
            notify();
            while self.state.load(Ordering::Acquire) == HELD {
                relax();
            }
        }
    }
}

/// Stops here if somebody wants it.
pub fn come_to(name: &'static str) {
    HOLDS.iter().for_each(|hold| hold.come(name));
}
