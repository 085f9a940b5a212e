// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes an address space and tears it down.

use alloc::sync::Arc;

use base::sync::RwSpinLock;
use base::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use base::{PageRange, Vpn};
use hal::Machine;
use hal::sleep_lock::RwSleepLock;

use super::{Mm, MovedTables, Tree, stats};
use crate::frame::word::FrameKind;
use crate::frame::{AllocMode, OutOfMemory};
use crate::lab::TlbFault;
use crate::mirror::Mirrors;
use crate::system::System;
use crate::tlb::{Batches, Residency, TlbGather};
use crate::vma::Areas;

impl<M: Machine> Mm<M> {
    /// Makes an empty address space with one user.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no frame for the root table, or no free number.
    pub fn new(system: &Arc<System<M>>) -> Result<Arc<Self>, OutOfMemory> {
        let root = system.alloc_frame_as(FrameKind::Table, AllocMode::MayReclaim)?;
        system.machine().zero_frame(root);
        // The frame may have been a table a moment ago. No entry leads to a root, so nothing else
        // orders its new content before the first walk (Arm ARM D8.2.5).
        system.machine().publish();
        let id = system.mms().take_id().inspect_err(|_| system.free_frame(root))?;
        let mm = Arc::new(Self {
            system: Arc::clone(system),
            id,
            users: AtomicU32::new(1),
            areas: RwSleepLock::new(Areas::new()),
            tables: RwSpinLock::new(Some(Tree { root, moved: MovedTables::new() })),
            root,
            last_leaf: Default::default(),
            stats: stats::Gauges::with_root(),
            residency: Residency::new(),
            batches: Batches::new(),
            mirrors: Mirrors::new(),
            thp_disable: Default::default(),
            is_huge_zero_user: AtomicBool::new(false),
        });
        system.mms().publish(&mm);
        Ok(mm)
    }

    /// Becomes a user unless the address space is being torn down.
    #[must_use = "the address space may be gone"]
    pub fn get_user(&self) -> bool {
        let mut users = self.users.load(Ordering::Relaxed);
        while users != 0 {
            let more =
                self.users.compare_exchange(users, users + 1, Ordering::Acquire, Ordering::Relaxed);
            match more {
                Ok(_) => return true,
                Err(now) => users = now,
            }
        }
        false
    }

    /// Stops being a user; the last one tears the address space down. May sleep.
    pub fn put_user(&self) {
        let before = self.users.fetch_sub(1, Ordering::AcqRel);
        assert_ne!(before, 0, "address space {:?}: more puts than users", self.id);
        if before == 1 {
            self.tear_down();
        }
    }

    /// Tells whether teardown has begun: nobody will use the address space again.
    pub fn is_dead(&self) -> bool {
        self.users.load(Ordering::Acquire) == 0
    }

    /// Tells whether all users are gone but the caller, who came to look.
    pub(crate) fn is_left_to_visitor(&self) -> bool {
        self.users.load(Ordering::Acquire) == 1
    }

    /// Unmaps and frees everything. No CPU translates with these tables any more: whoever put its
    /// user had switched away first.
    fn tear_down(&self) {
        // One invalidation for the whole address space, before anything is freed. No CPU walks
        // these tables, so no TLB gets a new entry from them afterwards.
        let mut areas = self.write_areas();
        // A page of an object that this address space could write may be written out at once, and the
        // huge zero page freed.
        let may_wait = areas.iter().all(|area| area.is_private())
            && !self.is_huge_zero_user().load(Ordering::Relaxed);
        let is_unnoted = self.system.is_weak(TlbFault::ExitUnnoted);
        let dead = if is_unnoted { None } else { self.invalidate_dead(may_wait) };
        self.mirrors().invalidate(PageRange::new(Vpn::new(0), Vpn::END));
        let mut gather = TlbGather::for_teardown(self, dead);
        for area in areas.take_all() {
            self.zap(&area, area.pages(), &mut gather);
        }
        let tree = self.tables.write().take();
        drop(tree);
        self.free_tables(&mut gather);
        gather.finish();
        self.leave_huge_zero_page();
        self.system.mms().withdraw(self.id);
        self.system.mms().free_id(self.id);
    }
}
