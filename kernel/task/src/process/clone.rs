// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes threads and processes: clone, and the first process.

use alloc::boxed::Box;
use alloc::sync::Arc;

use abi::Errno;
use abi::clone::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_SETTLS,
    CLONE_SIGHAND, CLONE_THREAD, CLONE_VFORK, CLONE_VM,
};
use base::VirtAddr;
use base::sync::atomic::Ordering;
use hal::{FpState, Platform, UserRegs, WaitChannel};
use mm::Mm;

use super::table::Tree;
use super::{Process, Thread, Work, run};
use crate::kernel::Kernel;
use crate::sched::UserState;
use crate::signal;
use crate::syscall::restart;

/// Kernel heap that a new process or thread may need, its stack left out.
const HEAP_BYTES: usize = 64 << 10;

/// What clone was called with.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct CloneRequest {
    /// CLONE_*.
    pub flags: u64,
    /// Top of the child's stack; 0: that of the parent.
    pub stack: u64,
    /// Where CLONE_PARENT_SETTID stores the number.
    pub parent_tid: u64,
    /// Where CLONE_CHILD_SETTID and CLONE_CHILD_CLEARTID store.
    pub child_tid: u64,
    /// The thread pointer for CLONE_SETTLS.
    pub tls: u64,
    /// The signal that tells the parent of the end.
    pub exit_signal: u8,
}

impl CloneRequest {
    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// # Errors
    ///
    /// EINVAL for combinations that make no sense (Linux kernel/fork.c, copy_process()).
    fn check(&self) -> Result<(), Errno> {
        let needs = |flag, other| self.has(flag) && !self.has(other);
        if needs(CLONE_THREAD, CLONE_SIGHAND) || needs(CLONE_SIGHAND, CLONE_VM) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

impl<P: Platform> Kernel<P> {
    /// Makes a thread or a process that goes on where `regs` are. Returns its number.
    ///
    /// # Errors
    ///
    /// EINVAL, EAGAIN, ENOMEM.
    pub(crate) fn clone_thread(
        &'static self,
        parent: &Arc<Thread<P>>,
        regs: &UserRegs,
        request: &CloneRequest,
    ) -> Result<u32, Errno> {
        request.check()?;
        // Before the costly part: who forks without end is told so quickly.
        self.processes.with(|tree| tree.check_room())?;
        self.system().reserve_kernel_heap(HEAP_BYTES).map_err(|_| Errno::ENOMEM)?;
        let mm = self.memory_for_child(parent, request)?;
        let child = match self.enroll(parent, &mm, request) {
            Ok(child) => child,
            Err(why) => {
                mm.put_user();
                return Err(why);
            }
        };
        let tid = child.tid();
        if request.has(CLONE_PARENT_SETTID) {
            // As Linux: a bad address is the parent's problem, not an error of the call.
            let _ = self.copy_out(parent, request.parent_tid, &tid.to_le_bytes());
        }
        if request.has(CLONE_CHILD_SETTID) {
            let _ = mm.write_remote(VirtAddr::new(request.child_tid), &tid.to_le_bytes());
        }
        if request.has(CLONE_CHILD_CLEARTID) {
            child.clear_tid.store(request.child_tid, Ordering::Relaxed);
        }
        self.start(&child, mm, regs, request).inspect_err(|_| self.withdraw(&child))?;
        if request.has(CLONE_VFORK) {
            self.wait_for_vfork(parent, &child);
        }
        Ok(tid)
    }

    /// Returns the child's address space, with a user for the child.
    fn memory_for_child(
        &self,
        parent: &Arc<Thread<P>>,
        request: &CloneRequest,
    ) -> Result<Arc<Mm<P>>, Errno> {
        let mm = parent.process.mm();
        if request.has(CLONE_VM) {
            assert!(mm.get_user(), "a running thread's address space has a user");
            return Ok(mm);
        }
        mm.fork().map_err(|_| Errno::ENOMEM)
    }

    /// Enters the child into the tree.
    fn enroll(
        &self,
        parent: &Arc<Thread<P>>,
        mm: &Arc<Mm<P>>,
        request: &CloneRequest,
    ) -> Result<Arc<Thread<P>>, Errno> {
        let own = &parent.process;
        let name = parent.name();
        if request.has(CLONE_THREAD) {
            let child = self.processes.with(|tree| {
                let child = Thread::new(tree.take_id()?, Arc::clone(own), name);
                tree.add_thread(&child);
                Ok::<_, Errno>(child)
            })?;
            child.inherit(parent, request.flags);
            // An exit of the group or an exec that has begun did not see this thread.
            if own.group_exit().is_some() || own.is_execing.load(Ordering::SeqCst) {
                child.add_work(Work::EXIT);
            }
            return Ok(child);
        }
        let parts = own.parts_for_child(request.flags)?;
        let mm = Arc::clone(mm);
        let image = own.image();
        let enter = |tree: &mut Tree<P>| {
            let pid = tree.take_id()?;
            let child = Thread::new(pid, Process::new(pid, mm, image, parts), name);
            let of_parent = || tree.nodes.get(&own.pid).map_or(own.pid, |node| node.parent);
            let parent = if request.has(CLONE_PARENT) { of_parent() } else { own.pid };
            tree.add_process(&child, parent, request.exit_signal);
            if let (Some(group), Some(node)) = (
                tree.nodes.get(&own.pid).map(|own| (own.group, own.session)),
                tree.nodes.get_mut(&pid),
            ) {
                (node.group, node.session) = group;
            }
            Ok::<_, Errno>(child)
        };
        let child = self.processes.without_forks(|| {
            // As Linux: a signal to the group that has reached the parent would miss the child.
            if own.group_exit().is_some() || signal::is_pending(parent) {
                return Err(restart::NO_INTERRUPT);
            }
            self.processes.with(enter)
        })?;
        child.inherit(parent, request.flags);
        Ok(child)
    }

    /// Undoes [`Kernel::enroll`] for a thread that could not be started.
    fn withdraw(&self, child: &Arc<Thread<P>>) {
        let node = self.processes.with(|tree| {
            tree.threads.remove(&child.tid());
            let node = tree.nodes.get_mut(&child.process.pid)?;
            node.threads.retain(|other| !Arc::ptr_eq(other, child));
            if node.threads.is_empty() { tree.reap(child.process.pid) } else { None }
        });
        drop(node);
    }

    /// Runs the child; takes the user of `mm`.
    fn start(
        &'static self,
        child: &Arc<Thread<P>>,
        mm: Arc<Mm<P>>,
        regs: &UserRegs,
        request: &CloneRequest,
    ) -> Result<(), Errno> {
        let machine = self.machine();
        let mut fp = Box::new(FpState::default());
        machine.save_fp(&mut fp);
        let tls = if request.has(CLONE_SETTLS) { request.tls } else { machine.save_tls() };
        let tags = self.sched().current().with_user(|user| user.tags);
        let mut regs = *regs;
        regs.x[0] = 0;
        if request.stack != 0 {
            regs.sp = request.stack;
        }
        let user = UserState { mm: Some(Arc::clone(&mm)), fp, tls, tags };
        self.spawn_user(child, user, regs).inspect_err(|_| mm.put_user())
    }

    fn spawn_user(
        &'static self,
        thread: &Arc<Thread<P>>,
        user: UserState<P>,
        regs: UserRegs,
    ) -> Result<(), Errno> {
        let thread = Arc::clone(thread);
        let job = move || {
            run::run(self, &thread, regs);
            self.leave(&thread);
        };
        self.sched().spawn(user, job).map_err(|_| Errno::ENOMEM)
    }

    /// Sleeps until the child needs its parent's memory no more. A parent that is to end goes on.
    fn wait_for_vfork(&self, parent: &Thread<P>, child: &Thread<P>) {
        let done = &child.process.vfork_done;
        self.sched().sleep_until(WaitChannel::of(done), &mut || {
            done.load(Ordering::SeqCst) != 0 || parent.has_work(Work::EXIT)
        });
    }

    /// Starts the first process: a thread that execs `request` before it runs any user code.
    ///
    /// # Errors
    ///
    /// What exec or the making of a thread says.
    pub fn start_init(
        &'static self,
        path: &[u8],
        args: &[&[u8]],
        env: &[&[u8]],
    ) -> Result<(), Errno> {
        let mm = Mm::new(self.system()).map_err(|_| Errno::ENOMEM)?;
        let parts = self.parts_for_init();
        let init = self.processes.with(|tree| {
            let pid = tree.take_id()?;
            let process = Process::new(pid, Arc::clone(&mm), Arc::default(), parts);
            let init = Thread::new(pid, process, [0; super::NAME_LEN]);
            tree.add_process(&init, 0, 0);
            Ok::<_, Errno>(init)
        })?;
        let request = super::ExecRequest::new(path, args, env);
        let user = UserState { mm: Some(mm), ..UserState::default() };
        let job = move || {
            let mut regs = UserRegs::default();
            match self.exec(&init, &mut regs, request) {
                Ok(()) => run::run(self, &init, regs),
                Err((why, path)) => self.init_does_not_start(&path, why),
            }
            self.leave(&init);
        };
        self.sched().spawn(user, job).map_err(|_| Errno::ENOMEM)
    }
}
