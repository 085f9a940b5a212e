// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the kernel's side of frames in simulated RAM: their bytes and their tags.
//!
//! Whole-frame operations take two steps with a schedule point in between, so that a page copied
//! while somebody writes to it is torn. Those that give a frame new contents are judged first: no
//! CPU and no disk may still use it for something else.

use alloc::vec::Vec;
use core::ops::Range;

use base::sync::schedule_point;
use base::{Pfn, PhysAddr};

use super::SimMachine;
use super::ram::WORDS;
use crate::phys_mem::PhysMem;
use crate::tag_mem::{PageTags, TagMem};

impl SimMachine {
    /// Runs `step` for all of `0..len`, in two parts.
    fn in_two_steps(&self, len: usize, mut step: impl FnMut(Range<usize>)) {
        let cut = self.draw_cut(len);
        schedule_point();
        step(0..cut);
        schedule_point();
        step(cut..len);
    }

    fn assert_reusable(&self, pfn: Pfn) {
        self.assert_not_in_flight(pfn);
        self.mmu().assert_reusable(self.ram(), pfn);
    }

    fn tags_needed(&self) {
        assert!(self.config().has_tags, "a tag operation on a machine without tags");
    }
}

impl PhysMem for SimMachine {
    fn managed_frames(&self) -> Vec<Range<Pfn>> {
        self.ram().managed()
    }

    fn adopt_block(&self, first: Pfn) -> bool {
        let is_wanted = self.take_heap_block();
        if is_wanted {
            self.ram().adopt(first);
        }
        is_wanted
    }

    fn kernel_heap_room(&self) -> usize {
        self.heap_room()
    }

    fn zero_frame(&self, pfn: Pfn) {
        self.assert_reusable(pfn);
        let frame = self.ram().frame(pfn);
        self.in_two_steps(WORDS, |words| words.for_each(|word| frame.set_word(word, 0)));
        frame.set_synced(false);
    }

    fn copy_frame(&self, dst: Pfn, src: Pfn) {
        self.assert_reusable(dst);
        let (dst, src) = (self.ram().frame(dst), self.ram().frame(src));
        self.in_two_steps(WORDS, |words| {
            words.for_each(|word| dst.set_word(word, src.word(word)));
        });
        dst.set_synced(false);
    }

    fn is_zero_frame(&self, pfn: Pfn) -> bool {
        let frame = self.ram().frame(pfn);
        let mut is_zero = true;
        self.in_two_steps(WORDS, |mut words| is_zero &= words.all(|word| frame.word(word) == 0));
        is_zero
    }

    fn read_bytes(&self, from: PhysAddr, buf: &mut [u8]) {
        let (frame, offset) = self.ram().at(from);
        self.in_two_steps(buf.len(), |part| frame.read(offset + part.start, &mut buf[part]));
    }

    fn write_bytes(&self, to: PhysAddr, buf: &[u8]) {
        let (frame, offset) = self.ram().at(to);
        self.in_two_steps(buf.len(), |part| frame.write(offset + part.start, &buf[part]));
        frame.set_synced(false);
    }

    fn sync_instructions(&self, pfn: Pfn) {
        schedule_point();
        self.ram().frame(pfn).set_synced(true);
    }

    fn inject_alloc_failure(&self) -> bool {
        self.alloc_faults().decide()
    }
}

impl TagMem for SimMachine {
    fn has_tags(&self) -> bool {
        self.config().has_tags
    }

    fn zero_tags(&self, pfn: Pfn) {
        self.write_tags(pfn, &PageTags::ZERO);
    }

    fn zero_frame_and_tags(&self, pfn: Pfn) {
        self.write_tags(pfn, &PageTags::ZERO);
        self.zero_frame(pfn);
    }

    fn read_tags(&self, pfn: Pfn) -> PageTags {
        self.tags_needed();
        let frame = self.ram().frame(pfn);
        let mut tags = PageTags::ZERO;
        self.in_two_steps(PageTags::WORDS, |words| {
            let now = frame.tags();
            tags.0[words.clone()].copy_from_slice(&now.0[words]);
        });
        tags
    }

    fn write_tags(&self, pfn: Pfn, tags: &PageTags) {
        self.tags_needed();
        let frame = self.ram().frame(pfn);
        self.in_two_steps(PageTags::WORDS, |words| frame.set_tags(tags, words));
    }
}
