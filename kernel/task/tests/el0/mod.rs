// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder boots the whole process layer on a simulated machine, with a program whose
//! instructions are Rust: a step per four bytes of text, so that the program counter says where it
//! is, and a system call that is restarted really is made again.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use abi::elf::{EM_AARCH64, ET_EXEC, Ehdr, PF_R, PF_W, PF_X, PT_LOAD, Phdr};
use abi::{Layout, number};
use base::VirtAddr;
use base::percpu::CpuId;
use hal::sim::{Adversary, SimConfig, SimMachine, Stopped};
use hal::{MemFault, PowerAction, Trap, UserRegs, Wait, WaitChannel};
use mm::System;
use task::{Kernel, Scheduler};

/// Where the text is; step n is at `TEXT + 4 * n`.
pub const TEXT: u64 = 0x40_0000;
/// Where the variables are.
pub const DATA: u64 = 0x41_0000;

/// What a step does besides changing registers and memory.
pub enum Flow {
    /// Goes on with the next step.
    Next,
    /// Goes on with another step.
    To(u64),
    /// Makes the system call whose number is in x8.
    Call,
}

/// The processor at EL0, as a step sees it.
pub struct User<'a> {
    machine: &'a SimMachine,
    cpu: CpuId,
    pub regs: &'a mut UserRegs,
}

impl User<'_> {
    /// Sets number and arguments of a system call.
    pub fn call(&mut self, number: usize, args: &[u64]) -> Result<Flow, MemFault> {
        self.regs.x[8] = number as u64;
        self.regs.x[..args.len()].copy_from_slice(args);
        Ok(Flow::Call)
    }

    pub fn load(&self, at: u64) -> Result<u64, MemFault> {
        self.machine.load(self.cpu, VirtAddr::new(at))
    }

    pub fn store(&self, at: u64, value: u64) -> Result<(), MemFault> {
        self.machine.store(self.cpu, VirtAddr::new(at), value)
    }

    /// Checks what a system call returned.
    pub fn returned(&self, expected: u64) {
        assert_eq!(self.regs.x[0] as i64, expected as i64, "before {:#x}", self.regs.pc);
    }
}

/// A program: what each step does.
pub type Program = fn(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault>;

/// Runs one step, or one instruction of the kernel's trampoline.
fn execute(machine: &SimMachine, cpu: CpuId, regs: &mut UserRegs, program: Program) -> Trap {
    let word = match machine.fetch(cpu, VirtAddr::new(regs.pc)) {
        Ok(word) => word,
        Err(fault) => return Trap::Fault(fault),
    };
    let flow = match regs.pc {
        pc if (TEXT..TEXT + 0x1000).contains(&pc) => {
            program((pc - TEXT) / 4, &mut User { machine, cpu, regs })
        }
        // MOV X8, #number and SVC #0.
        _ if word & 0xffe0_001f == 0xd280_0008 => {
            regs.x[8] = u64::from(word >> 5 & 0xffff);
            Ok(Flow::Next)
        }
        _ if word == 0xd400_0001 => Ok(Flow::Call),
        pc => panic!("no instruction at {pc:#x}: {word:#x}"),
    };
    match flow {
        Err(fault) => return Trap::Fault(fault),
        Ok(Flow::To(step)) => regs.pc = TEXT + 4 * step,
        Ok(Flow::Next) => regs.pc += 4,
        Ok(Flow::Call) => {
            regs.pc += 4;
            return Trap::Syscall;
        }
    }
    // An interrupt for no reason is always possible.
    Trap::Interrupt
}

/// Lets the memory manager wait as it does in the kernel: the CPU goes on with another thread.
struct Waiting(&'static Scheduler<SimMachine>);

impl Wait for Waiting {
    fn sleep_until(&self, channel: WaitChannel, ready: &mut dyn FnMut() -> bool) {
        self.0.sleep_until(channel, ready);
    }

    fn wake_all(&self, channel: WaitChannel) {
        self.0.wake_all(channel);
    }

    fn cond_resched(&self) {
        self.0.cond_resched();
    }
}

/// Boots two CPUs, runs `program` as init, and goes on until it exits with status 0.
pub fn run(seed: u64, program: Program) {
    run_on(SimConfig { seed, ..SimConfig::default() }, program);
}

/// As [`run`], on a machine with other memory.
pub fn run_on(config: SimConfig, program: Program) {
    let adversary = Adversary { speculation: 16, late_store: 0, early_io: 0 };
    let config = SimConfig { nr_cpus: 2, adversary, ..config };
    let machine: &'static SimMachine = Box::leak(Box::new(config.build()));
    machine.set_user_code(move |machine, cpu, regs| execute(machine, cpu, regs, program));
    let sched = Scheduler::new(machine);
    machine.set_scheduler(Waiting(sched));
    let second = machine.spawn_on(CpuId::new(1), move || {
        drop(catch_unwind(AssertUnwindSafe(|| sched.run_cpu())));
    });
    let stopped = catch_unwind(AssertUnwindSafe(|| {
        machine.run_on(CpuId::BOOT, || {
            let system = System::new(machine.clone());
            sched.adopt_cpu();
            let kernel = Kernel::new(Arc::clone(&system), sched);
            kernel.mount_files(&archive()).expect("a good archive");
            kernel.start_init(b"/init", &[b"init"], &[]).expect("init starts");
            loop {
                sched.idle_once();
            }
        })
    }));
    second.join().unwrap();
    if let Err(panic) = stopped.unwrap_err().downcast::<Stopped>() {
        std::panic::resume_unwind(panic);
    }
    assert_eq!(machine.stopped(), Some(PowerAction::Off { status: 0 }));
    machine.end_contexts();
}

/// Returns the file of a program whose text is never looked at.
fn elf() -> Vec<u8> {
    let mut ident = [0; 16];
    ident[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let header = Ehdr {
        ident,
        kind: ET_EXEC,
        machine: EM_AARCH64,
        version: 1,
        entry: TEXT,
        phoff: 64,
        phentsize: 56,
        phnum: 2,
        ..Ehdr::default()
    };
    let text = Phdr {
        kind: PT_LOAD,
        flags: PF_R | PF_X,
        vaddr: TEXT,
        filesz: 0x1000,
        memsz: 0x1000,
        align: 0x1000,
        ..Phdr::default()
    };
    let data = Phdr { flags: PF_R | PF_W, vaddr: DATA, filesz: 0, memsz: 0x2000, ..text };
    let mut bytes = vec![0; 0x1000];
    header.put(&mut bytes);
    text.put(&mut bytes[64..]);
    data.put(&mut bytes[64 + 56..]);
    bytes
}

/// Returns an initial ramdisk with `/init` in it.
fn archive() -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in [("init", 0o100_755, elf()), ("TRAILER!!!", 0, Vec::new())] {
        archive.extend(b"070701");
        let name_len = name.len() + 1;
        for field in [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name_len, 0] {
            archive.extend(format!("{field:08X}").into_bytes());
        }
        archive.extend(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// A step that exits with status 0.
pub fn exit(user: &mut User<'_>) -> Result<Flow, MemFault> {
    user.call(number::EXIT_GROUP, &[0])
}
