// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file drives the PL011 UART (Arm DDI 0183): the console.
//!
//! Output is polled. Input is taken from the FIFO into a small buffer when the receive interrupt
//! is polled for, or when somebody reads.

#![expect(unsafe_code, reason = "device registers")]

use core::ptr::NonNull;

use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

register_bitfields![u32,
    /// Flag register.
    FR [
        /// Transmit FIFO full.
        TXFF OFFSET(5) NUMBITS(1) [],
        /// Receive FIFO empty.
        RXFE OFFSET(4) NUMBITS(1) [],
    ],
    /// Line control.
    LCR_H [
        /// Word length; 0b11 is eight bits.
        WLEN OFFSET(5) NUMBITS(2) [Eight = 0b11],
        /// FIFOs on.
        FEN OFFSET(4) NUMBITS(1) [],
    ],
    /// Control.
    CR [
        RXE OFFSET(9) NUMBITS(1) [],
        TXE OFFSET(8) NUMBITS(1) [],
        /// Loopback: what is sent is received, and not put on the line.
        LBE OFFSET(7) NUMBITS(1) [],
        UARTEN OFFSET(0) NUMBITS(1) [],
    ],
    /// Interrupts: mask, status and clear registers have this layout.
    INT [
        /// Receive timeout: bytes have been waiting below the FIFO's trigger level.
        RT OFFSET(6) NUMBITS(1) [],
        /// Receive.
        RX OFFSET(4) NUMBITS(1) [],
    ],
];

register_structs! {
    /// Registers of a PL011.
    #[allow(non_snake_case, missing_docs)]
    pub Registers {
        (0x00 => DR: ReadWrite<u32>),
        (0x04 => _reserved0),
        (0x18 => FR: ReadOnly<u32, FR::Register>),
        (0x1c => _reserved1),
        (0x2c => LCR_H: ReadWrite<u32, LCR_H::Register>),
        (0x30 => CR: ReadWrite<u32, CR::Register>),
        (0x34 => _reserved2),
        (0x38 => IMSC: ReadWrite<u32, INT::Register>),
        (0x3c => _reserved3),
        (0x44 => ICR: WriteOnly<u32, INT::Register>),
        (0x48 => @END),
    }
}

/// Bytes of input kept until somebody reads them; more are dropped.
const INPUT_SIZE: usize = 256;

/// A PL011.
pub struct Pl011 {
    registers: NonNull<Registers>,
    input: [u8; INPUT_SIZE],
    /// Bytes in `input`.
    nr_input: usize,
}

// SAFETY: the registers may be accessed from any CPU, and access needs `&mut`.
unsafe impl Send for Pl011 {}

impl Pl011 {
    /// Builds a driver for the PL011 whose registers are at `registers`, and switches it on. Firmware
    /// has set its baud rate.
    ///
    /// # Safety
    ///
    /// `registers` is a mapping of a PL011, as device memory, for ever; no other driver uses it.
    pub unsafe fn new(registers: NonNull<Registers>) -> Self {
        let uart = Self { registers, input: [0; INPUT_SIZE], nr_input: 0 };
        uart.registers().LCR_H.write(LCR_H::WLEN::Eight + LCR_H::FEN::SET);
        uart.registers().CR.write(CR::UARTEN::SET + CR::TXE::SET + CR::RXE::SET);
        uart
    }

    fn registers(&self) -> &Registers {
        // SAFETY: the promise of `new`.
        unsafe { self.registers.as_ref() }
    }

    /// Writes bytes, waiting while the FIFO is full.
    pub fn write(&mut self, bytes: &[u8]) {
        let registers = self.registers();
        for &byte in bytes {
            while registers.FR.is_set(FR::TXFF) {}
            registers.DR.set(byte.into());
        }
    }

    /// Makes input raise the UART's interrupt.
    pub fn enable_input_interrupt(&mut self) {
        self.registers().IMSC.write(INT::RX::SET + INT::RT::SET);
    }

    /// Sends back what is written, or stops doing so: a test of the input without a line.
    pub fn set_loopback(&mut self, is_on: bool) {
        let loopback = if is_on { CR::LBE::SET } else { CR::LBE::CLEAR };
        self.registers().CR.write(CR::UARTEN::SET + CR::TXE::SET + CR::RXE::SET + loopback);
    }

    /// Takes what has arrived into the input buffer and clears the interrupt.
    pub fn take_input(&mut self) {
        self.registers().ICR.write(INT::RX::SET + INT::RT::SET);
        while !self.registers().FR.is_set(FR::RXFE) {
            let byte = self.registers().DR.get() as u8;
            if let Some(place) = self.input.get_mut(self.nr_input) {
                *place = byte;
                self.nr_input += 1;
            }
        }
    }

    /// Moves input to `buf` and returns how many bytes.
    pub fn read(&mut self, buf: &mut [u8]) -> usize {
        self.take_input();
        let len = self.nr_input.min(buf.len());
        buf[..len].copy_from_slice(&self.input[..len]);
        self.input.copy_within(len..self.nr_input, 0);
        self.nr_input -= len;
        len
    }
}
