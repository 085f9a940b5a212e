// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk against a device in the test's hands: also what a real one would not do.

#![expect(unsafe_code, reason = "buffers are handed to the device")]

mod device;

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

use device::{Config, Device, FakeTransport, HostMemory, MAX_DISCARD_SECTORS, NR_SECTORS, feature};
use drivers::virtio::{DeviceType, Disk, StartError};
use hal::{BlockOp, IoError, Wait, WaitChannel};
use virtio_drivers::transport::{DeviceStatus, InterruptStatus};

/// How many requests may be unwaited for.
const NR_TICKETS: usize = 4096;

/// A disk, its device, and a thread that lets the device work while it sleeps.
struct Rig {
    disk: Disk<HostMemory, FakeTransport>,
    device: Arc<Mutex<Device>>,
    nr_sleeps: Cell<usize>,
    /// Channels that were woken since the thread slept.
    woken: RefCell<Vec<WaitChannel>>,
    /// A ticket that another thread waits for while this one sleeps.
    other_ticket: Cell<Option<u16>>,
}

impl Rig {
    fn start(config: Config) -> Result<Self, StartError> {
        let device = Device::new(config);
        let disk = Disk::start(FakeTransport(device.clone()))?;
        Ok(Self {
            disk,
            device,
            nr_sleeps: Cell::new(0),
            woken: RefCell::default(),
            other_ticket: Cell::new(None),
        })
    }

    fn new() -> Self {
        Self::start(Config::GOOD).expect("a good device")
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().expect("one thread")
    }

    fn submit(&self, op: BlockOp, sector: u64, buffers: &mut [Vec<u8>]) -> Result<u16, IoError> {
        let pieces: Vec<_> = buffers.iter_mut().map(|b| NonNull::from(&mut b[..])).collect();
        // SAFETY: tests look at buffers only once their requests are done.
        unsafe { self.disk.submit(self, op, sector, &pieces) }
    }

    fn wait(&self, ticket: u16) -> Result<(), IoError> {
        self.disk.wait(self, ticket)
    }
}

impl Wait for Rig {
    /// Looks again only when it was woken, as a thread does.
    fn sleep_until(&self, channel: WaitChannel, ready: &mut dyn FnMut() -> bool) {
        self.nr_sleeps.set(self.nr_sleeps.get() + 1);
        self.woken.borrow_mut().clear();
        let mut is_ready = ready();
        for _ in 0..1000 {
            if is_ready {
                return;
            }
            self.device().step();
            self.disk.complete(self);
            if let Some(ticket) = self.other_ticket.take() {
                assert_eq!(self.wait(ticket), Ok(()));
            }
            is_ready = self.woken.take().contains(&channel) && ready();
        }
        panic!("it would sleep for ever");
    }

    fn wake_all(&self, channel: WaitChannel) {
        self.woken.borrow_mut().push(channel);
    }

    fn cond_resched(&self) {}
}

fn sector_of(byte: u8) -> Vec<Vec<u8>> {
    vec![vec![byte; 512]]
}

#[test]
fn requests_are_completed_in_the_order_of_the_device() {
    let rig = Rig::new();
    let mut buffers: Vec<_> = (0..5).map(|n| sector_of(n + 1)).collect();
    let tickets: Vec<_> = (0..5)
        .zip(&mut buffers)
        .map(|(sector, buffer)| rig.submit(BlockOp::Write, sector, buffer).unwrap())
        .collect();
    rig.device().fetch();
    for index in [3, 1, 2, 0, 0] {
        let request = rig.device().fetched.remove(index).unwrap();
        rig.device().finish(request, 0);
    }
    rig.disk.complete(&rig);
    tickets.into_iter().for_each(|ticket| assert_eq!(rig.wait(ticket), Ok(())));
    assert_eq!(rig.nr_sleeps.get(), 0, "all were done");
    let medium = rig.device().medium.clone();
    assert!((0..5).all(|n| medium[n * 512..][..512] == [n as u8 + 1; 512]));
}

#[test]
fn read_fills_its_segments_in_order() {
    let rig = Rig::new();
    (0..4 * 512).for_each(|at| rig.device().medium[512 + at] = (at / 512) as u8 + 1);
    let mut buffers = vec![vec![0; 1024], vec![0; 512], vec![0; 512]];
    let ticket = rig.submit(BlockOp::Read, 1, &mut buffers).unwrap();
    assert_eq!(rig.wait(ticket), Ok(()));
    assert_eq!(buffers[0], [[1; 512], [2; 512]].concat());
    assert_eq!((&buffers[1][..], &buffers[2][..]), (&[3; 512][..], &[4; 512][..]));
}

#[test]
fn outcome_is_the_device_s_status() {
    let rig = Rig::new();
    // 0xff is what the driver put there: a device that wrote nothing.
    let outcomes = [
        (0, Ok(())),
        (1, Err(IoError::Device)),
        (2, Err(IoError::Unsupported)),
        (3, Err(IoError::Device)),
        (0xff, Err(IoError::Device)),
    ];
    for (status, expected) in outcomes {
        let mut buffer = sector_of(0);
        let ticket = rig.submit(BlockOp::Read, 0, &mut buffer).unwrap();
        rig.device().fetch();
        let request = rig.device().fetched.pop_front().unwrap();
        rig.device().finish(request, status);
        rig.disk.complete(&rig);
        assert_eq!(rig.wait(ticket), expected, "status {status}");
    }
}

#[test]
fn flush_has_no_data_and_no_sector() {
    let rig = Rig::new();
    let ticket = rig.submit(BlockOp::Flush, 5, &mut []).unwrap();
    rig.device().fetch();
    let request = rig.device().fetched.pop_front().unwrap();
    assert_eq!((request.kind, request.sector), (4, 0));
    rig.device().finish(request, 0);
    rig.disk.complete(&rig);
    assert_eq!(rig.wait(ticket), Ok(()));
}

#[test]
fn discard_gives_up_a_range_and_nothing_else() {
    let rig = Rig::new();
    let discard = |sector, nr_sectors| {
        let op = BlockOp::Discard { nr_sectors };
        rig.submit(op, sector, &mut []).and_then(|ticket| rig.wait(ticket))
    };
    assert_eq!(discard(3, 2), Ok(()));
    let changed = |sector: usize| rig.device().medium[sector * 512..][..512] == [0xdd; 512];
    assert_eq!([2, 3, 4, 5].map(changed), [false, true, true, false]);
    let end = NR_SECTORS as u64;
    assert_eq!(discard(end - 2, 2), Ok(()));
    assert_eq!(discard(end - 2, 3), Err(IoError::OutOfRange));
    assert_eq!(discard(0, MAX_DISCARD_SECTORS), Ok(()));
    assert_eq!(discard(0, MAX_DISCARD_SECTORS + 1), Err(IoError::Unsupported));
    assert_eq!(discard(0, 0), Err(IoError::Unsupported));
}

#[test]
fn full_queue_sleeps_until_the_device_makes_room() {
    let rig = Rig::new();
    assert_eq!(rig.disk.queue_size(), 512);
    let mut buffers: Vec<_> = (0..600).map(|_| sector_of(1)).collect();
    let mut tickets = Vec::new();
    for (number, buffer) in buffers.iter_mut().enumerate() {
        assert_eq!(rig.nr_sleeps.get() > 0, number > 170, "request {number}");
        tickets.push(rig.submit(BlockOp::Write, 0, buffer).unwrap());
    }
    assert_eq!(rig.disk.most_in_flight(), 170);
    // Nobody has waited for any of them: tickets outlive the queue's slots.
    tickets.into_iter().rev().for_each(|ticket| assert_eq!(rig.wait(ticket), Ok(())));
}

#[test]
fn submitter_without_a_ticket_sleeps_until_another_is_waited_for() {
    let rig = Rig::new();
    let flush = || rig.submit(BlockOp::Flush, 0, &mut []).unwrap();
    let tickets: Vec<_> = (0..NR_TICKETS).map(|_| flush()).collect();
    (0..512).for_each(|_| rig.device().step());
    rig.disk.complete(&rig);
    rig.nr_sleeps.set(0);
    rig.other_ticket.set(Some(tickets[7]));
    assert_eq!(flush(), tickets[7]);
    assert_eq!(rig.nr_sleeps.get(), 1);
}

#[test]
fn smaller_queue_is_used_whole() {
    let rig = Rig::start(Config { queue_size: 256, ..Config::GOOD }).unwrap();
    let mut buffers: Vec<_> = (0..86).map(|_| sector_of(1)).collect();
    for (number, buffer) in buffers.iter_mut().enumerate() {
        rig.submit(BlockOp::Write, 0, buffer).unwrap();
        assert_eq!(rig.nr_sleeps.get(), usize::from(number == 85));
    }
}

#[test]
fn doorbell_is_rung_only_for_a_device_that_wants_it() {
    let rig = Rig::new();
    let mut buffers = [sector_of(1), sector_of(2), sector_of(3)];
    let mut rings = buffers.iter_mut().zip([true, false, true]).map(|(buffer, wants)| {
        rig.device().want_doorbell(wants);
        rig.submit(BlockOp::Write, 0, buffer).unwrap();
        rig.device().doorbells
    });
    assert_eq!(rings.by_ref().collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn interrupt_is_down_before_the_queue_is_looked_at() {
    let rig = Rig::new();
    let mut buffer = sector_of(1);
    let ticket = rig.submit(BlockOp::Write, 0, &mut buffer).unwrap();
    rig.device().step();
    // A second one, raised while the first is taken down.
    rig.device().interrupts.push_back(InterruptStatus::QUEUE_INTERRUPT);
    rig.disk.complete(&rig);
    assert!(rig.device().interrupts.is_empty());
    assert_eq!(rig.wait(ticket), Ok(()));
    rig.disk.complete(&rig);
}

/// What a device does wrong, and a request that it has at that time.
fn is_given_up(misbehave: impl FnOnce(&mut Device)) {
    let rig = Rig::new();
    let (mut one, mut other) = (sector_of(1), sector_of(2));
    let tickets =
        [&mut one, &mut other].map(|buffer| rig.submit(BlockOp::Write, 0, buffer).unwrap());
    misbehave(&mut rig.device());
    rig.disk.complete(&rig);
    assert!(rig.device().status.is_empty(), "it was reset");
    for ticket in tickets {
        assert_eq!(rig.wait(ticket), Err(IoError::Device));
    }
    let mut late = sector_of(3);
    let ticket = rig.submit(BlockOp::Write, 0, &mut late).unwrap();
    assert_eq!(rig.wait(ticket), Err(IoError::Device), "a request after that");
    assert_eq!(rig.nr_sleeps.get(), 0);
}

#[test]
fn device_that_completes_what_it_never_had_is_given_up() {
    for chain in [511, 512, 0xffff] {
        is_given_up(|device| device.push_used(chain));
    }
}

#[test]
fn device_that_completes_a_part_of_a_chain_is_given_up() {
    is_given_up(|device| {
        device.fetch();
        let chain = device.fetched[0].chain;
        device.push_used(u32::from(chain) + 1);
    });
}

#[test]
fn device_that_asks_for_a_reset_is_given_up() {
    is_given_up(|device| {
        device.status.insert(DeviceStatus::DEVICE_NEEDS_RESET);
        device.interrupts.push_back(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT);
    });
}

#[test]
fn submitter_that_sleeps_for_room_on_a_broken_device_goes_on() {
    let rig = Rig::new();
    let mut buffers: Vec<_> = (0..171).map(|_| sector_of(1)).collect();
    let (last, first) = buffers.split_last_mut().unwrap();
    let tickets: Vec<_> =
        first.iter_mut().map(|b| rig.submit(BlockOp::Write, 0, b).unwrap()).collect();
    rig.device().push_used(0xffff);
    rig.device().fetched.clear();
    let late = rig.submit(BlockOp::Write, 0, last).unwrap();
    for ticket in tickets.into_iter().chain([late]) {
        assert_eq!(rig.wait(ticket), Err(IoError::Device));
    }
}

#[test]
fn requests_beyond_the_device_s_limits_are_refused() {
    let small = Config { seg_max: 2, size_max: 1024, ..Config::GOOD };
    let rig = Rig::start(small).unwrap();
    let read = |sector, lens: &[usize]| {
        let mut buffers: Vec<_> = lens.iter().map(|len| vec![0; *len]).collect();
        rig.submit(BlockOp::Read, sector, &mut buffers).and_then(|ticket| rig.wait(ticket))
    };
    assert_eq!(read(0, &[1024, 512]), Ok(()));
    assert_eq!(read(0, &[512, 512, 512]), Err(IoError::Unsupported));
    assert_eq!(read(0, &[1536]), Err(IoError::Unsupported));
    let end = NR_SECTORS as u64;
    assert_eq!(read(end - 1, &[512]), Ok(()));
    assert_eq!(read(end - 1, &[1024]), Err(IoError::OutOfRange));
    assert_eq!(read(u64::MAX, &[512]), Err(IoError::OutOfRange));
}

#[test]
fn features_that_the_device_lacks_are_refused() {
    let without = |lacking: u64| Config::GOOD.features & !lacking;
    let plain = Config { features: without(feature::FLUSH), ..Config::GOOD };
    let rig = Rig::start(plain).unwrap();
    assert_eq!(rig.submit(BlockOp::Flush, 0, &mut []), Err(IoError::Unsupported));
    let plain = Config { features: without(feature::DISCARD), ..Config::GOOD };
    let rig = Rig::start(plain).unwrap();
    let discard = BlockOp::Discard { nr_sectors: 1 };
    assert_eq!(rig.submit(discard, 0, &mut []), Err(IoError::Unsupported));
    let read_only = feature::READ_ONLY | Config::GOOD.features;
    let rig = Rig::start(Config { features: read_only, ..Config::GOOD }).unwrap();
    assert_eq!(rig.submit(BlockOp::Write, 0, &mut sector_of(1)), Err(IoError::Unsupported));
    // Limits that were not agreed on do not hold.
    let features = without(feature::SEG_MAX | feature::SIZE_MAX);
    let rig = Rig::start(Config { features, seg_max: 0, size_max: 0, ..Config::GOOD }).unwrap();
    assert!(rig.submit(BlockOp::Write, 0, &mut sector_of(1)).is_ok());
}

#[test]
fn only_understood_features_are_accepted() {
    let rig = Rig::start(Config { features: u64::MAX, ..Config::GOOD }).unwrap();
    assert_eq!(rig.device().accepted_features, feature::ALL);
    assert!(rig.device().status.contains(DeviceStatus::DRIVER_OK));
}

#[test]
fn devices_that_cannot_be_used_are_refused() {
    let refusal = |config| Rig::start(config).err();
    let good = Config::GOOD;
    let network = Config { kind: DeviceType::Network, ..good };
    assert_eq!(refusal(network), Some(StartError::NotADisk(DeviceType::Network)));
    assert_eq!(refusal(Config { is_legacy: true, ..good }), Some(StartError::Legacy));
    let old = Config { features: good.features & !feature::VERSION_1, ..good };
    assert_eq!(refusal(old), Some(StartError::Legacy));
    let picky = Config { refuses_features: true, ..good };
    assert_eq!(refusal(picky), Some(StartError::FeaturesRefused));
    for queue_size in [0, 128, 255] {
        assert_eq!(refusal(Config { queue_size, ..good }), Some(StartError::QueueTooSmall));
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_ticket_that_is_waited_for_twice_panics() {
    let rig = Rig::new();
    let mut buffer = sector_of(1);
    let ticket = rig.submit(BlockOp::Write, 0, &mut buffer).unwrap();
    assert_eq!(rig.wait(ticket), Ok(()));
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.wait(ticket)));
    assert!(again.is_err());
}
