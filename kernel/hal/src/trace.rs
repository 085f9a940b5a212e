// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to the trace: who did what, when, for how long.
//!
//! A machine that keeps nothing says so by a constant ([`Trace::traces`] as provided), and then the
//! code that would make an event is gone: its arguments come from closures. What a machine that
//! keeps events does with them is its own affair (`kernel/src/trace.rs`).

use crate::clock::Clock;

/// Declares the kinds of events, with the words by which they are shown.
macro_rules! kinds {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal in $category:ident ($a:literal, $b:literal), )*) => {
        /// A kind of event. Lengths are in pages, times in ns.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum TraceKind { $( $(#[$doc])* $variant ),* }

        impl TraceKind {
            /// All kinds, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Returns the category.
            pub const fn category(self) -> TraceCategory {
                match self { $(Self::$variant => TraceCategory::$category),* }
            }

            /// Returns what the two arguments are.
            pub const fn args(self) -> [&'static str; 2] {
                match self { $(Self::$variant => [$a, $b]),* }
            }
        }
    };
}

/// What is chosen together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum TraceCategory {
    /// Who runs; always kept.
    Thread,
    /// Page faults.
    Fault,
    /// Swap-out and swap-in.
    Swap,
    /// Allocation tags saved and restored.
    Tags,
    /// TLB invalidations.
    Tlb,
    /// Folios split, and pages collapsed.
    Split,
    /// Reclaim.
    Reclaim,
    /// Waits for locks.
    Lock,
    /// Requests to disks.
    Block,
    /// Pages moved to devices and home.
    Migrate,
}

impl TraceCategory {
    /// All categories, in their order.
    pub const ALL: [Self; 10] = [
        Self::Thread,
        Self::Fault,
        Self::Swap,
        Self::Tags,
        Self::Tlb,
        Self::Split,
        Self::Reclaim,
        Self::Lock,
        Self::Block,
        Self::Migrate,
    ];

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Fault => "fault",
            Self::Swap => "swap",
            Self::Tags => "tags",
            Self::Tlb => "tlb",
            Self::Split => "split",
            Self::Reclaim => "reclaim",
            Self::Lock => "lock",
            Self::Block => "block",
            Self::Migrate => "migrate",
        }
    }

    /// Returns the category's bit in a set.
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

kinds! {
    /// A user thread has a name from now on: its number, and the first 8 bytes of the name.
    ThreadName = "thread_name" in Thread ("tid", "name"),
    /// A page fault. Outcome 0: refused; 1: minor; 2: waited for I/O.
    Fault = "fault" in Fault ("addr", "outcome"),
    /// A folio is handed to the disk: its tags are saved, its write is started.
    SwapOut = "swap_out" in Swap ("slot", "pages"),
    /// Folios are read together, from this slot on.
    ReadAhead = "read_ahead" in Swap ("slot", "folios"),
    /// A folio is read from its slots, unless it was read ahead, and gets its tags.
    SwapIn = "swap_in" in Swap ("slot", "pages"),
    /// Tags of a folio are saved with its slots; how many of its pages have any.
    TagsSave = "tags_save" in Tags ("slot", "pages"),
    /// Tags of a page are restored.
    TagsRestore = "tags_restore" in Tags ("slot", "pfn"),
    /// An invalidation is started: from which address on, 0 for all of an address space or of all;
    /// by how many TLBIs.
    TlbIssue = "tlb_issue" in Tlb ("addr", "tlbis"),
    /// Issued invalidations are waited for (DSB).
    TlbWait = "tlb_wait" in Tlb ("", ""),
    /// A gather invalidates what it took, waits, and frees.
    TlbGather = "tlb_gather" in Tlb ("folios", "tables"),
    /// A folio is split; 0 pages if somebody held it.
    Split = "split" in Split ("pfn", "pages"),
    /// The pages of 2 MiB are made one folio; 0 pages if they are not, or were.
    Collapse = "collapse" in Split ("addr", "pages"),
    /// Lists are scanned: 0 by kswapd, 1 by an allocation; how many pages came free.
    Reclaim = "reclaim" in Reclaim ("direct", "pages"),
    /// A sleeping lock is waited for; alone (1) or shared (0).
    LockWait = "lock_wait" in Lock ("addr", "alone"),
    /// A spin lock is waited for, at this address, or of this frame; which it is in the lock order.
    SpinWait = "spin_wait" in Lock ("addr", "level"),
    /// A folio lock is waited for.
    FolioWait = "folio_wait" in Lock ("folio", ""),
    /// A request is started. Operation 0: read; 1: write; 2: flush; 3: discard.
    BlockStart = "block_start" in Block ("ticket", "operation"),
    /// A request is waited for, and retired.
    BlockWait = "block_wait" in Block ("ticket", "failed"),
    /// Pages of a range are locked and frozen; how long the range is.
    MigrateCollect = "migrate_collect" in Migrate ("addr", "pages"),
    /// Collected folios are taken away from everybody else.
    MigrateUnmap = "migrate_unmap" in Migrate ("addr", "folios"),
    /// Pages that have somewhere to go are copied.
    MigrateCopy = "migrate_copy" in Migrate ("addr", "pages"),
    /// Entries are thawed, where the pages are now or where they were.
    MigrateFinalize = "migrate_finalize" in Migrate ("addr", "folios"),
    /// A folio comes home from a device, for a fault or because the device is emptied.
    BringHome = "bring_home" in Migrate ("pfn", "pages"),
}

/// An event that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceEvent {
    /// What happened.
    pub kind: TraceKind,
    /// When it began.
    pub start_ns: u64,
    /// How long it took; 0 for what takes no time.
    pub duration_ns: u64,
    /// What [`TraceKind::args`] says.
    pub args: [u64; 2],
}

/// Keeping what happens. As provided, nothing is kept.
pub trait Trace: Clock {
    /// Tells whether events of this kind are kept.
    #[inline(always)]
    fn traces(&self, _kind: TraceKind) -> bool {
        false
    }

    /// Keeps an event of the running thread.
    fn keep(&self, _event: TraceEvent) {}

    /// Writes what was kept to the console.
    fn write_trace(&self) {}

    /// Keeps an event without a duration.
    #[inline(always)]
    fn mark(&self, kind: TraceKind, args: impl FnOnce() -> [u64; 2])
    where
        Self: Sized,
    {
        if self.traces(kind) {
            let start_ns = self.now_ns();
            self.keep(TraceEvent { kind, start_ns, duration_ns: 0, args: args() });
        }
    }

    /// Begins an event that is kept when the span is dropped.
    #[inline(always)]
    fn span(&self, kind: TraceKind, args: impl FnOnce() -> [u64; 2]) -> Span<'_, Self>
    where
        Self: Sized,
    {
        let open = self.traces(kind).then(|| (self.now_ns(), args()));
        Span { machine: self, kind, open }
    }
}

/// An event that is going on.
#[must_use = "the event is over as soon as this is dropped"]
pub struct Span<'m, T: Trace> {
    machine: &'m T,
    kind: TraceKind,
    /// When it began, and its arguments.
    open: Option<(u64, [u64; 2])>,
}

impl<T: Trace> Span<'_, T> {
    /// Sets the second argument, which was not known at the beginning.
    #[inline(always)]
    pub fn set(&mut self, second: impl FnOnce() -> u64) {
        if let Some((_, args)) = &mut self.open {
            args[1] = second();
        }
    }

    /// Ends without an event: nothing happened.
    #[inline(always)]
    pub fn cancel(mut self) {
        self.open = None;
    }
}

impl<T: Trace> Drop for Span<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some((start_ns, args)) = self.open {
            let duration_ns = self.machine.now_ns().saturating_sub(start_ns);
            self.machine.keep(TraceEvent { kind: self.kind, start_ns, duration_ns, args });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::{Cell, RefCell};
    use std::vec::Vec;

    /// Keeps events of one category; each look at the clock takes 5 ns.
    struct Keeper {
        now_ns: Cell<u64>,
        events: RefCell<Vec<TraceEvent>>,
    }

    impl Clock for Keeper {
        fn now_ns(&self) -> u64 {
            self.now_ns.set(self.now_ns.get() + 5);
            self.now_ns.get()
        }
    }

    impl Trace for Keeper {
        fn traces(&self, kind: TraceKind) -> bool {
            kind.category() == TraceCategory::Swap
        }

        fn keep(&self, event: TraceEvent) {
            self.events.borrow_mut().push(event);
        }
    }

    #[test]
    fn a_span_is_kept_at_its_end_with_what_was_learned_meanwhile() {
        let keeper = Keeper { now_ns: Cell::new(0), events: RefCell::default() };
        {
            let mut outer = keeper.span(TraceKind::SwapOut, || [7, 0]);
            keeper.mark(TraceKind::SwapIn, || [1, 2]);
            keeper.mark(TraceKind::Fault, || panic!("nobody asked for faults"));
            keeper.span(TraceKind::SwapOut, || [9, 9]).cancel();
            outer.set(|| 16);
        }
        let event =
            |kind, start_ns, duration_ns, args| TraceEvent { kind, start_ns, duration_ns, args };
        assert_eq!(
            *keeper.events.borrow(),
            [event(TraceKind::SwapIn, 10, 0, [1, 2]), event(TraceKind::SwapOut, 5, 15, [7, 16]),]
        );
    }

    #[test]
    fn categories_have_a_bit_each() {
        for (index, category) in TraceCategory::ALL.into_iter().enumerate() {
            assert_eq!(category.bit(), 1 << index);
        }
    }

    #[test]
    fn the_document_names_every_kind() {
        let document = include_str!("../../../docs/TRACE.md");
        for kind in TraceKind::ALL {
            let row = std::format!("| `{}` | ", kind.name());
            assert!(document.contains(&row), "docs/TRACE.md lacks {row:?}");
        }
    }
}
