// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes small user address spaces for tests, and keeps the EL0 code that they run.

#![expect(unsafe_code, reason = "takes the addresses of assembled EL0 code")]

use arch::descriptor::{
    self, ACCESSED, INNER_SHAREABLE, MemoryType, NOT_GLOBAL, PRIVILEGED_NO_EXECUTE, READ_ONLY,
    USER, USER_NO_EXECUTE, VALID,
};
use base::{Pfn, VirtAddr};
use hal::{Asid, Invalidate, PhysMem, PteMem, PteSlot, Reach, RunUser, Tlb, Trap, UserRegs};

use super::TestCtx;

core::arch::global_asm!(include_str!("user_code.S"));

/// Attributes of a user page: data, readable and writable.
pub const READ_WRITE: u64 = READ_EXECUTE & !READ_ONLY | USER_NO_EXECUTE;
/// Attributes of a user page: data, read-only.
pub const READ: u64 = READ_WRITE | READ_ONLY;
/// Attributes of a user page: code.
pub const READ_EXECUTE: u64 = VALID
    | ACCESSED
    | INNER_SHAREABLE
    | NOT_GLOBAL
    | USER
    | READ_ONLY
    | PRIVILEGED_NO_EXECUTE
    | MemoryType::Normal.bits();
/// Attributes of a user page with allocation tags.
pub const READ_WRITE_TAGGED: u64 = READ_WRITE | MemoryType::NormalTagged.bits();

/// Where the EL0 code is mapped.
pub const CODE: u64 = 0x40_0000;
/// Where tests map their first data page.
pub const DATA: u64 = 0x7fff_ffe0_0000;

/// An address space with the EL0 code in it, active until it is dropped.
pub struct Space<'a> {
    ctx: &'a TestCtx,
    /// The L0 table.
    pub root: Pfn,
    /// What its TLB entries are tagged with.
    pub asid: Asid,
}

impl<'a> Space<'a> {
    /// Builds an address space that holds only the EL0 code, and makes it active on this CPU.
    pub fn new(ctx: &'a TestCtx) -> Self {
        Self::with_asid(ctx, Asid(0x1234))
    }

    /// The same with another ASID, for tests that have two.
    pub fn with_asid(ctx: &'a TestCtx, asid: Asid) -> Self {
        let space = Self { ctx, root: ctx.frame(), asid };
        let code = ctx.frame();
        ctx.machine.write_bytes(code.base(), user_code());
        ctx.machine.sync_instructions(code);
        space.map(CODE, code, READ_EXECUTE);
        space.activate();
        space
    }

    /// Makes the address space active on the running CPU.
    pub fn activate(&self) {
        self.ctx.machine.activate(self.root, self.asid);
    }

    /// Returns the L3 entry of an address, with the tables above it.
    pub fn entry(&self, va: u64) -> PteSlot {
        let machine = self.ctx.machine;
        let mut table = self.root;
        for level in 0..3 {
            let slot = PteSlot::new(table, descriptor::index(va as usize, level));
            let mut entry = machine.load(slot);
            if entry == 0 {
                entry = descriptor::table(self.ctx.frame().base());
                machine.store(slot, entry);
            }
            table = descriptor::output(entry).pfn();
        }
        PteSlot::new(table, descriptor::index(va as usize, 3))
    }

    /// Maps a page where none is.
    pub fn map(&self, va: u64, to: Pfn, attributes: u64) -> PteSlot {
        let slot = self.entry(va);
        self.ctx.machine.store(slot, descriptor::page(to.base(), attributes));
        self.ctx.machine.publish();
        slot
    }

    /// Maps a fresh page of data at [`DATA`] and returns its frame.
    pub fn map_data(&self, attributes: u64) -> Pfn {
        let frame = self.ctx.frame();
        self.map(DATA, frame, attributes);
        frame
    }

    /// Runs EL0 code from `entry` with these x0 and x1, and the end of a stack page in SP.
    pub fn run(&self, entry: &'static u8, x0: u64, x1: u64) -> (Trap, UserRegs) {
        let mut regs = regs_at(entry);
        regs.x[0] = x0;
        regs.x[1] = x1;
        let trap = self.ctx.machine.run_user(&mut regs);
        (trap, regs)
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        let machine = self.ctx.machine;
        machine.deactivate();
        machine.before();
        machine.invalidate(Invalidate::Asid(self.asid), Reach::Broadcast);
        machine.complete(Reach::Broadcast);
    }
}

/// Returns registers that start EL0 code at `entry`.
pub fn regs_at(entry: &'static u8) -> UserRegs {
    let offset = core::ptr::from_ref(entry).addr() - user_code().as_ptr().addr();
    UserRegs { pc: CODE + offset as u64, ..UserRegs::default() }
}

/// Returns the address at which EL0 finds `entry`.
pub fn address_of(entry: &'static u8) -> VirtAddr {
    VirtAddr::new(regs_at(entry).pc)
}

/// Returns all EL0 code.
pub fn user_code() -> &'static [u8] {
    let start = &raw const symbol::ktest_user_code;
    let len = (&raw const symbol::ktest_user_code_end).addr() - start.addr();
    // SAFETY: user_code.S lays the code out between these symbols, in constant data.
    unsafe { core::slice::from_raw_parts(start, len) }
}

mod symbol {
    unsafe extern "C" {
        pub(super) static ktest_user_code: u8;
        pub(super) static ktest_user_code_end: u8;
    }
}

/// Declares entries of user_code.S.
macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident;)*) => {
        mod entry_symbol {
            unsafe extern "C" {
                $(pub(super) static $symbol: u8;)*
            }
        }
        $(
            $(#[$doc])*
            pub fn $name() -> &'static u8 {
                // SAFETY: a constant byte of user_code.S.
                unsafe { &entry_symbol::$symbol }
            }
        )*
    };
}

entries! {
    /// SVC for ever.
    svc = ku_svc;
    /// Adds its number plus one to each of x0 to x30, 16 to SP, sets NZCV, then SVC.
    count_registers = ku_count_registers;
    /// x0 = [x1], then SVC.
    load = ku_load;
    /// [x1] = x0, then SVC.
    store = ku_store;
    /// The same with PSTATE.TCO set.
    store_unchecked = ku_store_unchecked;
    /// Stores the tag of x1 at x1, then SVC.
    store_tag = ku_store_tag;
    /// x0 = x1 with the tag at x1, then SVC.
    load_tag = ku_load_tag;
    /// x0 = x1 with a random tag, then SVC.
    random_tag = ku_random_tag;
    /// Jumps to x1.
    jump = ku_jump;
    /// UDF.
    undefined = ku_undefined;
    /// BRK #0x123.
    breakpoint = ku_breakpoint;
    /// Writes VBAR_EL1.
    privileged = ku_privileged;
    /// Loads through a misaligned SP, then SVC.
    misaligned_sp = ku_misaligned_sp;
    /// Branches to itself.
    spin = ku_spin;
    /// x0 = CNTVCT_EL0, x1 = CTR_EL0, x2 = DCZID_EL0, x3 = CNTFRQ_EL0, then SVC.
    read_registers = ku_read_registers;
    /// TPIDR_EL0 += x0, then SVC.
    add_to_tls = ku_add_to_tls;
    /// Zeroes the block at x1, cleans it and invalidates instructions there, then SVC.
    maintain_cache = ku_maintain_cache;
    /// v0 += v1 as two doubles, then SVC.
    add_doubles = ku_add_doubles;
}
