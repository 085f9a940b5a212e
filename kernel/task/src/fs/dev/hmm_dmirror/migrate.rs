// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file moves ranges of a program's memory to a dmirror device and back.

use abi::Errno;
use base::{Order, PageRange};
use hal::Machine;
use mm::AreaFlags;

use super::Opened;
use super::request::{Request, errno_of, errno_of_migration};

/// Pages that move at a time, as on Linux.
const CHUNK: u64 = 512;

impl<M: Machine> Opened<M> {
    pub(super) fn migrate_to_device(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let mirror = self.mirror()?;
        self.while_alive(|| {
            self.by_area(request.pages, |part| {
                let may_alloc = |_: Order| self.may_alloc();
                let moved = mirror.mm().migrate_to_device(part, self.id, may_alloc);
                moved.map_err(errno_of_migration)?;
                mirror.learn_own(part).map_err(errno_of)
            })
        })?;
        self.read_known(request)
    }

    pub(super) fn migrate_to_ram(&self, request: &mut Request<'_>) -> Result<(), Errno> {
        let mm = self.mirror()?.mm();
        self.while_alive(|| {
            self.by_area(request.pages, |part| {
                let may_alloc = |_: Order| self.may_alloc();
                let (moved, has_room) =
                    mm.migrate_to_ram(part, self.id, may_alloc).map_err(errno_of_migration)?;
                request.command.cpages += moved;
                if has_room { Ok(()) } else { Err(Errno::ENOMEM) }
            })
        })
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
}
