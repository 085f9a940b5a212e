// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file kills a process when memory is used up: the last resort.
//!
//! One at a time: while somebody who was chosen has not given back its memory, nobody else is.

use alloc::sync::Arc;

use hal::Platform;
use mm::{FaultError, Mm};

use super::table::INIT;
use super::{ExitStatus, Process, Thread, Work};
use crate::kernel::Kernel;

/// The signal that ends a process at once.
const SIGKILL: u8 = 9;

impl<P: Platform> Kernel<P> {
    /// Makes memory by killing the process that has most. The caller tries again.
    ///
    /// # Errors
    ///
    /// [`FaultError::OutOfMemory`] when the calling thread itself is to end, and gives back memory
    /// by that.
    pub(super) fn out_of_memory(&'static self, thread: &Arc<Thread<P>>) -> Result<(), FaultError> {
        if thread.has_work(Work::EXIT) {
            return Err(FaultError::OutOfMemory);
        }
        let is_leaving = self.processes.with(|tree| {
            tree.nodes.values().any(|node| {
                // On its way out, killed or not, it gives back what it has.
                node.ended.is_none() && node.process.group_exit().is_some()
            })
        });
        if !is_leaving {
            self.kill_the_largest();
        }
        if thread.has_work(Work::EXIT) {
            return Err(FaultError::OutOfMemory);
        }
        self.sched().sleep_till(self.machine().now_ns() + 1_000_000);
        Ok(())
    }

    fn kill_the_largest(&'static self) {
        // Init last: without it the machine ends.
        let init = self.processes.process(INIT).map(|init| init.mm());
        let is_init = |mm: &Mm<P>| init.as_ref().is_some_and(|init| init.id() == mm.id());
        let users = self.users_of_memory();
        let has_user = |mm: &Mm<P>| users.iter().any(|(_, id)| *id == mm.id());
        let system = self.system();
        let victim = system
            .pick_oom_victim(|mm| !is_init(mm) && has_user(mm))
            .or_else(|| system.pick_oom_victim(|mm| has_user(mm)));
        let Some(victim) = victim else { return };
        for (process, id) in users.iter().filter(|(_, id)| *id == victim.id()) {
            let stats = victim.stats();
            log::error!(
                "Out of memory: Killed process {} ({}) mm {:?}, {} pages",
                process.pid(),
                self.name_of(process.pid()),
                id,
                victim.badness(),
            );
            log::debug!("{stats:?}");
            self.end_process(process, ExitStatus::Signal(SIGKILL));
        }
    }

    /// Returns the processes that are no zombies, with the numbers of their address spaces.
    fn users_of_memory(&self) -> alloc::vec::Vec<(Arc<Process<P>>, mm::MmId)> {
        let processes: alloc::vec::Vec<_> = self.processes.with(|tree| {
            let alive = tree.nodes.values().filter(|node| node.ended.is_none());
            alive.map(|node| Arc::clone(&node.process)).collect()
        });
        processes
            .into_iter()
            .map(|process| {
                let id = process.mm().id();
                (process, id)
            })
            .collect()
    }

    fn name_of(&self, pid: u32) -> alloc::string::String {
        let name = self.processes.thread(pid).map(|thread| thread.name()).unwrap_or_default();
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        alloc::string::String::from_utf8_lossy(&name[..end]).into_owned()
    }
}
