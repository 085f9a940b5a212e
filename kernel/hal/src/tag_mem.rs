// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to the allocation tags of physical frames (FEAT_MTE2, Arm ARM D10).

use base::Pfn;
use base::addr::GRANULES_PER_PAGE;

/// The 256 four-bit allocation tags of one page, granule 0 in the low bits of word 0.
///
/// The layout is that of LDGM and STGM with GMID_EL1.BS = 6 (Arm ARM C6.2.140): each 64-bit word
/// holds the tags of 256 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageTags(pub [u64; PageTags::WORDS]);

impl PageTags {
    /// 64-bit words in a page's tags.
    pub const WORDS: usize = GRANULES_PER_PAGE / 16;
    /// Bytes in a page's tags.
    pub const BYTES: usize = GRANULES_PER_PAGE / 2;
    /// The tags of a page whose every granule has tag 0.
    pub const ZERO: PageTags = PageTags([0; PageTags::WORDS]);

    /// Builds tags that are all `tag`.
    pub const fn uniform(tag: u8) -> Self {
        PageTags([(tag as u64 & 0xf) * 0x1111_1111_1111_1111; PageTags::WORDS])
    }

    /// Returns the tag of granule `index`.
    pub const fn get(&self, index: usize) -> u8 {
        ((self.0[index / 16] >> (index % 16 * 4)) & 0xf) as u8
    }

    /// Sets the tag of granule `index`.
    pub const fn set(&mut self, index: usize, tag: u8) {
        let shift = index % 16 * 4;
        self.0[index / 16] = self.0[index / 16] & !(0xf << shift) | ((tag as u64 & 0xf) << shift);
    }
}

/// Allocation tags of physical memory, by frame.
///
/// Without tags in the machine ([`TagMem::has_tags`] is `false`) the other methods are never called.
pub trait TagMem {
    /// Tells whether memory has allocation tags (ID_AA64PFR1_EL1.MTE >= 2 and tag RAM present).
    fn has_tags(&self) -> bool;

    /// Sets every tag of the frame to zero and leaves its bytes alone.
    fn zero_tags(&self, pfn: Pfn);

    /// Fills the frame with zero bytes and zero tags in one pass (DC GZVA).
    fn zero_frame_and_tags(&self, pfn: Pfn);

    /// Fills adjacent frames with zero bytes and zero tags.
    fn zero_frames_and_tags(&self, first: Pfn, nr_frames: u32) {
        (0..nr_frames).for_each(|n| self.zero_frame_and_tags(first.add(n)));
    }

    /// Reads the frame's tags.
    fn read_tags(&self, pfn: Pfn) -> PageTags;

    /// Writes the frame's tags and leaves its bytes alone.
    fn write_tags(&self, pfn: Pfn, tags: &PageTags);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_touches_one_granule_only() {
        let mut tags = PageTags::uniform(0xa);
        tags.set(17, 0x5);
        assert_eq!(tags.get(16), 0xa);
        assert_eq!(tags.get(17), 0x5);
        assert_eq!(tags.get(18), 0xa);
        assert_eq!(tags.0[1], 0xaaaa_aaaa_aaaa_aa5a);
        tags.set(17, 0xa);
        assert_eq!(tags, PageTags::uniform(0xa));
    }
}
