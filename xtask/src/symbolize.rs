// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file turns the addresses of a kernel backtrace into functions and lines.
//!
//! The kernel prints one line a frame, `  #N 0x<16 hex digits>`. Each is rewritten as
//! `  #N 0x... function at file:line`, followed by the functions that it was inlined into.
//!
//! Frames are return addresses, but for the first one after a fault: that is where the fault
//! happened, as the register `pc` says, printed before.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use addr2line::Loader;

use crate::workspace;

/// The symbols of a kernel.
pub struct Symbols {
    elf: PathBuf,
    /// Loaded at the first backtrace; `None` inside when the ELF has no readable symbols.
    loader: OnceCell<Option<Loader>>,
    /// The `pc` of a fault, if registers were printed.
    pc: Option<u64>,
}

/// One function at an address, the innermost first.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Location {
    function: String,
    /// `file:line`, where the debug information knows it.
    line: Option<String>,
}

impl Symbols {
    /// Prepares to read the symbols of `elf`.
    pub fn of(elf: &Path) -> Self {
        Self { elf: elf.to_owned(), loader: OnceCell::new(), pc: None }
    }

    /// Returns the function of an instruction, without those inlined into it, and the line that it comes
    /// from: the innermost one in this workspace.
    pub fn function_and_line(&self, address: u64) -> Option<(String, String)> {
        let loader = self.loader.get_or_init(|| Loader::new(&self.elf).ok()).as_ref()?;
        let locations = locate(loader, address);
        let function = locations.last()?.function.clone();
        let mut lines = locations.into_iter().filter_map(|location| location.line);
        let own = lines.find(|line| !line.starts_with("library/") && !line.contains("/.cargo/"));
        Some((function, own.unwrap_or_else(|| String::from("(elsewhere)"))))
    }

    /// Rewrites a line of output if it is a frame of a backtrace.
    pub fn rewrite(&mut self, line: &[u8]) -> Option<String> {
        let line = str::from_utf8(line).ok()?;
        self.pc = parse_pc(line).or(self.pc);
        let (number, address) = parse_frame(line)?;
        let address = self.instruction(number, address);
        let loader = self.loader.get_or_init(|| Loader::new(&self.elf).ok()).as_ref()?;
        let locations = locate(loader, address);
        (!locations.is_empty()).then(|| render(line, &locations))
    }

    /// Returns the address of the instruction that a frame is at. A return address points behind
    /// the call, and after the call of a function that never returns even behind the function.
    fn instruction(&self, number: u32, address: u64) -> u64 {
        let is_fault = number == 0 && self.pc == Some(address);
        if is_fault { address } else { address.wrapping_sub(4) }
    }
}

/// Reads `  #N 0x<16 hex digits>`.
fn parse_frame(line: &str) -> Option<(u32, u64)> {
    let (number, address) = line.strip_prefix("  #")?.split_once(" 0x")?;
    Some((number.parse().ok()?, parse_address(address)?))
}

/// Reads `  pc  <16 hex digits>` and what follows.
fn parse_pc(line: &str) -> Option<u64> {
    parse_address(line.strip_prefix("  pc ")?.split_whitespace().next()?)
}

fn parse_address(digits: &str) -> Option<u64> {
    if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None }
}

fn locate(loader: &Loader, address: u64) -> Vec<Location> {
    let mut locations = Vec::new();
    if let Ok(mut frames) = loader.find_frames(address) {
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|name| name.demangle().ok());
            let function = name.map_or_else(|| String::from("?"), String::from);
            let line = frame
                .location
                .and_then(|at| Some(format!("{}:{}", shorten(at.file?), at.line.unwrap_or(0))));
            locations.push(Location { function, line });
        }
    }
    // Line tables know functions by their bare names; the symbol of the outermost has its path.
    if let Some(symbol) = loader.find_symbol(address) {
        let function = format!("{:#}", addr2line::demangle_auto(symbol.into(), None));
        match locations.last_mut() {
            Some(outermost) => outermost.function = function,
            None => locations.push(Location { function, line: None }),
        }
    }
    locations
}

/// Shortens a path of this workspace to start at its root, and one of the Rust library likewise.
fn shorten(file: &str) -> String {
    let path = Path::new(file);
    if let Ok(own) = path.strip_prefix(workspace::root()) {
        return own.display().to_string();
    }
    match file.strip_prefix("/rustc/").and_then(|path| path.split_once('/')) {
        Some((_commit, path)) => path.to_owned(),
        None => file.to_owned(),
    }
}

fn render(line: &str, locations: &[Location]) -> String {
    let mut text = line.to_owned();
    for (depth, location) in locations.iter().enumerate() {
        if depth > 0 {
            text += &format!("\n{:width$}inlined into", "", width = line.len() - 12);
        }
        text += &format!(" {}", location.function);
        if let Some(line) = &location.line {
            text += &format!(" at {line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_kernel_are_recognised_and_nothing_else() {
        let address = 0xffff_8000_0801_2345;
        assert_eq!(parse_frame("  #0 0xffff800008012345"), Some((0, address)));
        assert_eq!(parse_frame("  #12 0xffff800008012345"), Some((12, address)));
        for line in [
            "#0 0xffff800008012345",
            "  #0 0xffff80000801234",
            "  #0 ffff800008012345",
            "  #x 0xffff800008012345",
            "  #0 0xffff800008012345 again",
            "  # 0",
            "",
        ] {
            assert_eq!(parse_frame(line), None, "{line:?}");
        }
    }

    /// The test binary knows itself: its own functions are its symbols.
    #[test]
    fn an_address_becomes_its_function_and_line() {
        let own = std::env::current_exe().expect("this binary");
        assert_eq!(landmark(std::hint::black_box(1)), 2);
        let address = address_in_elf(&own, "landmark");
        let line = format!("  #1 0x{:016x}", address + 4);
        let text = Symbols::of(&own).rewrite(line.as_bytes()).expect("a location");
        assert!(text.starts_with(&line), "{text}");
        assert!(
            text.contains("xtask::symbolize::tests::landmark at xtask/src/symbolize.rs:"),
            "{text}"
        );
    }

    #[inline(never)]
    fn landmark(x: u32) -> u32 {
        std::hint::black_box(x) + 1
    }

    fn address_in_elf(elf: &Path, function: &str) -> u64 {
        use object::{Object, ObjectSymbol};
        let bytes = std::fs::read(elf).expect("read");
        let file = object::File::parse(&*bytes).expect("an ELF");
        let is_ours = |name: &str| name.contains("symbolize") && name.contains(function);
        let symbol = file.symbols().find(|symbol| symbol.name().is_ok_and(is_ours));
        symbol.expect("not inlined").address()
    }

    #[test]
    fn paths_are_shortened_to_what_a_reader_knows() {
        let own = workspace::root().join("kernel/src/main.rs");
        assert_eq!(shorten(&own.to_string_lossy()), "kernel/src/main.rs");
        assert_eq!(
            shorten("/rustc/0123/library/core/src/str/mod.rs"),
            "library/core/src/str/mod.rs"
        );
        assert_eq!(shorten("/somewhere/else.rs"), "/somewhere/else.rs");
    }

    #[test]
    fn return_addresses_are_looked_up_inside_their_calls() {
        let symbols = Symbols::of(Path::new("kernel.elf"));
        assert_eq!(symbols.instruction(0, 0x1000), 0xffc);
        assert_eq!(symbols.instruction(3, 0x1000), 0xffc);
    }

    #[test]
    fn the_place_of_a_fault_is_looked_up_as_it_is() {
        let mut symbols = Symbols::of(Path::new("/no/such/elf"));
        let pc = 0xffff_8000_0801_2344;
        let line = b"  pc  ffff800008012344  sp  ffff80000900bf40  pstate 600003c5";
        assert_eq!(symbols.rewrite(line), None);
        assert_eq!(symbols.instruction(0, pc), pc);
        assert_eq!(symbols.instruction(1, pc), pc - 4);
        assert_eq!(symbols.instruction(0, pc + 8), pc + 4);
    }

    #[test]
    fn inlined_frames_follow_below() {
        let at = |function: &str, line: &str| Location {
            function: function.to_owned(),
            line: Some(line.to_owned()),
        };
        let locations = [at("mm::fault", "mm/fault.rs:7"), at("kernel::main", "main.rs:9")];
        assert_eq!(
            render("  #3 0xffff800008012345", &locations),
            "  #3 0xffff800008012345 mm::fault at mm/fault.rs:7\n           inlined into \
             kernel::main at main.rs:9"
        );
    }

    #[test]
    fn an_elf_without_symbols_leaves_the_line_as_it_is() {
        let mut symbols = Symbols::of(Path::new("/no/such/elf"));
        assert_eq!(symbols.rewrite(b"  #0 0xffff800008012345"), None);
    }
}
