// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads /proc/meminfo.

/// Returns a field in bytes, if this kernel has it.
pub fn read(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
