// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the simulated console, power switch and source of entropy.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use std::panic::resume_unwind;

use super::SimMachine;
use super::host::State;
use super::rng::{Rng, Stream};
use crate::devices::{Devices, PowerAction};

/// The payload with which every simulated CPU unwinds once the machine has stopped. Catch it
/// around the code that stands for the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped(pub PowerAction);

/// Console and power.
#[derive(Debug)]
pub(super) struct Board(State<Inside>);

#[derive(Debug)]
struct Inside {
    written: Vec<u8>,
    input: VecDeque<u8>,
    entropy: Rng,
    stopped: Option<PowerAction>,
}

impl Board {
    pub(super) fn new(seed: u64) -> Self {
        let entropy = Rng::new(seed, Stream::Entropy);
        let (written, input) = (Vec::new(), VecDeque::new());
        Self(State::new(Inside { written, input, entropy, stopped: None }))
    }

    /// Tells whether the console has input.
    pub(super) fn has_input(&self) -> bool {
        !self.0.lock().input.is_empty()
    }
}

impl SimMachine {
    /// Returns what was written to the console so far.
    pub fn console_output(&self) -> Vec<u8> {
        self.board().0.lock().written.clone()
    }

    /// Lets bytes arrive at the console.
    pub fn console_type(&self, bytes: &[u8]) {
        self.board().0.lock().input.extend(bytes);
        self.wake_idle_cpus();
    }

    /// Returns how the machine was stopped, if it was.
    pub fn stopped(&self) -> Option<PowerAction> {
        self.board().0.lock().stopped
    }

    /// Stops the machine without a request to: a flow of control has crashed.
    pub(super) fn halt(&self) {
        self.board().0.lock().stopped.get_or_insert(PowerAction::Halt);
        self.wake_idle_cpus();
    }

    /// Unwinds the calling thread once the machine has stopped.
    pub(super) fn stop_if_stopped(&self) {
        if let Some(action) = self.stopped() {
            resume_unwind(Box::new(Stopped(action)));
        }
    }
}

impl Devices for SimMachine {
    fn console_write(&self, bytes: &[u8]) {
        self.board().0.lock().written.extend_from_slice(bytes);
    }

    fn console_read(&self, buf: &mut [u8]) -> usize {
        let mut inside = self.board().0.lock();
        let len = buf.len().min(inside.input.len());
        for (to, byte) in buf.iter_mut().zip(inside.input.drain(..len)) {
            *to = byte;
        }
        len
    }

    fn power(&self, action: PowerAction) -> ! {
        self.board().0.lock().stopped.get_or_insert(action);
        self.wake_idle_cpus();
        resume_unwind(Box::new(Stopped(action)))
    }

    fn entropy(&self, buf: &mut [u8]) {
        let mut inside = self.board().0.lock();
        for part in buf.chunks_mut(8) {
            part.copy_from_slice(&inside.entropy.next().to_le_bytes()[..part.len()]);
        }
    }

    fn epoch_offset_ns(&self) -> u64 {
        0
    }
}
