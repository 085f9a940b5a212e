// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file has a dmirror device read, write and look at its program's memory, and take pages of it for
//! itself.

use abi::Errno;
use abi::hmm::*;
use base::{PAGE_SIZE, PageRange, Vpn};
use hal::{Access, Machine};
use mm::{Glimpse, MirrorError};

use super::Opened;
use super::request::{Request, errno_of};

/// Pages that are faulted in at a time.
const ROUND: u64 = 1024;
/// Pages that are told of at a time.
const CHUNK: u64 = 512;

impl<M: Machine> Opened<M> {
    pub(super) fn read(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        self.read_with(request, |request, page, why| {
            self.fault_in(request, page, Access::Read, why)
        })
    }

    /// Gives the caller what the device sees without a fault.
    pub(super) fn read_known(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        self.read_with(request, |_, _, why| Err(errno_of(why)))
    }

    /// Gives the caller what the device reads; `missing` is asked for pages that it cannot.
    fn read_with(
        &self,
        request: &mut Request<'_>,
        mut missing: impl FnMut(&mut Request<'_>, Vpn, MirrorError) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        let mut buf = self.env.buffer(PAGE_SIZE)?;
        for page in request.pages.pages() {
            while let Err(why) = mirror.read(page, &mut buf) {
                missing(request, page, why)?;
            }
            request.put(&buf, 1)?;
        }
        Ok(())
    }

    pub(super) fn write(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        let mut buf = self.env.buffer(PAGE_SIZE)?;
        for page in request.pages.pages() {
            request.get_page(&mut buf)?;
            while let Err(why) = mirror.write(page, &buf) {
                self.fault_in(request, page, Access::Write, why)?;
            }
            request.command.cpages += 1;
        }
        Ok(())
    }

    /// Has the device fault in what is left of a range, which counts as one round.
    fn fault_in(
        &self,
        request: &mut Request<'_>,
        page: Vpn,
        access: Access,
        why: MirrorError,
    ) -> Result<(), Errno> {
        if why != MirrorError::Unknown {
            return Err(errno_of(why));
        }
        let round = PageRange::new(page, request.pages.end.min(page.add(ROUND)));
        self.mirror()?.fault_in(round, access).map_err(errno_of)?;
        request.command.faults += 1;
        Ok(())
    }

    pub(super) fn take_exclusive(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        let mut pages = request.pages.pages();
        pages.try_for_each(|page| mirror.make_exclusive(page)).map_err(errno_of)?;
        self.read_known(request)
    }

    pub(super) fn check_exclusive(&self, request: &Request<'_>) -> Result<(), Errno> {
        match self.mirror()?.has_exclusive(request.pages) {
            false => Ok(()),
            true => Err(Errno::EPERM),
        }
    }

    pub(super) fn snapshot(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        let mut bytes = self.env.buffer(request.pages.nr_pages().min(CHUNK) as usize)?;
        let mut left = request.pages;
        while left.start < left.end {
            let nr = left.nr_pages().min(CHUNK);
            for (n, byte) in (0..nr).zip(&mut bytes) {
                *byte = snapshot_byte(mirror.glimpse(left.start.add(n)).map_err(errno_of)?);
            }
            request.put(&bytes[..nr as usize], nr)?;
            left.start = left.start.add(nr);
        }
        Ok(())
    }
}

fn snapshot_byte(found: Glimpse) -> u8 {
    match found {
        Glimpse::Unmapped => HMM_DMIRROR_PROT_ERROR,
        Glimpse::None => HMM_DMIRROR_PROT_NONE,
        Glimpse::Page { is_writable, is_zero, is_own, by_block } => {
            let rights = if is_writable { HMM_DMIRROR_PROT_WRITE } else { HMM_DMIRROR_PROT_READ };
            let flag = |is_set, flag| if is_set { flag } else { 0 };
            rights
                | flag(is_zero, HMM_DMIRROR_PROT_ZERO)
                | flag(is_own, HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL)
                | flag(by_block, HMM_DMIRROR_PROT_PMD)
        }
    }
}
