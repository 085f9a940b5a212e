// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a virtio block device in the hands of a test: it does what the test says, in the
//! order that the test says, and breaks the protocol on request.

#![expect(unsafe_code, reason = "a device reaches its driver's memory by address")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use core::ops::Range;
use core::ptr::NonNull;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use base::PhysAddr;
use drivers::virtio::Platform;

use virtio_drivers::Result;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Feature bits of virtio 1.2, 5.2.3 and 6.
pub mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const READ_ONLY: u64 = 1 << 5;
    pub const FLUSH: u64 = 1 << 9;
    pub const DISCARD: u64 = 1 << 13;
    pub const VERSION_1: u64 = 1 << 32;
    /// What the driver understands.
    pub const ALL: u64 = SIZE_MAX | SEG_MAX | READ_ONLY | FLUSH | DISCARD | VERSION_1;
}

/// Sectors of the medium.
pub const NR_SECTORS: usize = 64;

/// The most sectors of one discard.
pub const MAX_DISCARD_SECTORS: u32 = 16;

/// The host's memory, as if it were the device's.
pub struct HostMemory;

// SAFETY: the device is the test itself, which knows virtual addresses only.
unsafe impl Platform for HostMemory {
    fn phys_of(va: usize) -> PhysAddr {
        PhysAddr::new(va as u64)
    }

    fn map_registers(_: Range<PhysAddr>) -> Option<NonNull<u8>> {
        None
    }
}

/// What a device is like.
#[derive(Clone, Copy)]
pub struct Config {
    pub kind: DeviceType,
    pub features: u64,
    pub queue_size: u32,
    pub seg_max: u32,
    pub size_max: u32,
    pub is_legacy: bool,
    pub refuses_features: bool,
}

impl Config {
    /// A device with all that the driver knows, but read-only.
    pub const GOOD: Self = Self {
        kind: DeviceType::Block,
        features: feature::ALL & !feature::READ_ONLY | 1 << 29,
        queue_size: 1024,
        seg_max: 126,
        size_max: 1 << 20,
        is_legacy: false,
        refuses_features: false,
    };
}

/// A request that the device has fetched and not completed.
pub struct Fetched {
    pub chain: u16,
    pub kind: u32,
    pub sector: u64,
    /// Address, length, whether the device writes there.
    buffers: Vec<(u64, u32, bool)>,
}

/// The device's side.
pub struct Device {
    pub config: Config,
    pub accepted_features: u64,
    pub status: DeviceStatus,
    pub medium: Vec<u8>,
    pub doorbells: usize,
    /// Interrupts that the driver has not acknowledged yet.
    pub interrupts: VecDeque<InterruptStatus>,
    pub fetched: VecDeque<Fetched>,
    queue: Option<Rings>,
}

/// The rings' addresses, and the device's places in them.
#[derive(Clone, Copy)]
struct Rings {
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
    next_available: u16,
    next_used: u16,
}

fn load<T: Copy>(at: u64) -> T {
    // SAFETY: the driver gave the address to its device, which this is.
    unsafe { core::ptr::with_exposed_provenance::<T>(at as usize).read_volatile() }
}

fn store<T>(at: u64, value: T) {
    // SAFETY: as above.
    unsafe { core::ptr::with_exposed_provenance_mut::<T>(at as usize).write_volatile(value) };
}

const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;

impl Device {
    pub fn new(config: Config) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            config,
            accepted_features: 0,
            status: DeviceStatus::empty(),
            medium: vec![0; NR_SECTORS * 512],
            doorbells: 0,
            interrupts: VecDeque::new(),
            fetched: VecDeque::new(),
            queue: None,
        }))
    }

    /// Fetches all requests that the driver has made available.
    pub fn fetch(&mut self) {
        let Some(mut rings) = self.queue else { return };
        let index: u16 = load(rings.available + 2);
        while rings.next_available != index {
            let slot = u64::from(rings.next_available % rings.size);
            let chain: u16 = load(rings.available + 4 + 2 * slot);
            self.fetched.push_back(Self::follow(&rings, chain));
            rings.next_available = rings.next_available.wrapping_add(1);
        }
        self.queue = Some(rings);
    }

    fn follow(rings: &Rings, chain: u16) -> Fetched {
        let mut buffers = Vec::new();
        let mut next = Some(chain);
        while let Some(index) = next {
            let at = rings.descriptors + 16 * u64::from(index);
            let flags: u16 = load(at + 12);
            buffers.push((load(at), load(at + 8), flags & DESCRIPTOR_WRITE != 0));
            next = (flags & DESCRIPTOR_NEXT != 0).then(|| load(at + 14));
        }
        let (header, len, writes) = buffers.remove(0);
        assert_eq!((len, writes), (16, false), "a header");
        let Some((_, 1, true)) = buffers.last() else { panic!("no status byte") };
        Fetched { chain, kind: load(header), sector: load(header + 8), buffers }
    }

    /// Does a fetched request with the given outcome, and tells the driver.
    pub fn finish(&mut self, request: Fetched, status: u8) {
        self.publish(request, status);
        self.raise();
    }

    /// Does a fetched request and tells the driver, without an interrupt.
    pub fn publish(&mut self, request: Fetched, status: u8) {
        let Fetched { chain, kind, sector, mut buffers } = request;
        let (status_at, ..) = buffers.pop().expect("a status byte");
        let mut at = sector as usize * 512;
        if kind == 11 {
            let [(range, 16, false)] = buffers[..] else { panic!("one range to discard") };
            let (first, nr): (u64, u32) = (load(range), load(range + 8));
            assert_eq!((sector, load::<u32>(range + 12)), (0, 0), "nothing but a range");
            let (first, len) = (first as usize * 512, nr as usize * 512);
            self.medium[first..first + len].fill(0xdd);
            buffers.clear();
        }
        for (buffer, len, writes) in buffers {
            assert_eq!(writes, kind == 0, "what a read writes and a write reads");
            for address in (buffer..).take(len as usize) {
                match writes {
                    true => store(address, self.medium[at]),
                    false => self.medium[at] = load(address),
                }
                at += 1;
            }
        }
        store(status_at, status);
        self.push_used(chain.into());
    }

    /// Raises the interrupt: a bit, which is set or not.
    pub fn raise(&mut self) {
        if self.interrupts.is_empty() {
            self.interrupts.push_back(InterruptStatus::QUEUE_INTERRUPT);
        }
    }

    /// Tells the driver that a chain is done with, whether or not there is one.
    pub fn push_used(&mut self, chain: u32) {
        let rings = self.queue.as_mut().expect("a queue");
        let slot = u64::from(rings.next_used % rings.size);
        store(rings.used + 4 + 8 * slot, chain);
        store(rings.used + 8 + 8 * slot, 1_u32);
        rings.next_used = rings.next_used.wrapping_add(1);
        store(rings.used + 2, rings.next_used);
    }

    /// Says whether the driver has to ring the doorbell.
    pub fn want_doorbell(&mut self, wants: bool) {
        let rings = self.queue.expect("a queue");
        store(rings.used, u16::from(!wants));
    }

    /// Completes the oldest request, if there is one.
    pub fn step(&mut self) {
        self.fetch();
        if let Some(request) = self.fetched.pop_front() {
            self.finish(request, 0);
        }
    }
}

/// The driver's side.
pub struct FakeTransport(pub Arc<Mutex<Device>>);

impl FakeTransport {
    fn device(&self) -> MutexGuard<'_, Device> {
        self.0.lock().expect("no test thread panicked")
    }
}

impl Transport for FakeTransport {
    fn device_type(&self) -> DeviceType {
        self.device().config.kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.device().config.features
    }

    fn write_driver_features(&mut self, features: u64) {
        self.device().accepted_features = features;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        assert_eq!(queue, 0);
        self.device().config.queue_size
    }

    fn notify(&mut self, _: u16) {
        self.device().doorbells += 1;
    }

    fn get_status(&self) -> DeviceStatus {
        self.device().status
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut device = self.device();
        device.status = status;
        if device.config.refuses_features {
            device.status.remove(DeviceStatus::FEATURES_OK);
        }
        if status.is_empty() {
            device.queue = None;
            device.fetched.clear();
        }
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        self.device().config.is_legacy
    }

    fn queue_set(&mut self, _: u16, size: u32, descriptors: u64, available: u64, used: u64) {
        let size = size as u16;
        let rings = Rings { size, descriptors, available, used, next_available: 0, next_used: 0 };
        self.device().queue = Some(rings);
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, _: u16) -> bool {
        self.device().queue.is_some()
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.device().interrupts.pop_front().unwrap_or(InterruptStatus::empty())
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let device = self.device();
        let mut space = (NR_SECTORS as u64).to_le_bytes().to_vec();
        space.extend(device.config.size_max.to_le_bytes());
        space.extend(device.config.seg_max.to_le_bytes());
        space.resize(36, 0);
        space.extend(MAX_DISCARD_SECTORS.to_le_bytes());
        Ok(T::read_from_bytes(&space[offset..offset + size_of::<T>()]).expect("in the space"))
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        unreachable!("the driver writes nothing there")
    }
}
