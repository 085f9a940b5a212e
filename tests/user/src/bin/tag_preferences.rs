// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests threads that accept several ways of checking tags: the CPU's preference decides.
//!
//! The preference is the machine's, so each test says what it wants, and puts back what was there.

use std::fs;
use std::io;
use std::path::PathBuf;

use user_tests::fault::{self, Fault, SEGV_MTEAERR, SEGV_MTESERR};
use user_tests::memory::{self, Mapping, PAGE};
use user_tests::sys;
use user_tests::tags::{self, ALL_BUT_ZERO, TAGGED_ADDR_ENABLE, TCF_ASYNC, TCF_SYNC};
use user_tests::trial::Skip;

user_tests::tests!(
    s000_r17_asymmetric_check_stops_loads_and_reports_stores_later,
    asymmetric_checks_take_two_words_of_consent,
    both_ways_accepted_go_by_the_preference,
    one_way_accepted_stays_whatever_is_preferred,
    a_preference_is_one_of_three_words,
    new_threads_go_by_the_preference_too,
);

const ENABLED: usize = TAGGED_ADDR_ENABLE | ALL_BUT_ZERO;
const BOTH: usize = ENABLED | TCF_SYNC | TCF_ASYNC;

/// The right tag, and a wrong one.
const RIGHT: u8 = 3;
const WRONG: u8 = 4;

/// The files with the preferences of all CPUs.
fn files() -> Vec<PathBuf> {
    let cpus = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let file = |cpu: fs::DirEntry| cpu.path().join("mte_tcf_preferred");
    cpus.map(file).filter(|path| path.exists()).collect()
}

/// What the CPUs preferred, written back in the end.
struct Preference(Vec<(PathBuf, String)>);

impl Preference {
    fn set(word: &str) -> io::Result<Self> {
        let read = |path: PathBuf| Ok((path.clone(), fs::read_to_string(path)?));
        let before = Self(files().into_iter().map(read).collect::<io::Result<_>>()?);
        for (path, _) in &before.0 {
            fs::write(path, word)?;
        }
        Ok(before)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        for (path, word) in &self.0 {
            fs::write(path, word).expect("a word that was there before");
        }
    }
}

fn needed() -> Result<(), Skip> {
    tags::needed()?;
    if files().is_empty() { Err(Skip("no mte_tcf_preferred")) } else { Ok(()) }
}

fn asymmetric_needed() -> Result<(), Skip> {
    needed()?;
    match tags::has_asymmetric_checks() {
        true => Ok(()),
        false => Err(Skip("no asymmetric checks (HWCAP2_MTE3)")),
    }
}

fn tagged_page() -> Mapping {
    let page = Mapping::tagged(PAGE);
    (page.start()..page.end())
        .step_by(tags::GRANULE)
        .for_each(|granule| tags::store(tags::with_tag(granule, RIGHT)));
    page
}

/// Returns the codes of the faults of a load and of a store with a wrong tag, each up to the next
/// system call, and whether the store was made.
fn codes(page: &Mapping) -> [(Option<i32>, bool); 2] {
    let (right, wrong) = (tags::with_tag(page.start(), RIGHT), tags::with_tag(page.start(), WRONG));
    memory::store(right, 1);
    let load = fault::catch(|| {
        memory::load(wrong);
        sys::call(libc::SYS_getpid, []).expect("getpid");
    });
    let nr_loads = fault::nr_faults();
    let store = fault::catch(|| {
        memory::store(wrong, 2);
        sys::call(libc::SYS_getpid, []).expect("getpid");
    });
    assert!(nr_loads <= 1 && fault::nr_faults() <= 1, "reported once");
    let signal = |fault: Fault| {
        assert_eq!(fault.signal, libc::SIGSEGV);
        fault.code
    };
    [(load.map(signal), true), (store.map(signal), memory::load(right) == 2)]
}

const AT_ONCE: [(Option<i32>, bool); 2] = [(Some(SEGV_MTESERR), true), (Some(SEGV_MTESERR), false)];
const LATER: [(Option<i32>, bool); 2] = [(Some(SEGV_MTEAERR), true), (Some(SEGV_MTEAERR), true)];
const MIXED: [(Option<i32>, bool); 2] = [(Some(SEGV_MTESERR), true), (Some(SEGV_MTEAERR), true)];

fn s000_r17_asymmetric_check_stops_loads_and_reports_stores_later() -> Result<(), Skip> {
    asymmetric_needed()?;
    let page = tagged_page();
    let _before = Preference::set("asymm").expect("asymm");
    tags::set_control(BOTH).expect("PR_SET_TAGGED_ADDR_CTRL");
    assert_eq!(codes(&page), MIXED);
    assert_eq!(tags::control(), Ok(BOTH), "what was asked for is what is shown");
    Ok(())
}

fn asymmetric_checks_take_two_words_of_consent() -> Result<(), Skip> {
    asymmetric_needed()?;
    let page = tagged_page();
    let _before = Preference::set("asymm").expect("asymm");
    tags::set_control(ENABLED | TCF_SYNC).expect("PR_SET_TAGGED_ADDR_CTRL");
    assert_eq!(codes(&page), AT_ONCE);
    tags::set_control(ENABLED | TCF_ASYNC).expect("PR_SET_TAGGED_ADDR_CTRL");
    assert_eq!(codes(&page), LATER);
    Ok(())
}

fn both_ways_accepted_go_by_the_preference() -> Result<(), Skip> {
    needed()?;
    let page = tagged_page();
    for (word, expected) in [("sync", AT_ONCE), ("async", LATER)] {
        let _before = Preference::set(word).expect("a preference");
        tags::set_control(BOTH).expect("PR_SET_TAGGED_ADDR_CTRL");
        assert_eq!(codes(&page), expected, "{word}");
    }
    Ok(())
}

fn one_way_accepted_stays_whatever_is_preferred() -> Result<(), Skip> {
    needed()?;
    let page = tagged_page();
    for word in ["sync", "async"] {
        let _before = Preference::set(word).expect("a preference");
        for (way, expected) in [(TCF_SYNC, AT_ONCE), (TCF_ASYNC, LATER)] {
            tags::set_control(ENABLED | way).expect("PR_SET_TAGGED_ADDR_CTRL");
            assert_eq!(codes(&page), expected, "{word}");
        }
        tags::set_control(ENABLED).expect("PR_SET_TAGGED_ADDR_CTRL");
        assert_eq!(codes(&page), [(None, true); 2], "{word}");
    }
    Ok(())
}

fn a_preference_is_one_of_three_words() -> Result<(), Skip> {
    needed()?;
    let _before = Preference::set("async\n").expect("async");
    let shown = |path: &PathBuf| fs::read_to_string(path).expect("a preference");
    for path in files() {
        for wrong in ["none", "asyn", "async ", "ASYNC", "0"] {
            let refused = fs::write(&path, wrong).expect_err("a word that means nothing");
            assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "{wrong}");
            assert_eq!(shown(&path), "async\n");
        }
        fs::write(&path, "sync").expect("sync");
        assert_eq!(shown(&path), "sync\n");
        let asymmetric = fs::write(&path, "asymm").map_err(|error| error.raw_os_error());
        let expected = if tags::has_asymmetric_checks() { Ok(()) } else { Err(Some(libc::EINVAL)) };
        assert_eq!(asymmetric, expected);
    }
    Ok(())
}

fn new_threads_go_by_the_preference_too() -> Result<(), Skip> {
    needed()?;
    let page = tagged_page();
    tags::set_control(BOTH).expect("PR_SET_TAGGED_ADDR_CTRL");
    let _before = Preference::set("sync").expect("sync");
    // The thread inherits what is accepted; what that means is decided on the CPU that it comes to.
    let thread = std::thread::spawn(move || codes(&page));
    assert_eq!(thread.join().expect("join"), AT_ONCE);
    Ok(())
}
