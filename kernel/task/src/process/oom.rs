// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file kills a process when memory is used up: the last resort.
//!
//! One at a time: while somebody is on the way out, nobody is chosen; and who found no memory before
//! another gave back its own tries again first (Linux: oom_lock, and the last look at the free lists
//! in __alloc_pages_may_oom()). Whom the choice falls on is the memory manager's rule
//! (`kernel/mm/src/reclaim/oom.rs`). Init is left out as long as there is somebody else: without it
//! the machine ends.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hal::Platform;
use mm::{FaultError, OomCandidate, pick_oom_victim};

use super::table::{INIT, Node};
use super::{ExitStatus, Process, Thread, Work};
use crate::kernel::Kernel;

/// The signal that ends a process at once.
const SIGKILL: u8 = 9;
/// How long who found no memory waits for somebody on the way out.
const PAUSE_NS: u64 = 1_000_000;

/// What is known of memory that is used up.
#[derive(Default)]
pub(crate) struct Oom {
    /// Somebody chooses a victim.
    is_choosing: AtomicBool,
    /// Address spaces given back so far.
    nr_given_back: AtomicU64,
    /// Victims so far.
    nr_kills: AtomicU64,
}

impl Oom {
    /// Takes note that a process has given back its address space.
    pub fn gave_back(&self) {
        self.nr_given_back.fetch_add(1, Ordering::Release);
    }

    /// Returns how often one was given back: to be asked before memory is, and handed to
    /// [`Kernel::out_of_memory`].
    pub fn nr_given_back(&self) -> u64 {
        self.nr_given_back.load(Ordering::Acquire)
    }

    /// Calls `kill`, unless somebody else is choosing, somebody is leaving, or an address space was
    /// given back since `given_back` was read.
    fn choose(
        &self,
        given_back: u64,
        is_anybody_leaving: impl FnOnce() -> bool,
        kill: impl FnOnce(),
    ) {
        if self.is_choosing.swap(true, Ordering::Acquire) {
            return;
        }
        // In this order: who is not leaving any more has given back.
        if !is_anybody_leaving() && self.nr_given_back() == given_back {
            kill();
        }
        self.is_choosing.store(false, Ordering::Release);
    }

    /// Returns how many processes were killed.
    pub fn nr_kills(&self) -> u64 {
        self.nr_kills.load(Ordering::Relaxed)
    }
}

/// A process that has memory.
struct User<P: Platform> {
    process: Arc<Process<P>>,
    mm: Arc<mm::Mm<P>>,
    birth: u64,
}

impl<P: Platform> Kernel<P> {
    /// Makes memory by killing a process, unless some was given back since `given_back` was read.
    /// The caller tries again.
    ///
    /// # Errors
    ///
    /// [`FaultError::OutOfMemory`] when the calling thread itself is to end, and gives back memory
    /// by that.
    pub(super) fn out_of_memory(
        &'static self,
        thread: &Thread<P>,
        given_back: u64,
    ) -> Result<(), FaultError> {
        if !thread.has_work(Work::EXIT) {
            self.oom.choose(given_back, || self.is_anybody_leaving(), || self.kill_one());
        }
        if thread.has_work(Work::EXIT) {
            return Err(FaultError::OutOfMemory);
        }
        if self.oom.nr_given_back() == given_back {
            self.sched().sleep_till(self.machine().now_ns() + PAUSE_NS);
        }
        Ok(())
    }

    /// Tells whether a process is on its way out, killed or not: it gives back what it has.
    fn is_anybody_leaving(&self) -> bool {
        let is_leaving = |node: &Node<P>| {
            let ends = |thread: &Arc<Thread<P>>| thread.has_work(Work::EXIT);
            node.ended.is_none()
                && (node.process.group_exit().is_some() || node.threads.iter().all(ends))
        };
        self.processes.with(|tree| tree.nodes.values().any(is_leaving))
    }

    fn kill_one(&'static self) {
        let users = self.users_of_memory();
        let init = users.iter().find(|user| user.process.pid() == INIT).map(|user| user.mm.id());
        let total = self.system().nr_managed_frames() + self.system().meminfo().swap_total;
        let candidate = |user: &User<P>| OomCandidate {
            pages: user.mm.badness(),
            adjustment: user.process.oom_score_adj(),
            birth: user.birth,
        };
        let others = users.iter().filter(|user| Some(user.mm.id()) != init);
        let victim = pick_oom_victim(others.map(|user| (user, candidate(user))), total)
            .or(users.iter().find(|user| user.process.pid() == INIT));
        let Some(victim) = victim else { return };
        // All who share the memory, or it would not be given back.
        for user in users.iter().filter(|user| user.mm.id() == victim.mm.id()) {
            let pid = user.process.pid();
            log::error!(
                "Out of memory: Killed process {pid} ({}), {} pages, oom_score_adj {}",
                self.name_of(pid),
                user.mm.badness(),
                user.process.oom_score_adj(),
            );
            log::debug!("{:?}", user.mm.stats());
            self.oom.nr_kills.fetch_add(1, Ordering::Relaxed);
            self.end_process(&user.process, ExitStatus::Signal(SIGKILL));
        }
    }

    /// Returns the processes that have not left, oldest first.
    fn users_of_memory(&self) -> Vec<User<P>> {
        let mut alive: Vec<_> = self.processes.with(|tree| {
            let alive = tree.nodes.values().filter(|node| node.ended.is_none());
            alive.map(|node| (node.birth, Arc::clone(&node.process))).collect()
        });
        alive.sort_unstable_by_key(|(birth, _)| *birth);
        let user = |(birth, process): (u64, Arc<Process<P>>)| {
            let mm = process.mm();
            User { process, mm, birth }
        };
        alive.into_iter().map(user).filter(|user| !user.mm.is_dead()).collect()
    }

    fn name_of(&self, pid: u32) -> String {
        let name = self.processes.thread(pid).map(|thread| thread.name()).unwrap_or_default();
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    fn nr_kills(oom: &Oom, given_back: u64, is_anybody_leaving: impl FnOnce() -> bool) -> u32 {
        let nr_kills = Cell::new(0);
        oom.choose(given_back, is_anybody_leaving, || nr_kills.set(nr_kills.get() + 1));
        nr_kills.get()
    }

    #[test]
    fn somebody_goes_when_nobody_leaves() {
        let oom = Oom::default();
        assert_eq!(nr_kills(&oom, 0, || false), 1);
        assert_eq!(nr_kills(&oom, 0, || false), 1);
    }

    #[test]
    fn nobody_goes_while_somebody_leaves() {
        assert_eq!(nr_kills(&Oom::default(), 0, || true), 0);
    }

    #[test]
    fn who_found_no_memory_before_some_was_given_back_tries_again() {
        let oom = Oom::default();
        let before = oom.nr_given_back();
        oom.gave_back();
        assert_eq!(nr_kills(&oom, before, || false), 0);
        assert_eq!(nr_kills(&oom, oom.nr_given_back(), || false), 1);
    }

    #[test]
    fn who_has_left_while_others_ask_has_given_back() {
        let oom = Oom::default();
        let leaves = || {
            oom.gave_back();
            false
        };
        assert_eq!(nr_kills(&oom, 0, leaves), 0);
    }

    #[test]
    fn one_chooses_at_a_time() {
        let oom = Oom::default();
        let inner = Cell::new(0);
        oom.choose(0, || false, || inner.set(nr_kills(&oom, 0, || false)));
        assert_eq!(inner.get(), 0);
    }
}
