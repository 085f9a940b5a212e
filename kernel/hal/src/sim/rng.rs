// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the one source of chance in a simulated machine: a counter-based generator per use.
//!
//! Each part of the machine draws from a stream of its own, so that one more disk request does not
//! shift what the TLBs do. Equal seed and equal schedule give equal draws.

/// SplitMix64: 64 bits of state, any seed is good, one multiply-xorshift round per draw.
#[derive(Debug)]
pub(super) struct Rng(u64);

/// Whose draws these are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Mmu,
    Ram,
    Disk,
    Alloc,
    Entropy,
    Device,
}

impl Rng {
    /// Builds the generator of one stream of a seed.
    pub(super) fn new(seed: u64, stream: Stream) -> Self {
        let mut rng = Self(mix(seed).wrapping_add(stream as u64));
        rng.next();
        rng
    }

    /// Draws 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Draws a number below `bound`, 0 when `bound` is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// Draws `true` once in `n` times; never when `n` is 0.
    pub(super) fn one_in(&mut self, n: u32) -> bool {
        n != 0 && self.below(n as usize) == 0
    }
}

/// Spreads the bits of `x`: a bijection, so distinct inputs stay distinct.
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
