// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file checks the counts of who maps a folio against a model, for every sequence of operations
//! on four pages and up to three address spaces: row 2 of section 003.3 (see `s003_sharing.rs`).
//!
//! The rule is exact: a folio is exclusive to an address space if and only if no other maps any of
//! its pages; the mapcount is the number of entries; each address space counts its own; a store
//! copies if and only if somebody else can see the page. The model is in `world/sharing.rs`.

mod world;

use std::collections::BTreeMap;

use base::{PageRange, Pfn, Vpn};
use hal::sim::{Adversary, SimConfig};
use mm::lab::Refault;
use mm::{Advice, PageView, Placement};
use pgtable::SwapEntry;
use world::process::{Process, RW};
use world::sharing::{Entry, FolioId, MMS, Model, Op, PAGES};
use world::{CPU0, Footprint, World, config};

const START: Vpn = Vpn::new(0x10_0000);

/// The sequences that are tried have so many operations at most.
const DEPTH: usize = 5;

/// How many sequences that are: a model that changed would say so.
const NR_SEQUENCES: u64 = 281_558;

/// Threads, each with a machine of its own, that share them.
const THREADS: u64 = 2;

/// Beside the model, every count is recomputed after sequences of so many.
const AUDITED_DEPTH: usize = 4;

/// The memory manager, in the state that some operations lead to.
struct Real<'w> {
    world: &'w World,
    mms: [Option<Process>; MMS],
    value: u64,
}

impl<'w> Real<'w> {
    fn new(world: &'w World) -> Self {
        let mut p = world.process(CPU0);
        p.map_at(Placement::Fixed(START), PAGES as u64, RW);
        p.write(START, 0, 1);
        Self { world, mms: [Some(p), None, None], value: 1 }
    }

    fn mm(&mut self, mm: usize) -> &mut Process {
        self.mms[mm].as_mut().expect("the model has it")
    }

    fn apply(&mut self, op: Op) {
        let one = |page: usize| PageRange::of_len(START.add(page as u64), 1);
        match op {
            Op::Load(mm, page) => self.mm(mm).verify(one(page).start),
            Op::Store(mm, page) => {
                self.value += 1;
                let value = self.value;
                self.mm(mm).write(one(page).start, 0, value);
            }
            Op::Unmap(mm, page) => self.mm(mm).advise(one(page), Advice::DontNeed),
            Op::Fork(mm, child) => self.mms[child] = Some(self.mm(mm).fork(CPU0)),
            Op::Exit(mm) => self.mms[mm].take().expect("the model has it").exit(),
            Op::Split(mm) => self.mm(mm).advise(one(0), Advice::Cold),
            Op::Out => self.reclaim_all(),
        }
    }

    /// Reclaims until nothing but zero pages is mapped.
    fn reclaim_all(&self) {
        let is_out = || self.mms.iter().flatten().all(|p| p.mm.stats().anon == 0);
        let is_out = |_: &u32| {
            self.world.on(CPU0, || self.world.system.reclaim_pages(64));
            is_out()
        };
        (0..20).find(is_out).expect("everything goes out");
    }

    /// Compares everything that the model knows with what is.
    fn check(&self, model: &Model) {
        let mut frames = BTreeMap::<(FolioId, usize), Pfn>::new();
        let mut slots = BTreeMap::<(FolioId, usize), SwapEntry>::new();
        for (mm, p) in self.mms.iter().enumerate() {
            let Some(p) = p else { continue };
            let pages = PageRange::of_len(START, PAGES as u64);
            let views = p.call(|mm| mm.page_views(pages));
            for (page, view) in views.into_iter().enumerate() {
                match (model.entry(mm, page), view) {
                    (Entry::None, PageView::None) => {}
                    (Entry::Zero, PageView::Present { is_exclusive: false, .. }) => {}
                    (Entry::Swapped(folio), PageView::Swapped(entry)) => {
                        let known = slots.entry((folio, page)).or_insert(entry);
                        assert_eq!(*known, entry, "page {page} has one slot");
                    }
                    (Entry::Mapped(folio), PageView::Present { pfn, is_exclusive, .. }) => {
                        let known = frames.entry((folio, page)).or_insert(pfn);
                        assert_eq!(*known, pfn, "page {page} has one frame");
                        assert_eq!(is_exclusive, model.is_exclusive(folio, mm), "mm {mm}");
                        self.check_counts(model, folio, pfn);
                    }
                    (expected, found) => panic!("mm {mm} page {page}: {found:?}, not {expected:?}"),
                }
            }
        }
        let mut distinct: Vec<_> = frames.values().collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), frames.len(), "different pages have different frames");
    }

    fn check_counts(&self, model: &Model, folio: FolioId, pfn: Pfn) {
        let sharing = self.world.on(CPU0, || self.world.system.sharing_of(pfn));
        assert_eq!(sharing.order.nr_pages() as usize, model.nr_pages(folio), "pages of {folio:?}");
        let id = |mm: usize| self.mms[mm].as_ref().expect("the model has it").mm.id();
        let counts = model.counts(folio);
        let expected: BTreeMap<_, _> = counts.iter().map(|(mm, nr)| (id(*mm), *nr)).collect();
        assert_eq!(sharing.by_mm, expected, "who maps {folio:?}");
        assert_eq!(sharing.mapcount, expected.values().sum::<u32>());
        let mut mappers = expected.into_keys();
        let only = mappers.next().filter(|_| mappers.next().is_none());
        assert_eq!(sharing.only_mm, only, "who alone maps {folio:?}");
    }

    /// Looks at all bytes, ends all processes and checks that everything is given back.
    fn finish(mut self, before: Footprint) {
        for p in self.mms.iter_mut().flatten() {
            p.verify_all();
        }
        self.mms.into_iter().flatten().for_each(Process::exit);
        assert_eq!(self.world.footprint(), before, "everything is given back");
    }
}

/// Says which operations led to a failure.
struct NameOnPanic<'o>(&'o [Op]);

impl Drop for NameOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:?}", self.0);
        }
    }
}

/// Tries its share of all sequences: every [`THREADS`]-th.
struct Explorer {
    world: World,
    before: Footprint,
    share: u64,
    nr_seen: u64,
}

impl Explorer {
    fn new(share: u64) -> Self {
        let calm = SimConfig { adversary: Adversary::CALM, ..config(0) };
        let world = World::new(calm);
        world.allow_order(2);
        // What was written stays in the cache, so that a refault maps the same folio again.
        world.system.set_refault(Refault { stays_cached: true, ..Refault::default() });
        Self { before: world.footprint(), world, share, nr_seen: 0 }
    }

    /// Tries the sequences that begin with `ops`, which lead to `model`, and are `left` longer. What
    /// changes nothing is tried as the last operation only. The last two pages are all the same: the
    /// last one is not used before the other.
    fn try_all(&mut self, model: &Model, ops: &mut Vec<Op>, left: usize) {
        let uses = |op: &Op, page| op.page() == Some(page);
        let may_use_last = ops.iter().any(|op| uses(op, PAGES - 2));
        for op in model.ops() {
            if uses(&op, PAGES - 1) && !may_use_last {
                continue;
            }
            let next = model.after(op);
            ops.push(op);
            if left == 1 {
                self.try_one(&next, ops);
            } else if next != *model {
                self.try_all(&next, ops, left - 1);
            }
            ops.pop();
        }
    }

    fn try_one(&mut self, model: &Model, ops: &[Op]) {
        self.nr_seen += 1;
        if self.nr_seen % THREADS != self.share {
            return;
        }
        let _named = NameOnPanic(ops);
        let mut real = Real::new(&self.world);
        ops.iter().for_each(|op| real.apply(*op));
        if ops.len() <= AUDITED_DEPTH {
            self.world.audit();
        }
        real.check(model);
        real.finish(self.before);
    }
}

#[test]
fn s003_r02_every_sequence_of_operations_leaves_exact_counts() {
    let explore = |share| {
        let mut explorer = Explorer::new(share);
        (1..=DEPTH).for_each(|depth| explorer.try_all(&Model::new(), &mut Vec::new(), depth));
        explorer.nr_seen
    };
    let threads: Vec<_> =
        (0..THREADS).map(|share| std::thread::spawn(move || explore(share))).collect();
    let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(seen, [NR_SEQUENCES; THREADS as usize]);
}
