// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate says what the kernel asks of a machine, and has a machine made of host memory.
//!
//! [`Machine`] is the one parameter that the memory manager is generic over. The kernel binds it to
//! registers, TLBIs, tag instructions and virtio-blk (`kernel/src/machine.rs`); host tests bind it
//! to `sim::SimMachine` (feature `sim`). [`Platform`] adds what processes need: running user code,
//! user memory, threads, a console.
//!
//! | part | what | file |
//! |---|---|---|
//! | [`PhysMem`] | bytes of frames | `phys_mem.rs` |
//! | [`TagMem`] | allocation tags of frames | `tag_mem.rs` |
//! | [`PteMem`] | translation-table entries, as atomics that a hardware walker shares | `pte_mem.rs` |
//! | [`Tlb`] | invalidation and its completion | `tlb.rs` |
//! | [`BlockDevs`] | disks, many requests in flight | `block_dev.rs` |
//! | [`DeviceMem`] | devices with memory of their own, and their copy engine | `device_mem.rs` |
//! | [`Cpus`], [`Clock`] | who runs, and when | `cpu.rs`, `clock.rs` |
//! | [`Trace`] | keeping what happens, where it is kept | `trace.rs` |
//! | [`Wait`] | sleeping and waking | `wait.rs`, locks on top in `sleep_lock.rs` |
//! | [`RunUser`], [`UserMem`] | EL0: run it, read and write its memory | `user.rs`, `user_mem.rs` |
//! | [`Threads`], [`Devices`] | kernel threads; console, power, entropy | `thread.rs`, `devices.rs` |
//!
//! All methods take `&self`: a simulated machine is a value. The traits are safe. What a wrong
//! implementation could break is the kernel's promise to user programs, not memory safety, because
//! frames hold no Rust objects and `arch` checks that a frame passed in is one of the managed ones.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "sim"))]
extern crate std;

extern crate alloc;

pub mod block_dev;
pub mod clock;
pub mod cpu;
pub mod device_mem;
pub mod devices;
pub mod phys_mem;
pub mod pte_mem;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod sleep_lock;
pub mod tag_mem;
pub mod thread;
pub mod tlb;
pub mod trace;
pub mod user;
pub mod user_mem;
pub mod wait;

pub use block_dev::{BlockDevs, BlockOp, DiskId, IoError, IoTicket, Segment};
pub use clock::Clock;
pub use cpu::Cpus;
pub use device_mem::{CopyError, CopyTicket, DeviceId, DeviceMem, FrameCopy};
pub use devices::{Devices, PowerAction};
pub use phys_mem::PhysMem;
pub use pte_mem::{PteCell, PteMem, PteSlot, PteTable};
pub use tag_mem::{PageTags, TagMem};
pub use thread::{Interrupt, Threads};
pub use tlb::{Asid, Invalidate, LeafLevel, Reach, Tlb};
pub use trace::{Trace, TraceKind};
pub use user::{FpState, RunUser, TagCheckMode, TagControl, Trap, UserRegs};
pub use user_mem::{Access, FaultCause, MemFault, UserFault, UserMem};
pub use wait::{Wait, WaitChannel};

/// Everything the memory manager asks of a machine.
pub trait Machine:
    PhysMem
    + TagMem
    + PteMem
    + Tlb
    + BlockDevs
    + DeviceMem
    + Cpus
    + Trace
    + Wait
    + Send
    + Sync
    + Sized
    + 'static
{
}

impl<T> Machine for T where
    T: PhysMem
        + TagMem
        + PteMem
        + Tlb
        + BlockDevs
        + DeviceMem
        + Cpus
        + Trace
        + Wait
        + Send
        + Sync
        + Sized
        + 'static
{
}

/// Everything processes ask of a machine: memory management, and running user code.
pub trait Platform: Machine + RunUser + UserMem + Threads + Devices {}

impl<T> Platform for T where T: Machine + RunUser + UserMem + Threads + Devices {}
