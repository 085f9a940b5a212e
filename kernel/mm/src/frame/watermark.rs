// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file decides how many frames should be free, and who may take the last ones.
//!
//! Below `low` the background thread reclaims until `high` is reached; below `min` an allocation
//! reclaims for itself; what is left below `min` serves reclaim itself, which needs a frame now and
//! then to free many (swap tables, tag storage, table pages of a task that is being killed).
//! The ratios are Linux's (`__setup_per_zone_wmarks` in mm/page_alloc.c): low is min + 1/4, high is
//! min + 1/2.

/// Frame counts that steer reclaim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// Below: only reclaim itself may allocate.
    pub min: u64,
    /// Below: the background thread is woken.
    pub low: u64,
    /// The background thread's goal.
    pub high: u64,
}

impl Watermarks {
    /// Chooses watermarks for `nr_frames` frames of memory: 1/128 of it, at least 16 frames and at
    /// most 16 MiB.
    pub fn for_memory(nr_frames: u64) -> Self {
        let min = (nr_frames / 128).clamp(16, 4096);
        Self { min, low: min + min / 4 + 1, high: min + min / 2 + 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_are_ordered_for_every_size() {
        for nr_frames in [1, 512, 65_536, 1 << 24] {
            let marks = Watermarks::for_memory(nr_frames);
            assert!(marks.min < marks.low && marks.low < marks.high, "{marks:?}");
        }
        assert_eq!(Watermarks::for_memory(65_536), Watermarks { min: 512, low: 641, high: 770 });
    }
}
