// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file fills buffers with random bytes: from RNDR (FEAT_RNG), or from a generator.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where random bytes come from.
#[derive(Debug)]
pub enum Entropy {
    /// The CPU's generator.
    Rndr,
    /// splitmix64 from a seed. Not for secrets: it serves CPUs without RNDR, and runs that must
    /// repeat.
    Seeded(AtomicU64),
}

impl Entropy {
    /// Builds a generator that repeats for the same seed.
    pub const fn seeded(seed: u64) -> Self {
        Entropy::Seeded(AtomicU64::new(seed))
    }

    /// Fills `buf`.
    pub fn fill(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    fn next(&self) -> u64 {
        match self {
            Entropy::Rndr => rndr(),
            Entropy::Seeded(state) => {
                const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
                mix(state.fetch_add(STEP, Relaxed).wrapping_add(STEP))
            }
        }
    }
}

/// The output function of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
fn mix(state: u64) -> u64 {
    let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(target_os = "none")]
fn rndr() -> u64 {
    let rng = aarch64_cpu::asm::random::ArmRng::new();
    // RNDR may fail for a moment when it is asked faster than it collects.
    for _ in 0..1000 {
        if let Some(value) = rng.and_then(|rng| rng.rndr()) {
            return value;
        }
    }
    mix(crate::timer::ticks())
}

#[cfg(not(target_os = "none"))]
fn rndr() -> u64 {
    unreachable!("RNDR is chosen on the machine only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_bytes_repeat_and_differ_by_seed() {
        let bytes = |seed| {
            let mut buf = [0; 20];
            Entropy::seeded(seed).fill(&mut buf);
            buf
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
        // splitmix64 with seed 0 is published as 0xe220a8397b1dcdaf.
        assert_eq!(bytes(0)[..8], 0xe220_a839_7b1d_cdaf_u64.to_le_bytes());
    }
}
