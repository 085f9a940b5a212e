// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program does nothing for ever, for the test of the watchdog.

fn main() {
    println!("sleeper: asleep");
    loop {
        std::thread::park();
    }
}
