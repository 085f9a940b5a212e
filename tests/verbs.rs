// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness runs the verbs of `cargo xtask` that look into a guest, as a user would.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use libtest_mimic::Failed;
use tests::harness::{self, Scenario};
use tests::lab::{Boot, Lab};
use xtask::build::Variant;
use xtask::marked::Marked;
use xtask::scratch::Scratch;
use xtask::trace::log::{Log, MARKS};

const PREFIX: &str = "verbs";

const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "a_missing_tool_is_named_with_its_install_line", run: a_tool_is_missing },
    Scenario { name: "counters_are_shown_saved_and_compared", run: counters_are_shown },
    Scenario { name: "counters_of_a_missing_program_are_refused", run: counters_are_refused },
    Scenario { name: "a_trace_can_be_read", run: a_trace_can_be_read },
    Scenario { name: "an_unknown_category_is_refused", run: an_unknown_category_is_refused },
    Scenario { name: "the_magic_key_writes_the_trace", run: the_magic_key_writes_the_trace },
    Scenario { name: "a_panic_writes_the_trace", run: a_panic_writes_the_trace },
];

fn main() -> ExitCode {
    harness::run_scenarios(PREFIX, Lab::new(Variant::Plain), &SCENARIOS)
}

/// Verbs that need tools, and what the line that installs the last of them has.
const NEEDS: [(&str, &str); 9] = [
    ("setup", "gdb-multiarch"),
    ("build", "rustup target add aarch64-unknown-none-softfloat"),
    ("run", "qemu-system-arm"),
    ("counters", "qemu-system-arm"),
    ("trace", "qemu-system-arm"),
    ("record", "qemu-system-arm"),
    ("gdb", "gdb-multiarch"),
    ("bench", "qemu-system-arm"),
    ("test", "gdb-multiarch"),
];

/// A machine with a package manager and rustup, and nothing else.
fn a_tool_is_missing(_: &Lab, _: u32) -> Result<(), Failed> {
    let mut files = Scratch::new()?;
    let programs = files.dir("programs")?;
    for name in ["apt-get", "rustup"] {
        let path = programs.join(name);
        std::fs::write(&path, "#!/bin/sh\nexit 1\n")?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    }
    for (verb, line) in NEEDS {
        let help = Lab::xtask_as_typed(&[verb, "--help"], &[])?;
        help.expect("its help", help.succeeded() && help.stdout.contains("Usage: "))?;
        let run = Lab::xtask_with_programs(&[verb, "--no-install"], &programs)?;
        run.expect("a failure", !run.succeeded())?;
        // Harnesses report on standard output.
        let said = [run.stdout.as_str(), &run.stderr].concat();
        run.expect("what is missing", said.contains("missing on this machine: Rust target"))?;
        let has_line = |text: &str| text.starts_with("+ ") && text.contains(line);
        run.expect("the line that installs it", said.lines().any(has_line))?;
    }
    Ok(())
}

fn counters_are_shown(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let program = lab.programs()?.path("sysrq").display().to_string();
    let mut files = Scratch::new()?;
    let mut saved = Vec::new();
    for pages in [16, 40] {
        let file = files.file(&format!("counters-{pages}")).display().to_string();
        let words = ["counters", "--machine", "test", "--format", "json", "--save", &file];
        let run = lab.xtask(cpus, &words, &[&program, &pages.to_string()])?;
        run.expect("success", run.succeeded())?;
        let json: serde_json::Value = serde_json::from_str(&run.stdout)?;
        run.expect("each page counted twice", json["pswpout"] == 2 * pages)?;
        saved.push(file);
    }
    let diff = lab.xtask(cpus, &["counters", "--diff", &saved[0], &saved[1]], &[])?;
    let row = |line: &str| line.split_whitespace().take(4).eq(["32", "80", "+48", "pswpout"]);
    diff.expect("the difference", diff.succeeded() && diff.stdout.lines().any(row))
}

fn counters_are_refused(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let run = lab.xtask(cpus, &["counters"], &["/no/such/program"])?;
    run.expect("a failure", !run.succeeded())?;
    run.expect("the reason", run.stderr.contains("cannot read /no/such/program"))
}

/// Pages that the program of a traced run swaps out, twice.
const TRACED_PAGES: usize = 24;

fn a_trace_can_be_read(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let program = lab.programs()?.path("sysrq").display().to_string();
    let out = tempdir(&format!("trace-{cpus}"))?;
    let dir = out.display().to_string();
    let words = ["trace", "--machine", "test", "--out", &dir];
    let run = lab.xtask(cpus, &words, &[&program, &TRACED_PAGES.to_string()])?;
    run.expect("success", run.succeeded())?;
    let read = |name: &str| std::fs::read_to_string(out.join(name));
    let spans = spans_of(&read("trace.json")?)?;
    // One page at a time: this machine has no large folios unless they are asked for.
    let nr = |name: &str| spans.iter().filter(|span| span.name == name).count();
    run.expect("a swap_out for each page", nr("swap_out") == 2 * TRACED_PAGES)?;
    // What goes out together has one request.
    run.expect("a wait each time", nr("block_wait") >= 2)?;
    run.expect(
        "as much in stacks as in spans",
        folded_ns(&read("trace.folded")?) == outer_ns(&spans),
    )?;
    for name in ["timeline.svg", "flame.svg"] {
        let text = read(name)?;
        let picture = roxmltree::Document::parse(&text)?;
        let titles = picture.descendants().filter(|node| node.has_tag_name("title")).count();
        run.expect(&format!("rectangles in {name}"), titles > 1)?;
    }
    Ok(std::fs::remove_dir_all(&out)?)
}

/// Returns the lab of kernels that keep events: built once for all scenarios.
fn traced() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| Lab::new(Variant::Trace))
}

fn tempdir(name: &str) -> std::io::Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("granule-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A complete event of a Chrome trace, times in ns.
struct Span {
    name: String,
    thread: u64,
    start: u64,
    end: u64,
}

fn spans_of(json: &str) -> Result<Vec<Span>, Failed> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    let events = value["traceEvents"].as_array().ok_or("no traceEvents")?;
    let ns =
        |value: &serde_json::Value| (value.as_f64().unwrap_or(f64::NAN) * 1000.0).round() as u64;
    let spans = events.iter().filter(|event| event["ph"] == "X").map(|event| Span {
        name: event["name"].as_str().unwrap_or_default().to_owned(),
        thread: event["tid"].as_u64().unwrap_or(u64::MAX),
        start: ns(&event["ts"]),
        end: ns(&event["ts"]) + ns(&event["dur"]),
    });
    Ok(spans.collect())
}

/// Adds up the spans that no other one of their thread encloses.
fn outer_ns(spans: &[Span]) -> u64 {
    let encloses = |outer: &Span, inner: &Span| {
        let is_longer = outer.end - outer.start > inner.end - inner.start;
        outer.thread == inner.thread
            && is_longer
            && outer.start <= inner.start
            && inner.end <= outer.end
    };
    let is_outer = |span: &&Span| !spans.iter().any(|other| encloses(other, span));
    spans.iter().filter(is_outer).map(|span| span.end - span.start).sum()
}

fn folded_ns(text: &str) -> u64 {
    text.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn an_unknown_category_is_refused(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let run = lab.xtask(cpus, &["trace", "--events", "swap,tbl"], &[])?;
    run.expect("a failure", !run.succeeded())?;
    run.expect("the word and what there is", run.stderr.contains("'tbl'"))?;
    run.expect("the categories", run.stderr.contains("reclaim"))
}

/// The magic key and the end of the machine write what was kept until then.
fn the_magic_key_writes_the_trace(_: &Lab, cpus: u32) -> Result<(), Failed> {
    let lab = traced();
    let mut boot = Boot::on("test")?;
    boot.machine.cpus = cpus;
    boot.initramfs = Some(lab.programs()?.as_init("sysrq")?);
    boot.kernel_args.extend(["trace=swap", "trace.events=100"].map(str::to_owned));
    // The UART drops what its FIFO holds when it is set up: a byte that nobody will miss.
    boot.typed = b"\n\x0fz".to_vec();
    let transcript = lab.boot(boot)?;
    let blocks: Vec<&[String]> =
        transcript.lines.split(|line| *line == MARKS.begin).skip(1).collect();
    transcript.expect("two traces", blocks.len() == 2)?;
    let log = |block: &[String]| {
        Log::of_lines(block.split(|line| *line == MARKS.end).next().unwrap_or_default())
    };
    let [first, last] = [log(blocks[0]), log(blocks[1])];
    transcript.expect("nothing swapped at first", first.events.is_empty())?;
    let is_swap_out = last.events.iter().all(|event| event.name == "swap_out");
    transcript.expect("nothing but what was chosen", is_swap_out)?;
    transcript.expect("8 pages, twice", last.events.len() == 16 && last.nr_lost == 0)
}

fn a_panic_writes_the_trace(_: &Lab, cpus: u32) -> Result<(), Failed> {
    let mut boot = Boot::on("test")?;
    boot.machine.cpus = cpus;
    boot.kernel_args.extend(["trace=all", "panic=test"].map(str::to_owned));
    let transcript = traced().boot(boot)?;
    let mut marked = Marked::new(MARKS);
    let before = transcript.lines.iter().position(|line| marked.take(line));
    transcript.lines.iter().skip(before.unwrap_or(0) + 1).for_each(|line| _ = marked.take(line));
    let panic = transcript.lines.iter().position(|line| line.starts_with("granule: PANIC"));
    transcript.expect("a panic, then a trace", panic.is_some() && panic < before)?;
    let is_cpu = |line: &&String| line.starts_with("cpu ");
    let nr_rings = marked.into_last().unwrap_or_default().iter().filter(is_cpu).count();
    transcript.expect("rings of all CPUs, to the end", nr_rings == cpus as usize)
}
