// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the outcomes of requests between their completion and their wait.

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::sync::atomic::{AtomicU8, Ordering};
use hal::{IoError, WaitChannel};

/// How many requests of a disk may be unwaited for. A thread that wants another sleeps.
pub const NR_TICKETS: usize = 4096;

/// Nobody's.
const FREE: u8 = 0;
/// The device has the request.
const IN_FLIGHT: u8 = 1;
/// The device is done with it: three outcomes.
const DONE: u8 = 2;
const FAILED: u8 = 3;
const UNSUPPORTED: u8 = 4;

/// A state for each ticket. FREE -> IN_FLIGHT and DONE -> FREE with the disk's lock held or by the
/// ticket's only owner; IN_FLIGHT -> DONE by who takes the completion off the queue.
pub struct Tickets(Box<[AtomicU8]>);

impl Tickets {
    /// Builds free tickets.
    pub fn new() -> Self {
        Self((0..NR_TICKETS).map(|_| AtomicU8::new(FREE)).collect())
    }

    /// Returns the numbers of all tickets, as a stack to take them from.
    pub fn all() -> Vec<u16> {
        (0..NR_TICKETS as u16).rev().collect()
    }

    /// Marks a free ticket as in use.
    pub fn start(&self, ticket: u16) {
        self.0[usize::from(ticket)].store(IN_FLIGHT, Ordering::Relaxed);
    }

    /// Stores an outcome. Release: who reads it sees what the device wrote to memory before this
    /// CPU read the used ring's index.
    pub fn finish(&self, ticket: u16, outcome: Result<(), IoError>) {
        let state = match outcome {
            Ok(()) => DONE,
            Err(IoError::Unsupported) => UNSUPPORTED,
            Err(_) => FAILED,
        };
        self.0[usize::from(ticket)].store(state, Ordering::Release);
    }

    /// Tells whether the ticket's outcome is known.
    ///
    /// # Panics
    ///
    /// When it was waited for already.
    pub fn is_done(&self, ticket: u16) -> bool {
        match self.0[usize::from(ticket)].load(Ordering::Acquire) {
            FREE => panic!("ticket {ticket} is waited for a second time"),
            state => state != IN_FLIGHT,
        }
    }

    /// Takes the outcome of a ticket that is done, which is free then.
    pub fn take(&self, ticket: u16) -> Result<(), IoError> {
        match self.0[usize::from(ticket)].swap(FREE, Ordering::Acquire) {
            DONE => Ok(()),
            UNSUPPORTED => Err(IoError::Unsupported),
            FAILED => Err(IoError::Device),
            state => panic!("ticket {ticket} in state {state} has no outcome"),
        }
    }

    /// Returns the channel on which the ticket's owner sleeps.
    pub fn channel(&self, ticket: u16) -> WaitChannel {
        WaitChannel::of(&self.0[usize::from(ticket)])
    }
}
