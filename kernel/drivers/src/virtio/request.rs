// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the requests that the device has: their headers, status bytes and buffers.

#![expect(unsafe_code, reason = "memory that a device writes to is reached by pointer")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::ptr::NonNull;

use hal::{BlockOp, IoError};

use super::buffer_pool::{BufferPool, List};
use super::limits::MAX_SEGMENTS;

/// What the device reads in front of a request (virtio 1.2, 5.2.6): little-endian.
#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

/// What the device reads behind the header of a discard.
#[derive(Clone, Copy)]
#[repr(C)]
struct Discard {
    sector: u64,
    nr_sectors: u32,
    flags: u32,
}

const KIND_READ: u32 = 0;
const KIND_WRITE: u32 = 1;
const KIND_FLUSH: u32 = 4;
const KIND_DISCARD: u32 = 11;

/// Values of the byte that the device writes behind it.
const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// No device writes this.
const STATUS_NONE: u8 = 0xff;

/// What a request needs in memory of the kernel's own. A cache line each: the device writes to one
/// while the CPU fills in the next.
#[repr(C, align(64))]
struct Record {
    header: Header,
    discard: Discard,
    status: u8,
}

const _: () = assert!(size_of::<Header>() == 16 && size_of::<Discard>() == 16);
const _: () = assert!(size_of::<Record>() == 64);

impl Record {
    fn new(op: BlockOp, sector: u64) -> Self {
        // Only reads and writes have their sector in the header (virtio 1.2, 5.2.6.1).
        let (kind, in_header, nr_discarded) = match op {
            BlockOp::Read => (KIND_READ, sector, 0),
            BlockOp::Write => (KIND_WRITE, sector, 0),
            BlockOp::Flush => (KIND_FLUSH, 0, 0),
            BlockOp::Discard { nr_sectors } => (KIND_DISCARD, 0, nr_sectors),
        };
        let (sector, nr_sectors) = (sector.to_le(), nr_discarded.to_le());
        Self {
            header: Header { kind: kind.to_le(), reserved: 0, sector: in_header.to_le() },
            discard: Discard { sector, nr_sectors, flags: 0 },
            status: STATUS_NONE,
        }
    }
}

/// Descriptors in a chain's half: the header or the status, and the data.
const HALF: usize = MAX_SEGMENTS + 1;

/// A request that the device has.
struct Request {
    ticket: u16,
    op: BlockOp,
    data: List,
}

/// All requests that a disk has.
pub struct Requests {
    slots: Box<[Option<Request>]>,
    /// One for each slot. Never freed, and only accessed by pointer: the device has the address.
    records: NonNull<Record>,
    free: Vec<u16>,
    buffers: BufferPool,
    /// Slot by chain number.
    by_chain: Box<[u16]>,
}

// SAFETY: the pointers are to memory that lives for ever, and `Requests` is behind a lock.
unsafe impl Send for Requests {}

/// A chain that the table has no request for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownChain;

const NO_SLOT: u16 = u16::MAX;

impl Requests {
    /// Builds slots for a queue of so many descriptors. No request takes fewer than two, so slots
    /// never run out first.
    pub fn new(nr_descriptors: usize) -> Self {
        let nr_slots = nr_descriptors / 2;
        let record = |_| Record::new(BlockOp::Flush, 0);
        let records: Box<[Record]> = (0..nr_slots).map(record).collect();
        Self {
            slots: (0..nr_slots).map(|_| None).collect(),
            records: NonNull::from(Box::leak(records)).cast(),
            free: (0..nr_slots as u16).rev().collect(),
            buffers: BufferPool::new(nr_descriptors),
            by_chain: alloc::vec![NO_SLOT; nr_descriptors].into(),
        }
    }

    /// Returns how many requests the device has.
    pub fn nr_in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts a request into a free slot.
    ///
    /// # Panics
    ///
    /// When there is none: there are as many as the queue has room for.
    pub fn insert(&mut self, ticket: u16, op: BlockOp, sector: u64, data: &[NonNull<[u8]>]) -> u16 {
        let slot = self.free.pop().expect("a slot for every chain that fits into the queue");
        // SAFETY: valid for writes, and the device has no request in this slot.
        unsafe { self.record(slot).write(Record::new(op, sector)) };
        let data = self.buffers.insert(data);
        self.slots[usize::from(slot)] = Some(Request { ticket, op, data });
        slot
    }

    /// Records by which chain the device knows the request in a slot.
    pub fn name(&mut self, slot: u16, chain: u16) {
        self.by_chain[usize::from(chain)] = slot;
    }

    /// Returns the slot of a chain that the device says it is done with.
    pub fn slot_of(&self, chain: u16) -> Result<u16, UnknownChain> {
        let slot = *self.by_chain.get(usize::from(chain)).ok_or(UnknownChain)?;
        if slot == NO_SLOT { Err(UnknownChain) } else { Ok(slot) }
    }

    /// Calls `with` with the two halves of a request's chain: what the device reads, what it writes.
    ///
    /// The slices name memory and are not read or written through: the queue takes their addresses
    /// and lengths only (`VirtQueue::add` and `pop_used`, virtio-drivers 0.13). That is what lets
    /// them stand for page frames, which user programs and the device change meanwhile.
    pub fn with_chain<R>(
        &self,
        slot: u16,
        with: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
    ) -> R {
        let request = self.slots[usize::from(slot)].as_ref().expect("a request in the slot");
        // Most requests have one buffer, and each slice that is made empty costs two instructions.
        if self.buffers.has_several(request.data) {
            self.with_halves::<HALF, R>(slot, request, with)
        } else {
            self.with_halves::<2, R>(slot, request, with)
        }
    }

    /// Does what [`Requests::with_chain`] does for a request that takes `N` descriptors in either half at
    /// most.
    #[inline]
    fn with_halves<const N: usize, R>(
        &self,
        slot: u16,
        request: &Request,
        with: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
    ) -> R {
        let header = NonNull::slice_from_raw_parts(self.record(slot).cast(), size_of::<Header>());
        let mut to_device: [&[u8]; N] = [&[]; N];
        let mut from_device: [&mut [u8]; N] = core::array::from_fn(|_| Default::default());
        let (mut nr_to, mut nr_from) = (1, 0);
        // SAFETY: the record's first 16 bytes, which nobody writes to while the request is there.
        to_device[0] = unsafe { header.as_ref() };
        if let BlockOp::Discard { .. } = request.op {
            let range = self.field(slot, offset_of!(Record, discard));
            let range = NonNull::slice_from_raw_parts(range, size_of::<Discard>());
            // SAFETY: as the header.
            to_device[1] = unsafe { range.as_ref() };
            nr_to = 2;
        }
        for mut buffer in self.buffers.iter(request.data) {
            if request.op == BlockOp::Read {
                // SAFETY: valid memory by the promise made to `Disk::submit`; see above.
                from_device[nr_from] = unsafe { buffer.as_mut() };
                nr_from += 1;
            } else {
                // SAFETY: as above.
                to_device[nr_to] = unsafe { buffer.as_ref() };
                nr_to += 1;
            }
        }
        // SAFETY: the record's status byte: the device has written it, or does not know it yet.
        from_device[nr_from] = core::slice::from_mut(unsafe { self.status_of(slot).as_mut() });
        with(&to_device[..nr_to], &mut from_device[..=nr_from])
    }

    /// Takes out a request that the device is done with: its ticket and its outcome.
    pub fn remove(&mut self, slot: u16, chain: u16) -> (u16, Result<(), IoError>) {
        // SAFETY: valid for reads; the device is done with it.
        let status = unsafe { self.status_of(slot).read_volatile() };
        let outcome = match status {
            STATUS_OK => Ok(()),
            STATUS_UNSUPPORTED => Err(IoError::Unsupported),
            _ => Err(IoError::Device),
        };
        self.by_chain[usize::from(chain)] = NO_SLOT;
        (self.free_slot(slot).expect("a request in the slot"), outcome)
    }

    /// Takes out any request, of a device that was reset. Returns its ticket.
    pub fn remove_any(&mut self) -> Option<u16> {
        let slot = self.slots.iter().position(Option::is_some)?;
        self.free_slot(slot as u16)
    }

    fn free_slot(&mut self, slot: u16) -> Option<u16> {
        let request = self.slots[usize::from(slot)].take()?;
        self.buffers.remove(request.data);
        self.free.push(slot);
        Some(request.ticket)
    }

    fn record(&self, slot: u16) -> NonNull<Record> {
        assert!(usize::from(slot) < self.slots.len(), "slot {slot}");
        // SAFETY: there is a record for each slot.
        unsafe { self.records.add(usize::from(slot)) }
    }

    fn status_of(&self, slot: u16) -> NonNull<u8> {
        self.field(slot, offset_of!(Record, status))
    }

    fn field(&self, slot: u16, offset: usize) -> NonNull<u8> {
        assert!(offset < size_of::<Record>(), "no field at {offset}");
        // SAFETY: in bounds of the record.
        unsafe { self.record(slot).cast().add(offset) }
    }
}
