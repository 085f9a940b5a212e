// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file maps blocks of the huge zero page, and looks at them.

use base::{PageRange, Pfn};
use mm::{AreaFlags, PageView};

use super::World;
use super::folios::{Body, for_orders};
use super::process::{Process, TAGGED};

pub const BLOCK: u64 = 512;

/// Runs `body` on machines where memory may have blocks, and checks all counts afterwards.
pub fn on_machines(body: impl Body) {
    for_orders(&[9], body);
}

/// Maps so many blocks and loads a word of each.
pub fn zeroes(p: &mut Process, nr: u64, flags: AreaFlags) -> PageRange {
    let pages = p.map_folios(9, nr, flags);
    (0..nr).for_each(|n| assert_eq!(p.load(pages.start.add(n * BLOCK + 77).base()), Ok(0)));
    pages
}

/// Runs `body` with a process that has loaded from two tagged blocks, and checks that it has what it
/// should have.
pub fn with_zeroes(body: impl Fn(&World, &mut Process, PageRange) + Copy + Send + Sync + 'static) {
    on_machines(move |world, _| {
        let mut p = world.tagged_process();
        let pages = zeroes(&mut p, 2, TAGGED);
        world.audit();
        body(world, &mut p, pages);
        world.audit();
        p.verify_all();
        world.assert_no_stale(&p.mm);
        p.exit();
        world.audit();
    });
}

/// Returns the first frames of the blocks that map `pages`.
pub fn heads(p: &Process, pages: PageRange) -> Vec<Pfn> {
    let frame = |view: &PageView| match view {
        PageView::Present { pfn, .. } => *pfn,
        other => panic!("{other:?}"),
    };
    let frames: Vec<_> = p.views(pages).iter().map(frame).collect();
    let is_whole = |block: &[Pfn]| (1..).zip(&block[1..]).all(|(n, pfn)| *pfn == block[0].add(n));
    assert!(frames.chunks(BLOCK as usize).all(is_whole), "adjacent frames");
    frames.into_iter().step_by(BLOCK as usize).collect()
}

/// Tells whether all pages are the small zero page.
pub fn is_small(p: &Process, pages: PageRange) -> bool {
    let views = p.views(pages);
    matches!(views[0], PageView::Present { .. }) && views.iter().all(|view| *view == views[0])
}

/// Returns (anonymous pages, those of them that blocks map).
pub fn resident(p: &Process) -> (u64, u64) {
    let stats = p.call(|mm| mm.stats());
    (stats.anon, stats.block_mapped)
}
