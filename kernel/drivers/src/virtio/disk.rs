// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a disk: how it is started, and the life of its requests.

#![expect(unsafe_code, reason = "buffers are handed to the device")]

use core::ptr::NonNull;

use base::lock_level::{self, assert_may_sleep};
use base::sync::SpinLock;
use base::sync::atomic::{AtomicUsize, Ordering};
use hal::{BlockOp, IoError, Wait, WaitChannel};
use virtio_drivers::Error;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

use super::Platform;
use super::limits::{Features, Limits};
use super::queue::Queue;
use super::ring::Ring;
use super::tickets::Tickets;

/// Why a device cannot be used as a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// It is something else.
    NotADisk(DeviceType),
    /// It does not follow virtio 1.0 or later.
    Legacy,
    /// It does not accept what the driver makes of its features.
    FeaturesRefused,
    /// Its queue has fewer than 256 descriptors.
    QueueTooSmall,
    /// The queue could not be set up, or the configuration not be read.
    Transport(Error),
}

/// A disk.
pub struct Disk<P: Platform, T: Transport> {
    limits: Limits,
    tickets: Tickets,
    /// What [`Queue::room`] returned last, for sleepers to look at.
    room: AtomicUsize,
    queue: SpinLock<Queue<P, T>, lock_level::Device>,
}

impl<P: Platform, T: Transport> Disk<P, T> {
    /// Starts a device.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the device is reset then.
    pub fn start(mut transport: T) -> Result<Self, StartError> {
        if transport.device_type() != DeviceType::Block {
            return Err(StartError::NotADisk(transport.device_type()));
        }
        if transport.requires_legacy_layout() {
            return Err(StartError::Legacy);
        }
        let features = transport.begin_init(Features::all());
        if !features.contains(Features::VERSION_1) {
            return Err(StartError::Legacy);
        }
        if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(StartError::FeaturesRefused);
        }
        let limits = Limits::read(&transport, features).map_err(StartError::Transport)?;
        let ring = Ring::new(&mut transport).map_err(|error| match error {
            Error::InvalidParam => StartError::QueueTooSmall,
            other => StartError::Transport(other),
        })?;
        transport.finish_init();
        let queue = Queue::new(transport, ring);
        Ok(Self {
            limits,
            tickets: Tickets::new(),
            room: AtomicUsize::new(queue.room()),
            queue: SpinLock::new(queue),
        })
    }

    /// Returns the size in sectors.
    pub const fn nr_sectors(&self) -> u64 {
        self.limits.nr_sectors
    }

    /// Returns the number of descriptors in the queue.
    pub fn queue_size(&self) -> usize {
        self.queue.lock().size()
    }

    /// Returns the most requests that the device ever had at once.
    pub fn most_in_flight(&self) -> usize {
        self.queue.lock().most_in_flight()
    }

    /// Starts a request and returns its ticket. Sleeps while the queue is full.
    ///
    /// # Errors
    ///
    /// [`IoError::OutOfRange`], [`IoError::Unsupported`]; nothing is started then.
    ///
    /// # Safety
    ///
    /// The buffers are memory that `P` knows the address of. Until the ticket is done they stay
    /// valid, and those of a read hold no Rust object and are reached through no reference.
    pub unsafe fn submit(
        &self,
        wait: &impl Wait,
        op: BlockOp,
        sector: u64,
        buffers: &[NonNull<[u8]>],
    ) -> Result<u16, IoError> {
        assert_may_sleep();
        self.limits.check(op, sector, buffers)?;
        // Header and status have a descriptor each, and so has the range of a discard.
        let needed = buffers.len().max(usize::from(op != BlockOp::Flush)) + 2;
        loop {
            let mut queue = self.queue.lock();
            if queue.room() >= needed {
                // SAFETY: the caller's promise.
                let ticket = unsafe { queue.start(&self.tickets, op, sector, buffers) };
                self.publish_room(&queue);
                return Ok(ticket);
            }
            drop(queue);
            // Acquire pairs with `publish_room`, though what counts is looked at again, locked.
            let mut has_room = || self.room.load(Ordering::Acquire) >= needed;
            wait.sleep_until(self.room_channel(), &mut has_room);
        }
    }

    /// Sleeps until a request is done and frees its ticket.
    ///
    /// # Errors
    ///
    /// [`IoError::Device`], [`IoError::Unsupported`]: the device's answer.
    ///
    /// # Panics
    ///
    /// When the ticket was waited for already.
    pub fn wait(&self, wait: &impl Wait, ticket: u16) -> Result<(), IoError> {
        assert_may_sleep();
        if !self.tickets.is_done(ticket) {
            let mut is_done = || self.tickets.is_done(ticket);
            wait.sleep_until(self.tickets.channel(ticket), &mut is_done);
        }
        let outcome = self.tickets.take(ticket);
        let mut queue = self.queue.lock();
        let was_full = queue.room() == 0;
        queue.free_ticket(ticket);
        if was_full {
            self.publish_room(&queue);
            wait.wake_all(self.room_channel());
        }
        outcome
    }

    /// Takes what the device is done with off the queue, and wakes who waits for it or for room. Does
    /// nothing when the interrupt that led here was another device's.
    pub fn complete(&self, wait: &impl Wait) {
        let mut queue = self.queue.lock();
        queue.acknowledge();
        let mut is_any = false;
        while let Some(done) = queue.next_completion() {
            self.tickets.finish(done.ticket, done.outcome);
            wait.wake_all(self.tickets.channel(done.ticket));
            is_any = true;
        }
        if is_any {
            self.publish_room(&queue);
            wait.wake_all(self.room_channel());
        }
    }

    /// Stores the room for sleepers to look at. Only with the lock held, so that the last value
    /// stored is the one that holds.
    fn publish_room(&self, queue: &Queue<P, T>) {
        self.room.store(queue.room(), Ordering::Release);
    }

    fn room_channel(&self) -> WaitChannel {
        WaitChannel::of(&self.room)
    }
}
