// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file translates mmap.

use abi::Errno;
use abi::mman::{
    MAP_ANONYMOUS, MAP_DENYWRITE, MAP_EXECUTABLE, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN,
    MAP_HUGETLB, MAP_LOCKED, MAP_NONBLOCK, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED,
    MAP_SHARED_VALIDATE, MAP_STACK, MAP_TYPE, PROT_EXEC, PROT_MTE, PROT_READ, PROT_WRITE,
};
use base::{PAGE_SIZE, PageRange, VirtAddr, Vpn};
use hal::{Access, Platform};
use mm::{AreaFlags, Backing, MapError, MapRequest, Placement, Shmem};

use super::{Call, Outcome};

/// The flags that MAP_SHARED_VALIDATE accepts.
const KNOWN: u64 = MAP_TYPE
    | MAP_FIXED
    | MAP_FIXED_NOREPLACE
    | MAP_ANONYMOUS
    | MAP_GROWSDOWN
    | MAP_DENYWRITE
    | MAP_EXECUTABLE
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_HUGETLB;

/// The arguments of mmap.
struct Wish {
    addr: u64,
    nr_pages: u64,
    prot: u64,
    flags: u64,
    fd: i32,
    offset: u64,
}

impl Wish {
    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    fn is_shared(&self) -> bool {
        matches!(self.flags & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE)
    }

    /// # Errors
    ///
    /// As Linux's do_mmap() and ksys_mmap_pgoff(), in their order.
    fn check(&self) -> Result<(), Errno> {
        match self.flags & MAP_TYPE {
            MAP_SHARED | MAP_PRIVATE => {}
            MAP_SHARED_VALIDATE if self.flags & !KNOWN != 0 => return Err(Errno::EOPNOTSUPP),
            MAP_SHARED_VALIDATE => {}
            _ => return Err(Errno::EINVAL),
        }
        if self.has(MAP_FIXED | MAP_FIXED_NOREPLACE) && !self.addr.is_multiple_of(PAGE_SIZE as u64)
        {
            return Err(Errno::EINVAL);
        }
        // There is no pool of huge pages.
        if self.has(MAP_HUGETLB) { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    fn placement(&self) -> Placement {
        let page = VirtAddr::new(self.addr).page();
        if self.has(MAP_FIXED_NOREPLACE) {
            Placement::FixedNoReplace(page)
        } else if self.has(MAP_FIXED) {
            Placement::Fixed(page)
        } else {
            Placement::Hint((self.addr != 0).then_some(page))
        }
    }

    fn area_flags(&self, has_tags: bool) -> AreaFlags {
        let mut flags = AreaFlags::MAY_TAG;
        flags.set(AreaFlags::READ, self.prot & PROT_READ != 0);
        flags.set(AreaFlags::WRITE, self.prot & PROT_WRITE != 0);
        flags.set(AreaFlags::EXEC, self.prot & PROT_EXEC != 0);
        flags.set(AreaFlags::TAGGED, self.prot & PROT_MTE != 0 && has_tags);
        flags.set(AreaFlags::SHARED, self.is_shared());
        flags.set(AreaFlags::GROWS_DOWN, self.has(MAP_GROWSDOWN));
        flags.set(AreaFlags::NO_RESERVE, self.has(MAP_NORESERVE));
        flags
    }
}

pub(super) fn mmap<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (len, offset) = (call.arg(1), call.arg(5));
    if !offset.is_multiple_of(PAGE_SIZE as u64) || len == 0 {
        return Err(Errno::EINVAL);
    }
    let nr_pages = len.checked_add(PAGE_SIZE as u64 - 1).ok_or(Errno::ENOMEM)? / PAGE_SIZE as u64;
    if nr_pages > Vpn::END.get() {
        return Err(Errno::ENOMEM);
    }
    let (addr, prot, flags) = (call.arg(0), call.arg(2), call.arg(3));
    let wish = Wish { addr, nr_pages, prot, flags, fd: call.arg_i32(4), offset };
    wish.check()?;
    let has_tags = call.kernel.machine().has_tags();
    let mut flags = wish.area_flags(has_tags);
    let backing = backing(call, &wish, &mut flags)?;
    if wish.has(MAP_FIXED | MAP_FIXED_NOREPLACE) && !VirtAddr::new(addr).is_user() {
        return Err(Errno::ENOMEM);
    }
    let request = MapRequest { placement: wish.placement(), nr_pages, flags, backing };
    let start = call.thread.process().mm().map(request).map_err(|why| match why {
        MapError::NoRoom => Errno::ENOMEM,
        // Below the lowest page that may be mapped, or beyond the highest.
        MapError::BadPlace if addr < 1 << 20 => Errno::EPERM,
        MapError::BadPlace => Errno::ENOMEM,
        MapError::Occupied => Errno::EEXIST,
    })?;
    if wish.has(MAP_POPULATE | MAP_LOCKED) && !wish.has(MAP_NONBLOCK) {
        populate(call, PageRange::of_len(start, nr_pages), prot);
    }
    Ok(start.base().get())
}

/// Faults the pages in. What fails will fault later.
fn populate<P: Platform>(call: &Call<'_, P>, pages: PageRange, prot: u64) {
    let access = if prot & PROT_WRITE != 0 { Access::Write } else { Access::Read };
    let _ = call.thread.process().mm().populate(pages, access);
}

fn backing<P: Platform>(
    call: &Call<'_, P>,
    wish: &Wish,
    flags: &mut AreaFlags,
) -> Result<Backing<P>, Errno> {
    if !wish.has(MAP_ANONYMOUS) {
        return file_backing(call, wish, flags);
    }
    if !wish.has(MAP_NORESERVE) && flags.contains(AreaFlags::WRITE) {
        require_room(call, wish.nr_pages)?;
    }
    anonymous(call, wish)
}

fn anonymous<P: Platform>(call: &Call<'_, P>, wish: &Wish) -> Result<Backing<P>, Errno> {
    if !wish.is_shared() {
        return Ok(Backing::Anon);
    }
    let len = wish.nr_pages * PAGE_SIZE as u64;
    let object = Shmem::new(call.kernel.system(), len, None).map_err(|_| Errno::ENOMEM)?;
    Ok(Backing::Shmem { object, first: 0 })
}

/// Refuses what can never be backed: Linux's heuristic overcommit (mm/util.c,
/// __vm_enough_memory()) compares one mapping with all memory and swap.
fn require_room<P: Platform>(call: &Call<'_, P>, nr_pages: u64) -> Result<(), Errno> {
    let system = call.kernel.system();
    let (swap_slots, _) = system.swap_slots();
    let fits = nr_pages <= system.nr_managed_frames() + swap_slots;
    if fits { Ok(()) } else { Err(Errno::ENOMEM) }
}

fn file_backing<P: Platform>(
    call: &Call<'_, P>,
    wish: &Wish,
    flags: &mut AreaFlags,
) -> Result<Backing<P>, Errno> {
    let Some((object, may_write)) = call.file_to_map(wish.fd)? else {
        // Memory all the same, but as on Linux only MAP_ANONYMOUS and tmpfs may have tags.
        flags.remove(AreaFlags::MAY_TAG);
        if flags.contains(AreaFlags::TAGGED) {
            return Err(Errno::EINVAL);
        }
        return anonymous(call, wish);
    };
    if wish.is_shared() && !may_write {
        if flags.contains(AreaFlags::WRITE) {
            return Err(Errno::EACCES);
        }
        *flags |= AreaFlags::NO_MAY_WRITE;
    }
    let first = wish.offset / PAGE_SIZE as u64;
    first.checked_add(wish.nr_pages).ok_or(Errno::EOVERFLOW)?;
    Ok(Backing::Shmem { object, first })
}
