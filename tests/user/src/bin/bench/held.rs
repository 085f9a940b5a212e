// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file forks a child that keeps its memory until it is released.

use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::AsRawFd;

use user_tests::process::{self, Child};
use user_tests::sys;

/// A child that waits until it is released.
#[derive(Debug)]
pub struct Held {
    child: Child,
    release: PipeWriter,
}

impl Held {
    /// Forks a child that runs `body` and then waits; returns once it waits.
    pub fn fork(body: impl FnOnce()) -> Self {
        let (mut ready, is_ready) = std::io::pipe().expect("pipe");
        let (released, release) = std::io::pipe().expect("pipe");
        let (ready_fd, release_fd) = (ready.as_raw_fd(), release.as_raw_fd());
        let is_ready_fd = is_ready.as_raw_fd();
        let child = process::fork(|| {
            close(ready_fd);
            close(release_fd);
            body();
            close(is_ready_fd);
            wait_for_end(&released);
            0
        });
        drop(is_ready);
        // The child closes the other end when it is ready.
        assert_eq!(ready.read(&mut [0]).expect("read"), 0);
        Self { child, release }
    }

    /// Lets it end, and waits for that.
    pub fn release(self) {
        drop(self.release);
        self.child.wait();
    }
}

fn wait_for_end(mut pipe: &PipeReader) {
    assert_eq!(pipe.read(&mut [0]).expect("read"), 0);
}

fn close(fd: i32) {
    sys::call(libc::SYS_close, [fd as usize]).expect("close");
}
