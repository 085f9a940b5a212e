// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests sysfs.

use std::format;

use abi::Errno;
use abi::open::*;
use base::Order;
use mm::{Defrag, Enabled, SizeEnabled, ThpStat};

use super::rig::{Rig, write};

#[test]
fn thp_settings_in_sysfs_are_those_of_the_memory_manager() {
    Rig::run(|rig| {
        let dir = "/sys/kernel/mm/transparent_hugepage";
        let path = |name: &str| format!("{dir}/{name}");
        let set = |name: &str, text: &str| {
            write(&rig.open(&path(name), O_WRONLY | O_TRUNC).unwrap(), text.as_bytes())
        };
        let (system, one_block) = (rig.vfs.env().system(), Order::BLOCK);
        let settings = system.thp().settings();
        assert_eq!(rig.text(&path("enabled")), "always [madvise] never\n");
        assert_eq!(rig.text(&path("defrag")), "always defer defer+madvise [madvise] never\n");
        assert_eq!(rig.text(&path("use_zero_page")), "1\n");
        assert_eq!(rig.text(&path("hpage_pmd_size")), "2097152\n");
        for word in ["always", "madvise", "never"] {
            assert_eq!(set("enabled", word), Ok(word.len()));
            assert_eq!(format!("{:?}", settings.enabled()).to_lowercase(), word);
        }
        assert_eq!(set("enabled", "maybe"), Err(Errno::EINVAL));
        assert_eq!(settings.enabled(), Enabled::Never);
        assert_eq!(set("defrag", "defer+madvise\n"), Ok(14));
        assert_eq!(settings.defrag(), Defrag::DeferOrMadvise);
        assert_eq!(set("use_zero_page", "0"), Ok(1));
        assert!(!settings.use_zero_page());
        assert_eq!(rig.text(&path("hugepages-64kB/enabled")), "always inherit madvise [never]\n");
        assert_eq!(set("hugepages-64kB/enabled", "always"), Ok(6));
        assert_eq!(settings.sizes().get(Order::CONT), SizeEnabled::Always);
        assert_eq!(settings.sizes().get(one_block), SizeEnabled::Inherit);
        system.count_thp(ThpStat::Swpout, one_block, 3);
        assert_eq!(rig.text(&path("hugepages-2048kB/stats/swpout")), "3\n");
        assert_eq!(rig.text(&path("hugepages-1024kB/stats/swpout")), "0\n");
        // Shared memory has single pages: only what leaves it so is taken.
        for word in ["always", "within_size", "advise", "force"] {
            assert_eq!(set("shmem_enabled", word), Err(Errno::EINVAL), "{word}");
        }
        let shmem = rig.text(&path("shmem_enabled"));
        assert_eq!(shmem, "always within_size advise [never] deny force\n");
        let read_only = rig.open(&path("hugepages-16kB/stats/split"), O_WRONLY);
        assert_eq!(read_only.err(), Some(Errno::EACCES));
    });
}
