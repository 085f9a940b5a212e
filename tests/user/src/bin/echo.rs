// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program prints what it was started with, for the tests of exec.
//!
//! Its arguments and its environment, a line each; or what an option asks for: `--pid`,
//! `--thp-disable`, `--is-open=FD` or `--action=SIGNAL`.

use user_tests::{process, sys};

fn main() {
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            _ if argument == "--pid" => println!("{}", std::process::id()),
            _ if argument == "--thp-disable" => println!("{}", thp_disable()),
            Some(("--is-open", fd)) => println!("{}", is_open(fd)),
            Some(("--action", signal)) => {
                println!("{}", process::action(signal.parse().expect("a signal")));
            }
            _ => println!("{argument}"),
        }
    }
    for (name, value) in std::env::vars() {
        println!("{name}={value}");
    }
}

fn thp_disable() -> usize {
    sys::call(libc::SYS_prctl, [libc::PR_GET_THP_DISABLE as usize]).expect("PR_GET_THP_DISABLE")
}

fn is_open(fd: &str) -> &'static str {
    let fd: usize = fd.parse().expect("a descriptor");
    match sys::call(libc::SYS_fcntl, [fd, libc::F_GETFD as usize]) {
        Ok(_) => "open",
        Err(libc::EBADF) => "closed",
        Err(error) => panic!("F_GETFD: error {error}"),
    }
}
