// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells the linker where linker.ld is, when the kernel is built for the machine.

use std::env;
use std::path::Path;

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let root = Path::new(&manifest).parent().expect("kernel/ is inside the workspace");
    let script = root.join("linker.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
        // Sections that linker.ld does not name would land anywhere.
        println!("cargo::rustc-link-arg-bins=--orphan-handling=error");
    }
}
