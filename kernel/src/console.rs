// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file writes to the console, whole lines at a time, and is the sink of the `log` crate.

#![expect(unsafe_code, reason = "hands mapped registers to the UART driver")]

use core::fmt::{self, Write};
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

use base::lock_level;
use base::sync::SpinLock;
use drivers::pl011::Pl011;
use log::{Level, LevelFilter, Log, Metadata, Record};

static CONSOLE: SpinLock<Option<Pl011>, lock_level::Console> = SpinLock::new(None);

/// Where the UART's registers are mapped, for the panic handler. 0 before [`init`].
static REGISTERS: AtomicUsize = AtomicUsize::new(0);

/// Starts the console on the UART whose registers are mapped at `registers`.
pub fn init(registers: usize) {
    REGISTERS.store(registers, Ordering::Release);
    *CONSOLE.lock() = open(registers);
    if log::set_logger(&KernelLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

fn open(registers: usize) -> Option<Pl011> {
    let registers = NonNull::new(with_exposed_provenance_mut(registers))?;
    // SAFETY: called with the address at which the device tree's PL011 was mapped. Only the panic
    // handler ever opens it a second time.
    Some(unsafe { Pl011::new(registers) })
}

/// Chooses the least severe level that is written, by the word of boot option `loglevel`.
pub fn set_level(word: Option<&str>) {
    if let Some(level) = word.and_then(|word| word.parse().ok()) {
        log::set_max_level(level);
    }
}

/// Writes bytes as they are.
pub fn write(bytes: &[u8]) {
    if let Some(uart) = CONSOLE.lock().as_mut() {
        uart.write(bytes);
    }
}

/// Takes bytes of input.
pub fn read(buf: &mut [u8]) -> usize {
    CONSOLE.lock().as_mut().map_or(0, |uart| uart.read(buf))
}

/// Lets input raise the UART's interrupt.
pub fn enable_input() {
    if let Some(uart) = CONSOLE.lock().as_mut() {
        uart.enable_input_interrupt();
    }
}

/// Sends back what is written, or stops doing so.
#[cfg(feature = "ktest")]
pub fn set_loopback(is_on: bool) {
    if let Some(uart) = CONSOLE.lock().as_mut() {
        uart.set_loopback(is_on);
    }
}

/// Takes input off the UART: its interrupt was acknowledged.
pub fn take_input() {
    if let Some(uart) = CONSOLE.lock().as_mut() {
        uart.take_input();
    }
}

/// Writes to a UART, a carriage return before each line feed.
struct Lines<'a>(&'a mut Pl011);

impl Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    self.0.write(line.as_bytes());
                    self.0.write(b"\r\n");
                }
                None => self.0.write(line.as_bytes()),
            }
        }
        Ok(())
    }
}

/// Prints formatted text, whole: two CPUs do not mix within one call.
pub fn print(text: fmt::Arguments<'_>) {
    if let Some(uart) = CONSOLE.lock().as_mut() {
        let _infallible = Lines(uart).write_fmt(text);
    }
}

/// Prints formatted text and a line feed on the console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($arg)*))) };
}

/// Prints without the lock, for a CPU that panics: it may hold the lock itself, or another CPU may
/// hold it for ever. Text of another CPU may mix in.
pub fn print_in_panic(text: fmt::Arguments<'_>) {
    if let Some(mut uart) = open(REGISTERS.load(Ordering::Acquire)) {
        let _infallible = Lines(&mut uart).write_fmt(text);
    }
}

/// The sink of the `log` crate.
struct KernelLog;

impl Log for KernelLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args();
        match record.level() {
            Level::Error => println!("error: {text}"),
            Level::Warn => println!("warning: {text}"),
            Level::Info => println!("{text}"),
            Level::Debug | Level::Trace => println!("{}: {text}", record.target()),
        }
    }

    fn flush(&self) {}
}
