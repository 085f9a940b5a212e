// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds ppoll and pselect6.
//!
//! Both look at all files, and then sleep until *some* file that can be waited for has changed
//! ([`crate::fs::Env::polls`]). The number that they sleep on is read before they look, so nothing
//! that happens in between is missed.

use alloc::vec;
use alloc::vec::Vec;

use abi::poll::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, PollFd};
use abi::time::Timespec;
use abi::{Errno, SigSet, number};
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::fs::MAX_FILES;
use crate::signal;
use crate::syscall::restart;

impl<P: Platform> Call<'_, P> {
    pub(in crate::syscall) const POLL: &'static [Row<P>] =
        &[(number::PPOLL, ppoll), (number::PSELECT6, pselect6)];

    /// Reads a timeout: how long at most, from now on, in time of the machine.
    fn deadline_ns(&self, at: u64) -> Result<Option<u64>, Errno> {
        if at == 0 {
            return Ok(None);
        }
        let timeout: Timespec = self.read::<_, 16>(at)?;
        let ns = timeout.to_ns().ok_or(Errno::EINVAL)?;
        Ok(Some(self.kernel.machine().now_ns().saturating_add(ns)))
    }

    /// Stores what is left of a timeout, as Linux does. Where it cannot be stored, it is not.
    fn store_rest(&self, at: u64, deadline_ns: Option<u64>) {
        if let Some(deadline_ns) = deadline_ns {
            let left = deadline_ns.saturating_sub(self.kernel.machine().now_ns());
            let _ = self.write(at, &Timespec::from_ns(left).to_bytes());
        }
    }

    /// Looks at each file; returns how many have something to tell.
    fn look(&self, fds: &mut [PollFd]) -> usize {
        let files = self.thread.process().file_table();
        for entry in fds.iter_mut() {
            entry.revents = match files.get(entry.fd) {
                _ if entry.fd < 0 => 0,
                Ok(file) => file.poll().bits() & (entry.events | POLLERR | POLLHUP),
                Err(_) => POLLNVAL,
            };
        }
        fds.iter().filter(|entry| entry.revents != 0).count()
    }

    /// Waits until some file has something to tell, `mask` in force meanwhile.
    fn poll(
        &self,
        fds: &mut [PollFd],
        deadline_ns: Option<u64>,
        mask: Option<SigSet>,
    ) -> Result<usize, Errno> {
        if let Some(mask) = mask {
            signal::replace_mask(self.kernel, self.thread, mask);
        }
        let result = self.poll_until(fds, deadline_ns);
        if mask.is_some() {
            signal::restore_mask_unless(self.kernel, self.thread, result.is_err());
        }
        result
    }

    fn poll_until(&self, fds: &mut [PollFd], deadline_ns: Option<u64>) -> Result<usize, Errno> {
        let env = self.kernel.vfs().env();
        let machine = self.kernel.machine();
        loop {
            let seen = env.polls().now();
            let nr_ready = self.look(fds);
            if nr_ready > 0 || deadline_ns.is_some_and(|deadline| deadline <= machine.now_ns()) {
                return Ok(nr_ready);
            }
            // The mask may have let a signal through that was pending before.
            if signal::is_pending(self.thread) {
                return Err(restart::NO_HANDLER);
            }
            let woken = env.polls().wait(env.nap(), seen, deadline_ns);
            woken.map_err(|_| restart::NO_HANDLER)?;
        }
    }
}

fn ppoll<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (fds_at, nr_fds) = (call.arg(0), call.arg_u32(1) as usize);
    let (timeout_at, mask_at) = (call.arg(2), call.arg(3));
    let deadline_ns = call.deadline_ns(timeout_at)?;
    let mask = match mask_at {
        0 => None,
        at => Some(call.read_set(at, 4)?),
    };
    if nr_fds > MAX_FILES {
        return Err(Errno::EINVAL);
    }
    let mut bytes = call.vfs().env().buffer(nr_fds * PollFd::SIZE)?;
    call.kernel.copy_in(call.thread, fds_at, &mut bytes)?;
    let (entries, _) = bytes.as_chunks::<{ PollFd::SIZE }>();
    let mut fds: Vec<PollFd> = entries.iter().map(PollFd::from_bytes).collect();
    let result = call.poll(&mut fds, deadline_ns, mask);
    call.store_rest(timeout_at, deadline_ns);
    let nr_ready = result?;
    for (index, entry) in fds.iter().enumerate() {
        let at = fds_at + (index * PollFd::SIZE + PollFd::REVENTS) as u64;
        call.write(at, &entry.revents.to_le_bytes())?;
    }
    Ok(nr_ready as u64)
}

/// One of the three sets of select: which events it asks for, and which answer it.
struct Set {
    at: u64,
    asks: u16,
    answers: u16,
    bits: Vec<u8>,
}

fn pselect6<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let nr_fds = usize::try_from(call.arg_i32(0)).map_err(|_| Errno::EINVAL)?.min(MAX_FILES);
    let deadline_ns = call.deadline_ns(call.arg(4))?;
    let mask = match call.arg(5) {
        0 => None,
        at => select_mask(call, at)?,
    };
    let kinds = [
        (1, POLLIN, POLLIN | POLLHUP | POLLERR),
        (2, POLLOUT, POLLOUT | POLLERR),
        (3, POLLPRI, POLLPRI),
    ];
    let mut sets = Vec::new();
    for (index, asks, answers) in kinds {
        let at = call.arg(index);
        let mut bits = vec![0; nr_fds.div_ceil(64) * 8];
        if at != 0 {
            call.kernel.copy_in(call.thread, at, &mut bits)?;
        }
        sets.push(Set { at, asks, answers, bits });
    }
    let mut fds = asked_for(&sets, nr_fds);
    let files = call.thread.process().file_table();
    if fds.iter().any(|entry| files.get(entry.fd).is_err()) {
        return Err(Errno::EBADF);
    }
    let result = call.poll(&mut fds, deadline_ns, mask);
    call.store_rest(call.arg(4), deadline_ns);
    result?;
    let mut nr_set = 0;
    for set in &mut sets {
        nr_set += answer(set, &fds);
        if set.at != 0 {
            call.write(set.at, &set.bits)?;
        }
    }
    Ok(nr_set)
}

/// Reads the mask of pselect6, which comes as a pointer and a size.
fn select_mask<P: Platform>(call: &Call<'_, P>, at: u64) -> Result<Option<SigSet>, Errno> {
    let mask_at = call.kernel.read_u64(call.thread, at)?;
    let size = call.kernel.read_u64(call.thread, at.wrapping_add(8))?;
    match mask_at {
        0 => Ok(None),
        _ if size != abi::signal::SIGSET_SIZE as u64 => Err(Errno::EINVAL),
        at => Ok(Some(SigSet(call.kernel.read_u64(call.thread, at)?))),
    }
}

fn asked_for(sets: &[Set], nr_fds: usize) -> Vec<PollFd> {
    let is_in = |set: &Set, fd: usize| set.bits[fd / 8] & 1 << (fd % 8) != 0;
    let events = |fd: usize| {
        sets.iter().filter(|set| is_in(set, fd)).fold(0, |events, set| events | set.asks)
    };
    let entry = |fd| PollFd { fd: fd as i32, events: events(fd), revents: 0 };
    (0..nr_fds).map(entry).filter(|entry| entry.events != 0).collect()
}

/// Leaves in a set what was found; returns how many that are.
fn answer(set: &mut Set, fds: &[PollFd]) -> u64 {
    set.bits.fill(0);
    let found = |entry: &&PollFd| entry.events & set.asks != 0 && entry.revents & set.answers != 0;
    let mut nr_set = 0;
    for entry in fds.iter().filter(found) {
        set.bits[entry.fd as usize / 8] |= 1 << (entry.fd % 8);
        nr_set += 1;
    }
    nr_set
}
