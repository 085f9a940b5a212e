// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is what a disk's lock guards: the device's registers, its queue, and who waits for what.

#![expect(unsafe_code, reason = "the queue trusts its caller with buffers")]

use alloc::vec::Vec;
use core::ptr::NonNull;

use hal::{BlockOp, IoError};
use virtio_drivers::transport::{DeviceStatus, InterruptStatus, Transport};

use super::order;
use super::request::{Requests, UnknownChain};
use super::ring::{QUEUE, Ring};
use super::tickets::Tickets;
use super::{Dma, Platform};

/// A disk's queue. Fields are dropped in this order: the device forgets the ring before its memory
/// is freed.
pub struct Queue<P: Platform, T: Transport> {
    transport: T,
    ring: Ring<Dma<P>>,
    requests: Requests,
    free_tickets: Vec<u16>,
    most_in_flight: usize,
    /// The device broke the protocol and was reset.
    is_broken: bool,
}

/// A request that the device is done with.
pub struct Completion {
    pub ticket: u16,
    pub outcome: Result<(), IoError>,
}

impl<P: Platform, T: Transport> Queue<P, T> {
    /// Builds a queue on a ring that the device has been told of.
    pub fn new(transport: T, ring: Ring<Dma<P>>) -> Self {
        Self {
            requests: Requests::new(ring.size()),
            transport,
            ring,
            free_tickets: Tickets::all(),
            most_in_flight: 0,
            is_broken: false,
        }
    }

    /// Returns the number of descriptors.
    pub const fn size(&self) -> usize {
        self.ring.size()
    }

    /// Returns the most requests that the device ever had at once.
    pub const fn most_in_flight(&self) -> usize {
        self.most_in_flight
    }

    /// Returns how many descriptors a new request may have: none without a ticket, any on a device
    /// that is past using them.
    pub fn room(&self) -> usize {
        match (self.free_tickets.is_empty(), self.is_broken) {
            (true, _) => 0,
            (false, true) => usize::MAX,
            (false, false) => self.ring.nr_free(),
        }
    }

    /// Starts a request and returns its ticket. The caller has seen that there is room for it.
    ///
    /// # Safety
    ///
    /// The buffers are valid until the ticket is done, and what a read fills is nobody else's.
    pub unsafe fn start(
        &mut self,
        tickets: &Tickets,
        op: BlockOp,
        sector: u64,
        buffers: &[NonNull<[u8]>],
    ) -> u16 {
        let ticket = self.free_tickets.pop().expect("a caller who looked for room");
        tickets.start(ticket);
        if self.is_broken {
            tickets.finish(ticket, Err(IoError::Device));
            return ticket;
        }
        let slot = self.requests.insert(ticket, op, sector, buffers);
        let ring = &mut self.ring;
        let chain = self.requests.with_chain(slot, |to_device, from_device| {
            // SAFETY: the caller's promise; header and status live for ever, and are left alone
            // while the slot is taken.
            unsafe { ring.add(to_device, from_device) }
        });
        self.requests.name(slot, chain.expect("a caller who looked for room"));
        self.most_in_flight = self.most_in_flight.max(self.requests.nr_in_flight());
        order::before_doorbell();
        if self.ring.wants_doorbell() {
            self.transport.notify(QUEUE);
        }
        ticket
    }

    /// Puts back a ticket that was waited for.
    pub fn free_ticket(&mut self, ticket: u16) {
        debug_assert!(self.free_tickets.len() < self.free_tickets.capacity(), "no allocation");
        self.free_tickets.push(ticket);
    }

    /// Takes the interrupt down, before the completions that it stands for are taken off the queue:
    /// one that comes later raises it again.
    ///
    /// The status register is read until it is 0, because a store to the register that takes it down
    /// may still be on its way; a load from the same device comes after it (Arm ARM B2.7.2).
    pub fn acknowledge(&mut self) {
        loop {
            let status = self.transport.ack_interrupt();
            if status.is_empty() {
                break;
            }
            let needs_reset = status.contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT)
                && self.transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET);
            if needs_reset {
                self.give_up("it asks for a reset");
            }
        }
        order::after_acknowledge();
    }

    /// Takes a completion off the queue.
    pub fn next_completion(&mut self) -> Option<Completion> {
        if self.is_broken {
            let ticket = self.requests.remove_any()?;
            return Some(Completion { ticket, outcome: Err(IoError::Device) });
        }
        let chain = self.ring.peek()?;
        match self.take_back(chain) {
            Ok(completion) => Some(completion),
            Err(UnknownChain) => {
                self.give_up("it is done with what it never had");
                self.next_completion()
            }
        }
    }

    fn take_back(&mut self, chain: u16) -> Result<Completion, UnknownChain> {
        let slot = self.requests.slot_of(chain)?;
        let ring = &mut self.ring;
        let popped = self.requests.with_chain(slot, |to_device, from_device| {
            // SAFETY: the slot still has the buffers with which the chain was added.
            unsafe { ring.pop(chain, to_device, from_device) }
        });
        popped.map_err(|_| UnknownChain)?;
        let (ticket, outcome) = self.requests.remove(slot, chain);
        Ok(Completion { ticket, outcome })
    }

    /// Resets a device that broke the protocol. It forgets its requests, so their buffers are safe
    /// from it, and all of them fail.
    fn give_up(&mut self, why: &str) {
        log::error!("virtio-blk: disk given up: {why}");
        self.transport.set_status(DeviceStatus::empty());
        // The reset is over when the status reads 0 (virtio 1.2, 4.1.4.3.2).
        while !self.transport.get_status().is_empty() {}
        self.is_broken = true;
    }
}
