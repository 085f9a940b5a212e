// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows processes to procfs.

use alloc::sync::Arc;
use alloc::vec::Vec;

use hal::Platform;

use super::{Credentials, NAME_LEN, Process, Thread};
use crate::fs::{MmUser, ProcSource, ProcessView, Vfs};
use crate::kernel::Kernel;
use crate::signal;
use crate::syscall::{RELEASE, VERSION};

/// What the tree says of a process or a thread.
struct Entry<P: Platform> {
    process: Arc<Process<P>>,
    /// The thread asked for, or the first one; `None` for a zombie.
    thread: Option<Arc<Thread<P>>>,
    nr_threads: usize,
    parent: u32,
    group: u32,
    session: u32,
}

impl<P: Platform> Kernel<P> {
    fn entry(&self, id: u32) -> Option<Entry<P>> {
        self.processes.with(|tree| {
            let of_thread = tree.threads.get(&id).map(|thread| thread.process().pid());
            let node = tree.nodes.get(&of_thread.unwrap_or(id))?;
            let asked = tree.threads.get(&id).or(node.threads.first());
            Some(Entry {
                process: Arc::clone(&node.process),
                thread: asked.cloned(),
                nr_threads: node.threads.len(),
                parent: node.parent,
                group: node.group,
                session: node.session,
            })
        })
    }

    /// Returns the user thread that runs on this CPU.
    fn running(&self) -> Option<Arc<Thread<P>>> {
        let current = self.sched().current();
        let is_current = |thread: &&Arc<Thread<P>>| {
            thread.kernel_thread().is_some_and(|own| core::ptr::eq(own, current))
        };
        self.processes.with(|tree| tree.threads.values().find(is_current).cloned())
    }

    fn state_of(&self, thread: Option<&Arc<Thread<P>>>) -> u8 {
        let Some(thread) = thread else { return b'Z' };
        match thread.kernel_thread() {
            _ if thread.process().signals.stop.is_active() => b'T',
            Some(own) if self.sched().is_asleep(own) => b'S',
            _ => b'R',
        }
    }
}

/// Returns the name of a thread, or of what is left of its process, without padding.
fn name_of<P: Platform>(entry: &Entry<P>) -> Vec<u8> {
    let Some(thread) = &entry.thread else {
        let image = entry.process.image();
        let base = image.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        return Vec::from(&base[..base.len().min(NAME_LEN - 1)]);
    };
    let padded = thread.name();
    let len = padded.iter().position(|byte| *byte == 0).unwrap_or(NAME_LEN);
    Vec::from(&padded[..len])
}

fn shown_ids(own: &Credentials) -> [[u32; 4]; 2] {
    // What the rights to files are judged by follows the effective one: there is no setfsuid.
    [own.user, own.group].map(|ids| [ids.real, ids.effective, ids.saved, ids.effective])
}

impl<P: Platform> ProcSource<P> for Kernel<P> {
    fn vfs(&self) -> &Vfs<P> {
        Kernel::vfs(self)
    }

    fn pids(&self) -> Vec<u32> {
        self.processes.with(|tree| tree.nodes.keys().copied().collect())
    }

    fn tids(&self, pid: u32) -> Vec<u32> {
        let threads = self.processes.threads_of(pid);
        let mut tids: Vec<u32> = threads.iter().map(|thread| thread.tid()).collect();
        tids.sort_unstable();
        tids
    }

    fn view(&self, pid: u32) -> Option<ProcessView<P>> {
        let entry = self.entry(pid)?;
        let process = &entry.process;
        let image = process.image();
        let is_alive = entry.thread.is_some();
        let signals = entry.thread.as_ref().map_or([0; 5], |thread| signal::shown(thread));
        Some(ProcessView {
            pid,
            tgid: process.pid(),
            ppid: entry.parent,
            group: entry.group,
            session: entry.session,
            state: self.state_of(entry.thread.as_ref()),
            name: name_of(&entry),
            nr_threads: entry.nr_threads,
            mm: is_alive.then(|| MmUser::new(process.mm())).flatten(),
            exe: image.path.clone(),
            args: image.args.clone(),
            env: image.env.clone(),
            files: process.file_table(),
            cwd: process.cwd(),
            oom_score_adj: process.oom_score_adj(),
            ids: shown_ids(&process.credentials()),
            may_be_privileged: process.credentials().may_be_privileged(),
            is_privileged: process.credentials().is_privileged(),
            umask: process.fs_context().umask(),
            signals,
        })
    }

    fn set_oom_score_adj(&self, pid: u32, adj: i16) -> Option<()> {
        self.entry(pid).map(|entry| entry.process.set_oom_score_adj(adj))
    }

    fn current(&self) -> (u32, u32) {
        self.running().map_or((0, 0), |thread| (thread.process().pid(), thread.tid()))
    }

    fn for_each_counter(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        Kernel::for_each_counter(self, visit);
    }

    fn sysrq(&self, key: u8) {
        Kernel::sysrq(self, key);
    }

    fn release(&self) -> (&'static str, &'static str) {
        (RELEASE, VERSION)
    }

    fn command_line(&self) -> &str {
        self.command_line.get().copied().unwrap_or("")
    }

    fn nr_forks(&self) -> u64 {
        self.processes.with(|tree| u64::from(tree.last_id()))
    }
}
