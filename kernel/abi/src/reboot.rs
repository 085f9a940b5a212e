// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the arguments of reboot (include/uapi/linux/reboot.h).

/// First argument.
pub const LINUX_REBOOT_MAGIC1: u32 = 0xfee1_dead;
/// Second argument: one of these.
pub const LINUX_REBOOT_MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];

/// Restarts.
pub const LINUX_REBOOT_CMD_RESTART: u32 = 0x0123_4567;
/// Stops.
pub const LINUX_REBOOT_CMD_HALT: u32 = 0xcdef_0123;
/// Ctrl-Alt-Del restarts.
pub const LINUX_REBOOT_CMD_CAD_ON: u32 = 0x89ab_cdef;
/// Ctrl-Alt-Del sends SIGINT to init.
pub const LINUX_REBOOT_CMD_CAD_OFF: u32 = 0;
/// Switches the power off.
pub const LINUX_REBOOT_CMD_POWER_OFF: u32 = 0x4321_fedc;
/// Restarts with a word for the firmware.
pub const LINUX_REBOOT_CMD_RESTART2: u32 = 0xa1b2_c3d4;
