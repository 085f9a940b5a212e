// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file carries out what a program asks of a dmirror device.

use abi::Errno;
use abi::hmm::*;
use base::sync::atomic::Ordering;
use hal::Machine;

use super::Opened;
use super::request::Request;
use crate::fs::ops::Caller;

impl<M: Machine> Opened<M> {
    pub(super) fn carry_out(
        &self,
        caller: &dyn Caller,
        number: u32,
        command: &mut DmirrorCommand,
    ) -> Result<(), Errno> {
        let request = &mut Request::new(caller, command)?;
        match number {
            HMM_DMIRROR_READ => self.read(request),
            HMM_DMIRROR_WRITE => self.write(request),
            HMM_DMIRROR_MIGRATE_TO_DEV => self.migrate_to_device(request),
            HMM_DMIRROR_MIGRATE_TO_SYS => self.migrate_to_ram(request),
            HMM_DMIRROR_SNAPSHOT => self.snapshot(request),
            HMM_DMIRROR_EXCLUSIVE => self.take_exclusive(request),
            HMM_DMIRROR_CHECK_EXCLUSIVE => self.check_exclusive(request),
            HMM_DMIRROR_RELEASE => match self.env.system().evict_device(self.id) {
                0 => Ok(()),
                _ => Err(Errno::ENOMEM),
            },
            HMM_DMIRROR_FLAGS => {
                self.flags.store(request.command.npages, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }
}
