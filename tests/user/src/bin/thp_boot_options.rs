// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests the boot options of large folios. It runs on a kernel booted with
//! `transparent_hugepage=always thp_anon=16K,64K:always;128K-512K:madvise;1M:inherit`.

use std::process::ExitCode;

use user_tests::thp::{SIZES_KIB, Setting};

fn main() -> ExitCode {
    let options = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let is_linux_without_them = !options.trim().is_empty() && !options.contains("thp_anon=16K,64K");
    let Ok(enabled) = Setting::open("enabled") else { return ExitCode::from(user_tests::SKIP) };
    if is_linux_without_them {
        return ExitCode::from(user_tests::SKIP);
    }
    assert_eq!(enabled.chosen(), "always");
    //  A size that thp_anon does not name is never, 2 MiB as well.
    let expected =
        ["always", "never", "always", "madvise", "madvise", "madvise", "inherit", "never"];
    for (size, expected) in SIZES_KIB.into_iter().zip(expected) {
        let setting = Setting::of_size(size).unwrap_or_else(|_| panic!("{size} kB"));
        assert_eq!(setting.chosen(), expected, "{size} kB");
    }
    ExitCode::SUCCESS
}
