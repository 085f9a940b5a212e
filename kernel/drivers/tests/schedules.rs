// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk with two threads that use it, a device and a CPU that takes its interrupts, under every
//! schedule that the seeds pick: no wake-up, no doorbell and no interrupt is lost, and every request
//! moves its own data.

#![expect(unsafe_code, reason = "buffers are handed to the device")]

mod device;

use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use base::percpu::CpuId;
use base::sync::atomic::{AtomicUsize, Ordering};
use base::sync::{relax, schedule_point};
use device::{Config, Device, FakeTransport, HostMemory};
use drivers::virtio::Disk;
use hal::BlockOp;
use hal::sim::{SimConfig, SimMachine, explore};

/// Schedules are only explored under the model checker; else a few runs have to do.
const NR_SEEDS: u64 = if cfg!(shuttle) { 2000 } else { 20 };

const NR_THREADS: usize = 2;
const NR_REQUESTS: usize = 5;
/// 34 descriptors a request: eight of them do not fit into a queue of 256.
const NR_SEGMENTS: usize = 32;

type TestDisk = Disk<HostMemory, FakeTransport>;

/// What all threads share. No schedule point is passed while the device's mutex is held.
struct World {
    machine: SimMachine,
    disk: TestDisk,
    device: Arc<Mutex<Device>>,
    nr_running: AtomicUsize,
}

impl World {
    fn device<R>(&self, with: impl FnOnce(&mut Device) -> R) -> R {
        let outcome = with(&mut self.device.lock().expect("no thread panicked"));
        schedule_point();
        outcome
    }

    fn is_over(&self) -> bool {
        self.nr_running.load(Ordering::Acquire) == 0
    }

    /// Starts reads of one sector each into all segments' places, then waits for them.
    fn use_disk(&self, thread: usize) {
        let mut buffers = vec![[0_u8; 512]; NR_REQUESTS * NR_SEGMENTS];
        let tickets: Vec<u16> = buffers
            .chunks_mut(NR_SEGMENTS)
            .enumerate()
            .map(|(request, segments)| {
                let sector = (thread * NR_REQUESTS + request) as u64;
                let pieces: Vec<NonNull<[u8]>> =
                    segments.iter_mut().map(|segment| NonNull::from(&mut segment[..])).collect();
                // SAFETY: the buffers are looked at once all tickets are done.
                unsafe { self.disk.submit(&self.machine, BlockOp::Read, sector, &pieces) }
                    .expect("a good request")
            })
            .collect();
        for ticket in tickets {
            self.disk.wait(&self.machine, ticket).expect("a good device");
        }
        for (request, segments) in buffers.chunks(NR_SEGMENTS).enumerate() {
            for (index, segment) in segments.iter().enumerate() {
                let sector = thread * NR_REQUESTS + request + index;
                assert_eq!(*segment, [sector as u8 + 1; 512], "request {request}, segment {index}");
            }
        }
        self.nr_running.fetch_sub(1, Ordering::Release);
    }

    /// Works when the doorbell rings, and wants no doorbell while it works.
    fn be_the_device(&self, seed: u64) {
        let mut nr_heard = 0;
        let mut dice = seed;
        while !self.is_over() {
            let nr_rung = self.device(|device| device.doorbells);
            if nr_rung == nr_heard {
                relax();
                continue;
            }
            nr_heard = nr_rung;
            self.device(|device| device.want_doorbell(false));
            loop {
                while self.do_one(&mut dice) {}
                self.device(|device| device.want_doorbell(true));
                // What came between the last look and the wish rang no bell.
                if !self.do_one(&mut dice) {
                    break;
                }
                self.device(|device| device.want_doorbell(false));
            }
        }
    }

    /// Completes one of the requests, any; then raises the interrupt. Returns whether there was one.
    fn do_one(&self, dice: &mut u64) -> bool {
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let choice = (*dice >> 33) as usize;
        self.device(Device::fetch);
        let is_done = self.device(|device| {
            let index = choice % device.fetched.len().max(1);
            let request = device.fetched.remove(index);
            request.map(|request| device.publish(request, 0)).is_some()
        });
        if is_done {
            self.device(Device::raise);
        }
        is_done
    }

    /// Takes the device's interrupts.
    fn take_interrupts(&self) {
        while !self.is_over() {
            match self.device(|device| device.interrupts.is_empty()) {
                true => relax(),
                false => self.disk.complete(&self.machine),
            }
        }
    }
}

fn world(seed: u64) -> Arc<World> {
    let config = Config { queue_size: 256, ..Config::GOOD };
    let device = Device::new(config);
    for (at, byte) in device.lock().unwrap().medium.iter_mut().enumerate() {
        *byte = (at / 512) as u8 + 1;
    }
    let disk = Disk::start(FakeTransport(device.clone())).expect("a good device");
    Arc::new(World {
        machine: SimConfig { seed, nr_cpus: 4, ..SimConfig::default() }.build(),
        disk,
        device,
        nr_running: AtomicUsize::new(NR_THREADS),
    })
}

#[test]
fn requests_of_two_threads_all_get_done() {
    explore(0..NR_SEEDS, |seed| {
        let world = world(seed);
        let spawn = |cpu: usize, job: Box<dyn FnOnce(&World) + Send>| {
            let its = Arc::clone(&world);
            world.machine.spawn_on(CpuId::new(cpu), move || job(&its))
        };
        let threads = [
            spawn(0, Box::new(|world| world.use_disk(0))),
            spawn(1, Box::new(|world| world.use_disk(1))),
            spawn(2, Box::new(move |world| world.be_the_device(seed))),
            spawn(3, Box::new(World::take_interrupts)),
        ];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(world.disk.most_in_flight() <= 7, "34 descriptors a request");
    });
}
