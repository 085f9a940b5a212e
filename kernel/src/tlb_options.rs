// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the boot options of TLB invalidation: `tlb=page`, `batch` or `generation`
//! ([`TlbPolicy`]), and `tlb.asids=N` for a machine that makes do with so few ASIDs.

use base::percpu::MAX_CPUS;
use mm::TlbPolicy;

/// A rollover leaves each CPU the ASID that it runs, and one that it is about to run; there must be more.
const MIN_ASIDS: u32 = 2 * MAX_CPUS as u32 + 2;

/// Reads the value of `tlb`.
pub fn policy(value: &str) -> Option<TlbPolicy> {
    match value {
        "page" => Some(TlbPolicy::Page),
        "batch" => Some(TlbPolicy::Batch),
        "generation" => Some(TlbPolicy::Generation),
        _ => None,
    }
}

/// Returns how many ASIDs to use of those that the CPU has: all, or as few as `wanted` says.
pub fn nr_asids(wanted: Option<&str>, has_16_bits: bool) -> u32 {
    let all = if has_16_bits { 1 << 16 } else { 1 << 8 };
    let wanted = wanted.and_then(|nr| nr.parse().ok());
    wanted.map_or(all, |nr: u32| nr.clamp(MIN_ASIDS, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_one_of_three_words() {
        assert_eq!(policy("page"), Some(TlbPolicy::Page));
        assert_eq!(policy("batch"), Some(TlbPolicy::Batch));
        assert_eq!(policy("generation"), Some(TlbPolicy::Generation));
        for bad in ["", "Page", "none", "batch "] {
            assert_eq!(policy(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn there_are_never_more_asids_than_the_cpu_has_nor_fewer_than_it_takes() {
        assert_eq!(nr_asids(None, true), 65536);
        assert_eq!(nr_asids(None, false), 256);
        assert_eq!(nr_asids(Some("100"), true), 100);
        assert_eq!(nr_asids(Some("100000"), true), 65536);
        assert_eq!(nr_asids(Some("1000"), false), 256);
        assert_eq!(nr_asids(Some("1"), true), 18);
        assert_eq!(nr_asids(Some("many"), true), 65536);
    }
}
