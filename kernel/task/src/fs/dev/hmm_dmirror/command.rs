// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file carries out what a program asks of a dmirror device.

use abi::Errno;
use abi::hmm::*;
use base::sync::atomic::Ordering;
use base::{Order, PAGE_SIZE, PageRange, VirtAddr, Vpn};
use hal::{Access, Machine};
use mm::{AreaFlags, DeviceError, Glimpse, Mirror, MirrorError};

use super::Opened;
use crate::fs::ops::Caller;

/// Pages that move at a time, as on Linux.
const CHUNK: u64 = 512;
/// Pages that are faulted in, or told of, at a time.
const ROUND: u64 = 1024;

fn errno_of(why: MirrorError) -> Errno {
    match why {
        MirrorError::Fault => Errno::EFAULT,
        MirrorError::Denied => Errno::EPERM,
        MirrorError::Busy => Errno::EBUSY,
        MirrorError::Unknown => Errno::ENOENT,
        MirrorError::OutOfMemory => Errno::ENOMEM,
        MirrorError::Gone => Errno::EINVAL,
    }
}

fn errno_of_migration(why: DeviceError) -> Errno {
    match why {
        DeviceError::Invalid => Errno::EINVAL,
        DeviceError::OutOfMemory => Errno::ENOMEM,
    }
}

/// Reads the range of a command.
fn range_of(command: &DmirrorCommand) -> Result<PageRange, Errno> {
    let page = PAGE_SIZE as u64;
    let len = command.npages.checked_mul(page).filter(|len| *len > 0).ok_or(Errno::EINVAL)?;
    let is_good = command.addr.is_multiple_of(page) && command.addr.checked_add(len).is_some();
    let start = VirtAddr::new(command.addr).page();
    if is_good { Ok(PageRange::of_len(start, command.npages)) } else { Err(Errno::EINVAL) }
}

impl<M: Machine> Opened<M> {
    pub(super) fn carry_out(
        &self,
        caller: &dyn Caller,
        request: u32,
        command: &mut DmirrorCommand,
    ) -> Result<(), Errno> {
        let pages = range_of(command)?;
        (command.cpages, command.faults) = (0, 0);
        match request {
            HMM_DMIRROR_READ => self.read(caller, command, pages),
            HMM_DMIRROR_WRITE => self.write(caller, command, pages),
            HMM_DMIRROR_MIGRATE_TO_DEV => self.migrate_to_device(caller, command, pages),
            HMM_DMIRROR_MIGRATE_TO_SYS => self.migrate_to_ram(command, pages),
            HMM_DMIRROR_SNAPSHOT => self.snapshot(caller, command, pages),
            HMM_DMIRROR_RELEASE => match self.env.system().evict_device(self.id) {
                0 => Ok(()),
                _ => Err(Errno::ENOMEM),
            },
            HMM_DMIRROR_FLAGS => {
                self.flags.store(command.npages, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn read(
        &self,
        caller: &dyn Caller,
        command: &mut DmirrorCommand,
        pages: PageRange,
    ) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        let mut buf = self.env.buffer(PAGE_SIZE)?;
        for page in pages.pages() {
            while let Err(why) = mirror.read(page, &mut buf) {
                self.fault_in(mirror, command, page, pages.end, Access::Read, why)?;
            }
            put_page(caller, command, &buf)?;
        }
        Ok(())
    }

    fn write(
        &self,
        caller: &dyn Caller,
        command: &mut DmirrorCommand,
        pages: PageRange,
    ) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        let mut buf = self.env.buffer(PAGE_SIZE)?;
        for page in pages.pages() {
            caller.read(command.ptr.wrapping_add(done_bytes(command)), &mut buf)?;
            while let Err(why) = mirror.write(page, &buf) {
                self.fault_in(mirror, command, page, pages.end, Access::Write, why)?;
            }
            command.cpages += 1;
        }
        Ok(())
    }

    /// Has the device fault in what is left of a range, which counts as one round.
    fn fault_in(
        &self,
        mirror: &Mirror<M>,
        command: &mut DmirrorCommand,
        page: Vpn,
        end: Vpn,
        access: Access,
        why: MirrorError,
    ) -> Result<(), Errno> {
        if why != MirrorError::Unknown {
            return Err(errno_of(why));
        }
        let round = PageRange::new(page, end.min(page.add(ROUND)));
        mirror.fault_in(round, access).map_err(errno_of)?;
        command.faults += 1;
        Ok(())
    }

    /// Calls `each` with the parts of a range that lie in one area each. Like Linux, stops at the first
    /// hole, or area that may not be read.
    fn by_area(
        &self,
        pages: PageRange,
        mut each: impl FnMut(PageRange) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mm = self.mirror()?.mm();
        let mut left = pages;
        while left.start < left.end {
            let area = mm.area_view(left.start).ok_or(Errno::EINVAL)?;
            if !area.flags.contains(AreaFlags::READ) {
                return Err(Errno::EINVAL);
            }
            let end = area.pages.end.min(left.end).min(left.start.add(CHUNK));
            each(PageRange::new(left.start, end))?;
            left.start = end;
        }
        Ok(())
    }

    fn migrate_to_device(
        &self,
        caller: &dyn Caller,
        command: &mut DmirrorCommand,
        pages: PageRange,
    ) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        self.while_alive(|| {
            self.by_area(pages, |part| {
                let may_alloc = |_: Order| self.may_alloc();
                let moved = mirror.mm().migrate_to_device(part, self.id, may_alloc);
                moved.map_err(errno_of_migration)?;
                mirror.learn_own(part).map_err(errno_of)
            })
        })?;
        let mut buf = self.env.buffer(PAGE_SIZE)?;
        for page in pages.pages() {
            mirror.read(page, &mut buf).map_err(errno_of)?;
            put_page(caller, command, &buf)?;
        }
        Ok(())
    }

    fn migrate_to_ram(&self, command: &mut DmirrorCommand, pages: PageRange) -> Result<(), Errno> {
        let mm = self.mirror()?.mm();
        self.while_alive(|| {
            self.by_area(pages, |part| {
                let may_alloc = |_: Order| self.may_alloc();
                let (moved, has_room) =
                    mm.migrate_to_ram(part, self.id, may_alloc).map_err(errno_of_migration)?;
                command.cpages += moved;
                if has_room { Ok(()) } else { Err(Errno::ENOMEM) }
            })
        })
    }

    /// Runs `act` while the mirrored program's memory is there.
    fn while_alive(&self, act: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let mm = self.mirror()?.mm();
        if !mm.get_user() {
            return Err(Errno::EINVAL);
        }
        let result = act();
        mm.put_user();
        result
    }

    fn snapshot(
        &self,
        caller: &dyn Caller,
        command: &mut DmirrorCommand,
        pages: PageRange,
    ) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        let mut bytes = self.env.buffer(pages.nr_pages().min(CHUNK) as usize)?;
        let mut page = pages.start;
        while page < pages.end {
            let nr = (pages.end.get() - page.get()).min(CHUNK) as usize;
            for (n, byte) in (0..).zip(&mut bytes[..nr]) {
                *byte = snapshot_byte(mirror.glimpse(page.add(n)).map_err(errno_of)?);
            }
            caller.write(command.ptr.wrapping_add(command.cpages), &bytes[..nr])?;
            command.cpages += nr as u64;
            page = page.add(nr as u64);
        }
        Ok(())
    }
}

fn done_bytes(command: &DmirrorCommand) -> u64 {
    command.cpages * PAGE_SIZE as u64
}

/// Gives the caller the next page.
fn put_page(caller: &dyn Caller, command: &mut DmirrorCommand, bytes: &[u8]) -> Result<(), Errno> {
    caller.write(command.ptr.wrapping_add(done_bytes(command)), bytes)?;
    command.cpages += 1;
    Ok(())
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
