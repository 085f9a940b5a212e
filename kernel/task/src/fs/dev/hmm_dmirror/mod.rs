// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is the devices with memory of their own as files: /dev/hmm_dmirror0 and its like, with the
//! requests of Linux's test_hmm.
//!
//! An open file mirrors the address space of who opened it, also for a child that inherits it. When it
//! is closed, what is on the device comes home, as on Linux after 7.0.

mod access;
mod command;
mod migrate;
mod request;

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::hmm::DmirrorCommand;
use base::sync::OnceCell;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::{DeviceId, Machine};
use mm::{Mirroring, Mm};

use super::Device;
use crate::fs::env::Env;
use crate::fs::inode::OpenMode;
use crate::fs::ops::{Caller, FileOps, Mapping};

/// A device.
pub(super) struct Dmirror<M: Machine> {
    env: Arc<Env<M>>,
    id: DeviceId,
}

/// An open file of a device.
struct Opened<M: Machine> {
    env: Arc<Env<M>>,
    id: DeviceId,
    mirror: OnceCell<Mirroring<M>>,
    /// HMM_DMIRROR_FLAG_*.
    flags: AtomicU64,
}

impl<M: Machine> Dmirror<M> {
    pub fn new(env: &Arc<Env<M>>, id: DeviceId) -> Arc<Self> {
        Arc::new(Self { env: Arc::clone(env), id })
    }
}

impl<M: Machine> Device<M> for Dmirror<M> {
    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        let (env, mirror) = (Arc::clone(&self.env), OnceCell::new());
        Ok(Arc::new(Opened { env, id: self.id, mirror, flags: AtomicU64::new(0) }))
    }
}

impl<M: Machine> FileOps<M> for Opened<M> {
    fn opened_by(&self, mm: &Arc<Mm<M>>) -> Result<(), Errno> {
        self.mirror.set_once(mm.mirror(self.id).map_err(|_| Errno::ENOMEM)?);
        Ok(())
    }

    fn ioctl_for(&self, caller: &dyn Caller, request: u32, input: &[u8]) -> Result<Vec<u8>, Errno> {
        if input.len() < DmirrorCommand::SIZE {
            return Err(Errno::EINVAL);
        }
        let mut command = DmirrorCommand::get(input);
        self.carry_out(caller, request, &mut command)?;
        Ok(command.to_bytes().to_vec())
    }

    /// Memory of the system's, as on Linux.
    fn mapping(&self) -> Result<Mapping<M>, Errno> {
        Ok(Mapping::Anonymous)
    }
}

impl<M: Machine> Opened<M> {
    fn mirror(&self) -> Result<&Mirroring<M>, Errno> {
        self.mirror.get().ok_or(Errno::EINVAL)
    }

    /// Tells whether a target may be allocated; a flag says once that it may not.
    fn may_alloc(&self) -> bool {
        let flag = abi::hmm::HMM_DMIRROR_FLAG_FAIL_ALLOC;
        self.flags.fetch_and(!flag, Ordering::Relaxed) & flag == 0
    }
}

impl<M: Machine> Drop for Opened<M> {
    fn drop(&mut self) {
        if self.mirror.get().is_some() && self.env.system().evict_device(self.id) > 0 {
            log::warn!("hmm_dmirror{}: closed with pages that could not come home", self.id.0);
        }
    }
}
