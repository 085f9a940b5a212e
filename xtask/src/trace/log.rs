// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads what the kernel writes of its trace: `kernel/src/trace.rs` says how.
//!
//! Events carry the number of a kernel thread. User threads use those one after the other, and each
//! says its name when it begins: so an event belongs to the user thread that said it last.

use std::collections::BTreeMap;

use crate::marked::Marks;

/// The marks around a trace on the console.
pub const MARKS: Marks = Marks { begin: "--- trace begin ---", end: "--- trace end ---" };

/// The kind that says who a kernel thread is from now on.
const THREAD_NAME: &str = "thread_name";

/// Numbers of lanes of kernel threads that no user thread uses: above all process numbers.
const KERNEL_LANES: u32 = 100_000;

/// A trace.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Log {
    /// The events, by lane, then by begin; what encloses another is before it.
    pub events: Vec<Event>,
    /// The names of the lanes: user threads by their numbers, then kernel threads.
    pub lanes: BTreeMap<u32, String>,
    /// The names of the lock order's places.
    pub levels: BTreeMap<u64, String>,
    /// How many events were written over because the rings were too small.
    pub nr_lost: u64,
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The name of its kind.
    pub name: String,
    /// The category of its kind.
    pub category: String,
    /// The CPU on which it ended.
    pub cpu: u32,
    /// The lane of the thread that it happened to.
    pub lane: u32,
    /// When it began.
    pub start_ns: u64,
    /// How long it took; 0 for a mark.
    pub duration_ns: u64,
    /// Names and values of its arguments.
    pub args: Vec<(String, u64)>,
}

impl Event {
    /// Returns when it was over.
    pub fn end_ns(&self) -> u64 {
        self.start_ns + self.duration_ns
    }

    /// Returns the value of an argument.
    pub fn arg(&self, name: &str) -> Option<u64> {
        self.args.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }
}

/// What the kernel says of a kind before the events.
struct Kind {
    category: String,
    args: [String; 2],
}

/// An event whose lane is not known yet.
struct Raw {
    event: Event,
    kernel_thread: u32,
}

impl Log {
    /// Reads the lines between the marks; a line that is not understood is left out.
    pub fn of_lines(lines: &[String]) -> Self {
        let (mut kinds, mut levels) = (BTreeMap::new(), BTreeMap::new());
        let (mut raws, mut cpu, mut nr_lost) = (Vec::new(), 0, 0);
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["kind", name, category, a, b] => {
                    let args = [a, b].map(str::to_owned);
                    kinds.insert(name.to_owned(), Kind { category: category.to_owned(), args });
                }
                ["level", rank, name] => {
                    levels.extend(rank.parse().ok().map(|rank: u64| (rank, name.to_owned())));
                }
                ["cpu", number, "lost", lost] => {
                    cpu = number.parse().unwrap_or(cpu);
                    nr_lost += lost.parse::<u64>().unwrap_or(0);
                }
                [name, start, duration, thread, a, b] => {
                    let kind = kinds.get(name);
                    let numbers = [start, duration, thread, a, b].map(number);
                    if let (
                        Some(kind),
                        [Some(start), Some(duration), Some(thread), Some(a), Some(b)],
                    ) = (kind, numbers)
                    {
                        let event = kind.event(name, cpu, [start, duration], [a, b]);
                        raws.push(Raw { event, kernel_thread: thread as u32 });
                    }
                }
                _ => {}
            }
        }
        let (events, lanes) = into_lanes(raws);
        Self { events, lanes, levels, nr_lost }
    }

    /// Returns the time of the first begin and of the last end.
    pub fn span_ns(&self) -> (u64, u64) {
        let first = self.events.iter().map(|event| event.start_ns).min().unwrap_or(0);
        let last = self.events.iter().map(Event::end_ns).max().unwrap_or(first);
        (first, last)
    }
}

impl Kind {
    fn event(&self, name: &str, cpu: u32, [start, duration]: [u64; 2], args: [u64; 2]) -> Event {
        let named = self.args.iter().cloned().zip(args).filter(|(name, _)| name != "-");
        Event {
            name: name.to_owned(),
            category: self.category.clone(),
            cpu,
            lane: 0,
            start_ns: start,
            duration_ns: duration,
            args: named.collect(),
        }
    }
}

/// Reads a decimal number, or a hexadecimal one behind `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Puts each event into the lane of its thread, and sorts them.
fn into_lanes(mut raws: Vec<Raw>) -> (Vec<Event>, BTreeMap<u32, String>) {
    raws.sort_by_key(|raw| raw.event.start_ns);
    let mut users: BTreeMap<u32, u32> = BTreeMap::new();
    let mut lanes = BTreeMap::new();
    let mut events = Vec::new();
    for Raw { mut event, kernel_thread } in raws {
        let own = KERNEL_LANES + kernel_thread;
        if event.name == THREAD_NAME {
            let name = name_of(event.arg("name").unwrap_or(0));
            let tid = event.arg("tid").unwrap_or(0) as u32;
            // Threads of the kernel have no number.
            let lane = if tid == 0 { own } else { tid };
            users.insert(kernel_thread, lane);
            lanes.insert(lane, name);
            continue;
        }
        event.lane = *users.get(&kernel_thread).unwrap_or(&own);
        lanes.entry(event.lane).or_insert_with(|| format!("kernel thread {kernel_thread}"));
        events.push(event);
    }
    events.sort_by_key(|event| (event.lane, event.start_ns, std::cmp::Reverse(event.duration_ns)));
    (events, lanes)
}

/// Returns the text of a name's first 8 bytes.
fn name_of(word: u64) -> String {
    let bytes: Vec<u8> = word.to_le_bytes().into_iter().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A thread's fault that reads from disk, within which tags are restored; a mark of kswapd; then
    /// another thread's fault on the kernel thread of the first one.
    pub const SAMPLE: &str = "\
        kind thread_name thread tid name\nkind fault fault addr outcome\n\
        kind swap_in swap slot pages\nkind tlb_issue tlb ranges others\n\
        kind block_start block ticket operation\nkind block_wait block ticket failed\n\
        kind tlb_wait tlb - -\ncpu 0 lost 3\n\
        thread_name 10 0 5 0x7 0x6f6d6564\nblock_start 1300 0 5 0x2 0x0\n\
        block_wait 1400 500 5 0x2 0x0\nswap_in 1200 900 5 0x80 0x10\n\
        fault 1000 1500 5 0x7f0000 0x2\ncpu 1 lost 0\n\
        thread_name 20 0 3 0x0 0x647061777 3\ntlb_issue 1500 0 3 0x1 0x0\nnot an event at all\n\
        thread_name 3000 0 5 0x9 0x6873\nfault 4000 100 5 0x10 0x1\n";

    pub fn sample() -> Log {
        let lines: Vec<String> = SAMPLE.lines().map(|line| line.trim().to_owned()).collect();
        Log::of_lines(&lines)
    }

    #[test]
    fn events_belong_to_the_user_thread_that_said_its_name_last() {
        let log = sample();
        let shown: Vec<_> =
            log.events.iter().map(|e| (e.lane, e.name.as_str(), e.start_ns)).collect();
        assert_eq!(
            shown,
            [
                (7, "fault", 1000),
                (7, "swap_in", 1200),
                (7, "block_start", 1300),
                (7, "block_wait", 1400),
                (9, "fault", 4000),
                (100_003, "tlb_issue", 1500),
            ]
        );
        let lanes: Vec<_> = log.lanes.iter().map(|(lane, name)| (*lane, name.as_str())).collect();
        assert_eq!(lanes, [(7, "demo"), (9, "sh"), (100_003, "kernel thread 3")]);
        assert_eq!((log.nr_lost, log.span_ns()), (3, (1000, 4100)));
        assert_eq!(log.events[0].arg("addr"), Some(0x7f_0000));
        assert_eq!((log.events[5].cpu, log.events[5].args.len()), (1, 2));
    }

    #[test]
    fn names_are_the_bytes_of_a_word() {
        assert_eq!(name_of(u64::from_le_bytes(*b"kswapd\0\0")), "kswapd");
        assert_eq!(name_of(u64::from_le_bytes(*b"longname")), "longname");
    }
}
