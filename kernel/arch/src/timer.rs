// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads time and sets the CPU's virtual timer (Arm ARM D12).

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::*;

/// How often the event stream wakes a CPU from WFE, at least: Linux aims at 10 kHz too
/// (drivers/clocksource/arm_arch_timer.c).
const EVENT_STREAM_HZ: u64 = 10_000;

/// The relation of counter ticks and nanoseconds, both ways, as 32.32 fixed-point numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticks {
    ns_per_tick: u64,
    ticks_per_ns: u64,
}

impl Ticks {
    /// Reads the counter's frequency.
    pub fn read() -> Self {
        Self::of_frequency(CNTFRQ_EL0.get())
    }

    fn of_frequency(hz: u64) -> Self {
        assert!(hz > 0, "CNTFRQ_EL0 is 0: firmware did not set it");
        const NS_PER_S: u128 = 1_000_000_000;
        let ratio = |a: u128, b: u128| ((a << 32) / b) as u64;
        Self { ns_per_tick: ratio(NS_PER_S, hz.into()), ticks_per_ns: ratio(hz.into(), NS_PER_S) }
    }

    fn to_ns(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.ns_per_tick)) >> 32) as u64
    }

    fn of_ns(self, ns: u64) -> u64 {
        ((u128::from(ns) * u128::from(self.ticks_per_ns)) >> 32) as u64
    }

    /// Returns when to look whether a time is reached: one tick late rather than early, for who waits
    /// for a time must find it reached. The last time of all is no later than the last tick.
    fn ticks_after(self, ns: u64) -> u64 {
        self.of_ns(ns).saturating_add(1)
    }

    /// Returns nanoseconds since the counter started.
    pub fn now_ns(self) -> u64 {
        self.to_ns(ticks())
    }

    /// Makes the timer's interrupt pending at `deadline_ns`, or never.
    pub fn set_timer(self, deadline_ns: Option<u64>) {
        match deadline_ns {
            Some(ns) => {
                CNTV_CVAL_EL0.set(self.ticks_after(ns));
                CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
            }
            None => CNTV_CTL_EL0.set(0),
        }
        // The timer's output is what the registers say before the GIC is asked or WFI sleeps.
        barrier::isb(barrier::SY);
    }
}

/// Returns the counter.
#[inline(always)]
pub fn ticks() -> u64 {
    // Not ahead of earlier instructions (Arm ARM D12.2.2): a reading that is compared with one of
    // another CPU must not be speculative.
    barrier::isb(barrier::SY);
    CNTVCT_EL0.get()
}

/// Sets up the running CPU's timer: off, with the event stream on. EL0 may read the virtual counter
/// and its frequency, and nothing else.
pub fn init_cpu() {
    CNTV_CTL_EL0.set(0);
    // The event comes with every change of counter bit EVNTI: at half the frequency of that bit.
    let event = (CNTFRQ_EL0.get() / EVENT_STREAM_HZ).max(2).ilog2().min(15);
    CNTKCTL_EL1.write(
        CNTKCTL_EL1::EVNTEN::SET
            + CNTKCTL_EL1::EVNTI.val(u64::from(event))
            + CNTKCTL_EL1::EL0VCTEN::SET,
    );
}
