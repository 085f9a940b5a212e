// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder tests exec: headers good and bad, scripts, the start stack, a whole program.

mod elf;
mod load;
mod script;
mod start_stack;

use abi::elf::{EM_AARCH64, ET_DYN, ET_EXEC, Ehdr, PF_R, PF_W, PF_X, PT_LOAD, Phdr};
use abi::{Errno, Layout};
use std::vec::Vec;

/// A program file under construction.
#[derive(Clone)]
pub struct File {
    pub header: Ehdr,
    pub headers: Vec<Phdr>,
    pub content: Vec<u8>,
}

impl File {
    /// Builds a program of two segments: text from the start of the file, data with zeroes behind.
    /// File byte n is n % 251 where it is no header.
    pub fn new(kind: u16, base: u64) -> Self {
        let mut ident = [0; 16];
        ident[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let header = Ehdr {
            ident,
            kind,
            machine: EM_AARCH64,
            version: 1,
            entry: base + 0x200,
            phoff: 64,
            ehsize: 64,
            phentsize: 56,
            phnum: 2,
            ..Default::default()
        };
        let text = Phdr {
            kind: PT_LOAD,
            flags: PF_R | PF_X,
            vaddr: base,
            filesz: 0x1234,
            memsz: 0x1234,
            align: 0x1_0000,
            ..Default::default()
        };
        let data = Phdr {
            flags: PF_R | PF_W,
            offset: 0x1234,
            vaddr: base + 0x1_1234,
            filesz: 0x100,
            memsz: 0x3000,
            ..text
        };
        let content = (0..0x1400u32).map(|at| (at % 251) as u8).collect();
        Self { header, headers: [text, data].into(), content }
    }

    pub fn exec() -> Self {
        Self::new(ET_EXEC, 0x40_0000)
    }

    pub fn pie() -> Self {
        Self::new(ET_DYN, 0)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.content.clone();
        self.header.put(&mut bytes);
        for (index, header) in self.headers.iter().enumerate() {
            header.put(&mut bytes[self.header.phoff as usize + index * Phdr::SIZE..]);
        }
        bytes
    }
}

/// Reads from bytes as from a file.
pub fn reader(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Errno> + '_ {
    |offset, buf| {
        let end = usize::try_from(offset).ok().and_then(|start| start.checked_add(buf.len()));
        let range = end.and_then(|end| bytes.get(end - buf.len()..end)).ok_or(Errno::EIO)?;
        buf.copy_from_slice(range);
        Ok(())
    }
}
