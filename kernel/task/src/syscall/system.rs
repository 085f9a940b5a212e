// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls about the machine as a whole: sysinfo, reboot, syslog.

use abi::reboot::{
    LINUX_REBOOT_CMD_CAD_OFF, LINUX_REBOOT_CMD_CAD_ON, LINUX_REBOOT_CMD_HALT,
    LINUX_REBOOT_CMD_POWER_OFF, LINUX_REBOOT_CMD_RESTART, LINUX_REBOOT_CMD_RESTART2,
    LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
};
use abi::sysinfo::Sysinfo;
use abi::{Errno, number};
use base::PAGE_SIZE;
use hal::{Platform, PowerAction};

use super::{Call, Outcome, Row};

impl<P: Platform> Call<'_, P> {
    pub(super) const SYSTEM: &'static [Row<P>] =
        &[(number::SYSINFO, sysinfo), (number::REBOOT, reboot), (number::SYSLOG, syslog)];
}

fn sysinfo<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let info = call.kernel.system().meminfo();
    let procs = call.kernel.processes.with(|tree| tree.threads.len());
    let sysinfo = Sysinfo {
        uptime: (call.kernel.machine().now_ns() / 1_000_000_000) as i64,
        totalram: info.total,
        freeram: info.free,
        sharedram: info.shmem,
        totalswap: info.swap_total,
        freeswap: info.swap_free,
        procs: procs as u16,
        mem_unit: PAGE_SIZE as u32,
        ..Sysinfo::default()
    };
    call.write(call.arg(0), &sysinfo.to_bytes()).map(|()| 0)
}

fn reboot<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let is_meant = LINUX_REBOOT_MAGIC2.contains(&call.arg_u32(1));
    if call.arg_u32(0) != LINUX_REBOOT_MAGIC1 || !is_meant {
        return Err(Errno::EINVAL);
    }
    match call.arg_u32(2) {
        LINUX_REBOOT_CMD_RESTART | LINUX_REBOOT_CMD_RESTART2 => {
            call.kernel.power(PowerAction::Restart)
        }
        LINUX_REBOOT_CMD_HALT => call.kernel.power(PowerAction::Halt),
        LINUX_REBOOT_CMD_POWER_OFF => call.kernel.power(PowerAction::Off { status: 0 }),
        LINUX_REBOOT_CMD_CAD_ON | LINUX_REBOOT_CMD_CAD_OFF => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// The log goes to the console only: there is nothing to read back.
fn syslog<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    match call.arg_i32(0) {
        0..=10 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
