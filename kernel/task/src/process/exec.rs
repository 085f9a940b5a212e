// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file replaces the program of a process: execve.
//!
//! 1. Find out what the file is, and for a script what its interpreter is ([`Plan`]).
//! 2. Map it into an address space of its own. Until here the old program goes on after an error.
//!    (Linux gives the old one up before this step, and kills the process when it fails.)
//! 3. End the other threads. From here on there is no way back.
//! 4. Take the new address space, and forget what belonged to the old program.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use base::PAGE_SIZE;
use base::sync::atomic::Ordering;
use hal::{Platform, UserRegs, WaitChannel};
use mm::{Mm, Shmem};

use super::{Credentials, Image as Running, STACK_LIMIT, Thread, Work};
use crate::exec::elf::Image;
use crate::exec::load::{self, LoadError, Loaded};
use crate::exec::place::Offsets;
use crate::exec::start_stack::Strings;
use crate::exec::{HEAD_SIZE, script};
use crate::kernel::Kernel;
use crate::sched::UserState;
use crate::signal;

/// Kernel heap that a new address space may need.
const HEAP_BYTES: usize = 64 << 10;

/// What execve was called with.
pub(crate) struct ExecRequest {
    pub path: Vec<u8>,
    pub args: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
}

impl ExecRequest {
    pub fn new(path: &[u8], args: &[&[u8]], env: &[&[u8]]) -> Self {
        let owned = |strings: &[&[u8]]| strings.iter().map(|string| string.to_vec()).collect();
        Self { path: path.to_vec(), args: owned(args), env: owned(env) }
    }
}

/// Why a program does not start, and the file that is at fault.
pub(crate) type ExecError = (Errno, Vec<u8>);

/// A program and what it is to be run with.
struct Plan<P: Platform> {
    /// The path of the file from the root.
    path: Vec<u8>,
    file: Arc<Shmem<P>>,
    image: Image,
    linker: Option<(Arc<Shmem<P>>, Image)>,
    strings: Strings,
}

impl<P: Platform> Kernel<P> {
    /// Replaces the program of the running thread's process.
    ///
    /// # Errors
    ///
    /// Linux's errno, and the file that is at fault; the old program goes on.
    pub(crate) fn exec(
        &'static self,
        thread: &Arc<Thread<P>>,
        regs: &mut UserRegs,
        request: ExecRequest,
    ) -> Result<(), ExecError> {
        let path = request.path.clone();
        let at_fault = |why| (why, path.clone());
        self.system().reserve_kernel_heap(HEAP_BYTES).map_err(|_| at_fault(Errno::ENOMEM))?;
        let plan = self.plan(thread, request)?;
        let (mm, loaded) = self.load(thread, &plan).map_err(at_fault)?;
        if let Err(why) = self.be_alone(thread) {
            mm.put_user();
            return Err(at_fault(why));
        }
        *regs = UserRegs { pc: loaded.pc, sp: loaded.sp, ..UserRegs::default() };
        self.take_over(thread, mm, plan, loaded);
        Ok(())
    }

    /// Finds out what to run, following scripts to their interpreters.
    fn plan(
        &'static self,
        thread: &Arc<Thread<P>>,
        request: ExecRequest,
    ) -> Result<Plan<P>, ExecError> {
        let ExecRequest { path: called_as, mut args, env } = request;
        let mut path = called_as.clone();
        for _ in 0..=script::MAX_DEPTH {
            let at_fault = |why| (why, path.clone());
            let (file, full_path) = self.open_program(thread, &path).map_err(at_fault)?;
            let mut head = [0; HEAD_SIZE];
            let len = read_some(&file, 0, &mut head).map_err(at_fault)?;
            let Some(script) = script::parse(&head[..len]).map_err(at_fault)? else {
                let strings = Strings { args, env, path: called_as };
                return self.plan_program(thread, full_path, file, strings);
            };
            let mut longer = alloc::vec![script.interpreter.to_vec()];
            longer.extend(script.argument.map(<[u8]>::to_vec));
            longer.push(path.clone());
            longer.extend(args.into_iter().skip(1));
            args = longer;
            path = script.interpreter.to_vec();
        }
        Err((Errno::ELOOP, path))
    }

    fn plan_program(
        &'static self,
        thread: &Arc<Thread<P>>,
        path: Vec<u8>,
        file: Arc<Shmem<P>>,
        strings: Strings,
    ) -> Result<Plan<P>, ExecError> {
        let at_fault = |why| (why, path.clone());
        let strings = strings.prepare(STACK_LIMIT).map_err(at_fault)?;
        let image = parse(&file).map_err(at_fault)?;
        let linker = match &image.interpreter {
            None => None,
            Some(linker) => {
                let of_linker = |why| (why, linker.clone());
                let (file, _) = self.open_program(thread, linker).map_err(of_linker)?;
                // A bad interpreter is no errno of its own on Linux: ELIBBAD.
                let image = parse(&file).map_err(|_| (Errno::ELIBBAD, linker.clone()))?;
                Some((file, image))
            }
        };
        Ok(Plan { path, file, image, linker, strings })
    }

    /// Maps the program into a new address space.
    fn load(&self, thread: &Thread<P>, plan: &Plan<P>) -> Result<(Arc<Mm<P>>, Loaded), Errno> {
        let machine = self.machine();
        let mm = Mm::new(self.system()).map_err(|_| Errno::ENOMEM)?;
        mm.set_thp_disable(thread.process.mm().thp_disable());
        let trampoline = self.trampoline.page(self).inspect_err(|_| mm.put_user())?;
        let own = thread.process.credentials();
        let mut random = [0; 16];
        machine.entropy(&mut random);
        let request = load::Request {
            program: load::Program { file: &plan.file, image: &plan.image },
            interpreter: plan.linker.as_ref().map(|(file, image)| load::Program { file, image }),
            strings: &plan.strings,
            offsets: Offsets::draw(|bytes| machine.entropy(bytes)),
            stack_limit: STACK_LIMIT,
            hwcaps: machine.hwcaps(),
            ids: [own.user.real, own.user.effective, own.group.real, own.group.effective],
            random,
            trampoline: Some(trampoline),
        };
        match load::load(&mm, &request) {
            Ok(loaded) => Ok((mm, loaded)),
            Err(why) => {
                mm.put_user();
                Err(match why {
                    LoadError::NoRoom | LoadError::OutOfMemory => Errno::ENOMEM,
                    LoadError::NoContent => Errno::ENOEXEC,
                })
            }
        }
    }

    /// Ends the other threads of the process and waits until they have left. The caller then has
    /// the process's number.
    fn be_alone(&'static self, thread: &Arc<Thread<P>>) -> Result<(), Errno> {
        let process = &thread.process;
        if process.is_execing.swap(true, Ordering::SeqCst) {
            return Err(Errno::EAGAIN);
        }
        for other in self.processes.threads_of(process.pid) {
            if !Arc::ptr_eq(&other, thread) {
                self.end_thread(&other);
            }
        }
        self.sched().sleep_until(WaitChannel::of(&**process), &mut || {
            let nr_threads = self
                .processes
                .try_with(|tree| tree.nodes.get(&process.pid).map_or(0, |node| node.threads.len()));
            nr_threads == Some(1) || thread.has_work(Work::EXIT)
        });
        let is_over = thread.has_work(Work::EXIT);
        if !is_over {
            self.become_leader(thread);
        }
        process.is_execing.store(false, Ordering::SeqCst);
        if is_over { Err(Errno::EINTR) } else { Ok(()) }
    }

    fn become_leader(&self, thread: &Arc<Thread<P>>) {
        let pid = thread.process.pid;
        self.processes.with(|tree| {
            tree.threads.remove(&thread.tid());
            thread.tid.store(pid, Ordering::Relaxed);
            tree.threads.insert(pid, Arc::clone(thread));
        });
        // The old leader may have gone before; its status is not that of the process any more.
        *thread.process.leader_exit.lock() = None;
    }

    /// The new program takes over the process.
    fn take_over(
        &'static self,
        thread: &Arc<Thread<P>>,
        mm: Arc<Mm<P>>,
        plan: Plan<P>,
        loaded: Loaded,
    ) {
        let process = &thread.process;
        let image = Arc::new(Running {
            path: plan.path,
            args: loaded.args,
            env: loaded.env,
            trampoline: loaded.trampoline,
        });
        let old_image = core::mem::replace(&mut *process.image.lock(), image);
        let old = core::mem::replace(&mut *process.mm.lock(), Arc::clone(&mm));
        let user = UserState { mm: Some(mm), ..UserState::default() };
        drop(self.sched().replace_user(user));
        old.put_user();
        self.oom.gave_back();
        drop((old, old_image));
        self.finish_vfork(process);
        thread.clear_tid.store(0, Ordering::Relaxed);
        thread.robust_list.store(0, Ordering::Relaxed);
        thread.tagged_addr_ctrl.store(0, Ordering::Relaxed);
        let name = plan.strings.path.rsplit(|byte| *byte == b'/').next();
        thread.set_name(name.unwrap_or_default());
        thread.mark_name(self.machine());
        process.with_credentials(Credentials::exec);
        signal::exec_resets(self, thread);
        process.files.exec();
    }
}

fn parse<P: Platform>(file: &Arc<Shmem<P>>) -> Result<Image, Errno> {
    Image::parse(&mut |offset, buf| match read_some(file, offset, buf)? {
        all if all == buf.len() => Ok(()),
        _ => Err(Errno::ENOEXEC),
    })
}

/// Reads from an object until the buffer is full or the object ends; returns how many bytes.
fn read_some<P: Platform>(
    object: &Arc<Shmem<P>>,
    offset: u64,
    buf: &mut [u8],
) -> Result<usize, Errno> {
    let left = object.len_bytes().saturating_sub(offset);
    let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let in_page = (at % PAGE_SIZE as u64) as usize;
        let chunk = (PAGE_SIZE - in_page).min(len - done);
        let to = &mut buf[done..done + chunk];
        let machine = object.system().machine();
        let read = object.read_page(at / PAGE_SIZE as u64, |pfn| match pfn {
            Some(pfn) => machine.read_bytes(pfn.at(in_page), to),
            None => to.fill(0),
        });
        read.map_err(|_| Errno::EIO)?;
        done += chunk;
    }
    Ok(len)
}
