// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says whom to give up when memory cannot be got back in any other way.
//!
//! The rule is Linux's (mm/oom_kill.c, oom_badness() and select_bad_process()): who has most pages,
//! resident, swapped and of tables, with what the administrator adds or takes away. Pages that are
//! shared count for each who maps them, so processes of one family are often equal: then the
//! youngest goes, as it has least to lose.

/// A user of memory, as the choice sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OomCandidate {
    /// What it has: [`crate::Mm::badness`].
    pub pages: u64,
    /// Thousandths of all memory that are added to that; -1000 keeps it from being chosen.
    pub adjustment: i16,
    /// Its place in the order in which the candidates were made.
    pub birth: u64,
}

impl OomCandidate {
    /// The adjustment of who is never chosen (OOM_SCORE_ADJ_MIN).
    pub const NEVER: i16 = -1000;

    /// Returns its points in pages, of `total` pages of memory and swap; `None` if it may not be
    /// chosen.
    pub fn points(&self, total: u64) -> Option<i64> {
        let added = i64::from(self.adjustment) * (total as i64 / 1000);
        (self.adjustment != Self::NEVER).then_some(self.pages as i64 + added)
    }
}

/// Chooses whom to give up.
pub fn pick_oom_victim<T>(
    candidates: impl IntoIterator<Item = (T, OomCandidate)>,
    total: u64,
) -> Option<T> {
    let scored = candidates.into_iter().filter_map(|(who, candidate)| {
        let points = candidate.points(total)?;
        Some(((points, candidate.birth), who))
    });
    scored.max_by_key(|(score, _)| *score).map(|(_, who)| who)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 32_768;

    fn victim(candidates: &[(u64, i16)]) -> Option<usize> {
        let of = |(birth, (pages, adjustment)): (usize, &(u64, i16))| {
            let (pages, adjustment) = (*pages, *adjustment);
            (birth, OomCandidate { pages, adjustment, birth: birth as u64 })
        };
        // The order in which they are looked at does not matter.
        let forwards = pick_oom_victim(candidates.iter().enumerate().map(of), TOTAL);
        let backwards = pick_oom_victim(candidates.iter().enumerate().rev().map(of), TOTAL);
        assert_eq!(forwards, backwards);
        forwards
    }

    #[test]
    fn who_has_most_goes() {
        assert_eq!(victim(&[(10, 0), (300, 0), (299, 0)]), Some(1));
        assert_eq!(victim(&[]), None);
    }

    #[test]
    fn the_youngest_of_equals_goes() {
        assert_eq!(victim(&[(90, 0), (90, 0), (89, 0)]), Some(1));
        assert_eq!(victim(&[(90, 0), (90, 0), (90, 0)]), Some(2));
    }

    #[test]
    fn an_adjustment_is_a_share_of_all_memory() {
        // A thousandth is 32 pages here.
        assert_eq!(victim(&[(100, 0), (69, 1)]), Some(1));
        assert_eq!(victim(&[(100, 0), (67, 1)]), Some(0));
        assert_eq!(victim(&[(100, 0), (131, -1)]), Some(0));
        assert_eq!(victim(&[(32_000, 0), (1, 1000)]), Some(1));
    }

    #[test]
    fn points_may_be_negative_and_still_be_most() {
        assert_eq!(victim(&[(5, -900), (4, -999)]), Some(0));
    }

    #[test]
    fn who_must_stay_stays() {
        assert_eq!(victim(&[(30_000, -1000), (1, 0)]), Some(1));
        assert_eq!(victim(&[(30_000, -1000)]), None);
        assert_eq!(victim(&[(30_000, -999), (30_000, -1000)]), Some(0));
    }
}
