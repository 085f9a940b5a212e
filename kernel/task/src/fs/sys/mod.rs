// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is sysfs, as far as programs about memory read it.
//!
//! | what | where |
//! |---|---|
//! | how a setting is shown, and what it takes | `setting.rs` |
//! | devices/system/cpu | `cpu.rs` |
//! | kernel/mm/transparent_hugepage | `thp.rs` |
//! | its khugepaged | `khugepaged.rs` |

mod cpu;
mod khugepaged;
mod setting;
mod thp;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use abi::stat::SYSFS_MAGIC;
use hal::Machine;

use super::env::Env;
use super::inode::InodeRef;
use super::synthetic::{Spec, Synthetic};

/// Makes sysfs.
pub fn new_sys_fs<M: Machine>(env: &Arc<Env<M>>) -> InodeRef<M> {
    let fs = Synthetic::new(env, SYSFS_MAGIC);
    let mm = vec![("transparent_hugepage", Spec::Dir(thp::entries(env)))];
    let system = vec![("cpu", Spec::Dir(cpu::entries(env))), ("node", Spec::Dir(nodes(env)))];
    fs.build(vec![
        ("devices", Spec::Dir(vec![("system", Spec::Dir(system))])),
        ("kernel", Spec::Dir(vec![("mm", Spec::Dir(mm))])),
    ])
}

fn fixed(text: String) -> Spec {
    Spec::Text(Box::new(move || Ok(text.clone().into_bytes())))
}

fn nodes<M: Machine>(env: &Arc<Env<M>>) -> Vec<(&'static str, Spec)> {
    let names = ["has_cpu", "has_memory", "has_normal_memory", "online", "possible"];
    let mut entries: Vec<_> =
        names.into_iter().map(|name| (name, fixed(String::from("0\n")))).collect();
    entries.push(("node0", Spec::Dir(vec![("cpulist", fixed(cpu::range(env)))])));
    entries
}
