// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests how large folios are switched on and off: /sys, prctl, madvise, and what
//! smaps says of it.

use std::fs::{self, OpenOptions};
use std::process::Command;

use user_tests::memory::{self, ANON, Mapping, PAGE, RW};
use user_tests::process;
use user_tests::sys::{self, Errno};
use user_tests::thp::{self, DIR, SIZES_KIB, Setting};
use user_tests::trial::Skip;

user_tests::tests!(
    each_word_of_a_setting_is_taken_and_shown_in_brackets,
    each_size_has_a_setting_of_its_own,
    unknown_words_are_refused_and_change_nothing,
    numbers_out_of_range_are_refused_and_change_nothing,
    a_write_of_no_bytes_changes_nothing,
    sizes_are_those_from_16_to_2048_kib,
    a_block_is_two_mebibytes,
    statistics_are_numbers_that_cannot_be_written,
    shared_memory_can_be_kept_to_single_pages,
    a_process_switches_large_folios_off_and_on,
    prctl_refuses_bad_arguments,
    children_and_programs_inherit_the_switch,
    smaps_tells_which_areas_may_have_large_folios,
    smaps_knows_the_switch_of_the_process,
    private_mappings_of_whole_blocks_are_aligned,
    mremap_keeps_the_place_in_a_block,
    meminfo_smaps_and_vmstat_have_their_lines,
);

const BLOCK: usize = 2 << 20;
const PR_THP_DISABLE_EXCEPT_ADVISED: usize = 2;

/// The files that take words, with all that they take.
fn word_files() -> Vec<(String, &'static [&'static str])> {
    let defrag: &[&str] = &["always", "defer", "defer+madvise", "madvise", "never"];
    let mut files: Vec<(String, &[&str])> =
        vec![("enabled".into(), &["always", "madvise", "never"]), ("defrag".into(), defrag)];
    for size in SIZES_KIB {
        let words = &["always", "inherit", "madvise", "never"];
        files.push((format!("hugepages-{size}kB/enabled"), words));
    }
    files
}

fn each_word_of_a_setting_is_taken_and_shown_in_brackets() -> Result<(), Skip> {
    for (name, words) in word_files() {
        let setting = Setting::open(&name)?;
        for word in words {
            for text in [word.to_string(), format!("{word}\n")] {
                // Something else first, so that taking the word is seen.
                setting.write(words.iter().find(|other| *other != word).unwrap()).unwrap();
                assert_eq!(setting.write(&text), Ok(text.len()), "{name}: {text:?}");
                let shown = words.iter().map(|other| match other == word {
                    true => format!("[{other}]"),
                    false => (*other).to_owned(),
                });
                let shown = shown.collect::<Vec<_>>().join(" ") + "\n";
                assert_eq!(setting.text(), shown, "{name}: {text:?}");
            }
        }
    }
    let zero_page = Setting::open("use_zero_page")?;
    for text in ["0", "1", "0\n", "1\n", "+0"] {
        assert_eq!(zero_page.write(text), Ok(text.len()), "{text:?}");
        assert_eq!(zero_page.text(), format!("{}\n", text.trim().trim_start_matches('+')));
    }
    Ok(())
}

fn each_size_has_a_setting_of_its_own() -> Result<(), Skip> {
    let settings = SIZES_KIB.iter().map(|size| Setting::of_size(*size));
    let settings = settings.collect::<Result<Vec<_>, _>>()?;
    let words = ["always", "inherit", "madvise", "never"];
    for turn in 0..words.len() {
        let word = |index: usize| words[(index + turn) % words.len()];
        for (index, setting) in settings.iter().enumerate() {
            setting.write(word(index)).unwrap();
        }
        for (index, setting) in settings.iter().enumerate() {
            assert_eq!(setting.chosen(), word(index), "{} kB", SIZES_KIB[index]);
        }
    }
    Ok(())
}

fn unknown_words_are_refused_and_change_nothing() -> Result<(), Skip> {
    for (name, words) in word_files() {
        let setting = Setting::open(&name)?;
        setting.write(words[0]).unwrap();
        let before = setting.text();
        let long = "never".repeat(2000);
        for bad in [
            "\n",
            "\0",
            " ",
            "x",
            "neve",
            "nevers",
            "never ",
            " never",
            "Never",
            "NEVER",
            "never\n\n",
            "never\r\n",
            "[never]",
            "never always",
            "0",
            "1",
            "defer+",
            &long,
        ] {
            assert_eq!(setting.write(bad), Err(libc::EINVAL), "{name}: {bad:?}");
            assert_eq!(setting.text(), before, "{name}: after {bad:?}");
        }
    }
    let enabled = Setting::open("enabled")?;
    assert_eq!(enabled.write("inherit"), Err(libc::EINVAL), "a word of sizes only");
    assert_eq!(enabled.write("defer"), Err(libc::EINVAL), "a word of defrag only");
    let shmem = Setting::open("shmem_enabled")?;
    let before = shmem.text();
    assert_eq!(shmem.write("madvise"), Err(libc::EINVAL), "a word of anonymous memory");
    assert_eq!(shmem.text(), before);
    Ok(())
}

fn numbers_out_of_range_are_refused_and_change_nothing() -> Result<(), Skip> {
    let zero_page = Setting::open("use_zero_page")?;
    for kept in ["0", "1"] {
        zero_page.write(kept).unwrap();
        for bad in ["\n", "2", "-1", "x", "1x", "0x1", "1 ", " 1", "1\n\n", "18446744073709551615"]
        {
            assert_eq!(zero_page.write(bad), Err(libc::EINVAL), "{bad:?}");
            assert_eq!(zero_page.text(), format!("{kept}\n"), "after {bad:?}");
        }
        let too_long = zero_page.write("18446744073709551616");
        assert_eq!(too_long, Err(libc::ERANGE), "more than 64 bits");
        assert_eq!(zero_page.text(), format!("{kept}\n"));
    }
    Ok(())
}

fn a_write_of_no_bytes_changes_nothing() -> Result<(), Skip> {
    for name in ["enabled", "defrag", "use_zero_page", "hugepages-64kB/enabled"] {
        let setting = Setting::open(name)?;
        let before = setting.text();
        assert_eq!(setting.write(""), Ok(0), "{name}");
        assert_eq!(setting.text(), before, "{name}");
    }
    Ok(())
}

fn sizes_are_those_from_16_to_2048_kib() -> Result<(), Skip> {
    Setting::of_size(2048)?;
    for size in (0..=12).map(|order| 4usize << order) {
        let path = format!("{DIR}/hugepages-{size}kB/enabled");
        assert_eq!(fs::metadata(&path).is_ok(), SIZES_KIB.contains(&size), "{path}");
    }
    let missing = fs::metadata(format!("{DIR}/hugepages-48kB")).unwrap_err();
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    Ok(())
}

fn a_block_is_two_mebibytes() -> Result<(), Skip> {
    Setting::open("enabled")?;
    assert_eq!(fs::read_to_string(format!("{DIR}/hpage_pmd_size")).unwrap(), "2097152\n");
    Ok(())
}

fn statistics_are_numbers_that_cannot_be_written() -> Result<(), Skip> {
    Setting::of_size(2048)?;
    for size in SIZES_KIB {
        for name in [
            "anon_fault_alloc",
            "anon_fault_fallback",
            "anon_fault_fallback_charge",
            "zswpout",
            "swpin",
            "swpin_fallback",
            "swpin_fallback_charge",
            "swpout",
            "swpout_fallback",
            "split",
            "split_failed",
            "split_deferred",
            "nr_anon",
            "nr_anon_partially_mapped",
            "shmem_alloc",
            "shmem_fallback",
            "shmem_fallback_charge",
        ] {
            assert!(thp::stat(size, name).is_some(), "{size} kB: {name}");
            let path = format!("{DIR}/hugepages-{size}kB/stats/{name}");
            let opened = OpenOptions::new().write(true).open(&path);
            let error = opened.map(drop).unwrap_err().raw_os_error();
            assert_eq!(error, Some(libc::EACCES), "{path}");
        }
    }
    Ok(())
}

fn shared_memory_can_be_kept_to_single_pages() -> Result<(), Skip> {
    let shmem = Setting::open("shmem_enabled")?;
    let words = ["always", "within_size", "advise", "never", "deny", "force"];
    for word in ["deny", "never"] {
        assert_eq!(shmem.write(word), Ok(word.len()));
        let shown =
            words.map(|other| if other == word { format!("[{other}]") } else { other.to_owned() });
        assert_eq!(shmem.text(), shown.join(" ") + "\n");
    }
    for size in SIZES_KIB {
        let of_size = Setting::open(&format!("hugepages-{size}kB/shmem_enabled"))?.to("inherit");
        assert_eq!(of_size.text(), "always [inherit] within_size advise never\n");
        let of_size = of_size.to("never");
        assert_eq!(of_size.text(), "always inherit within_size advise [never]\n");
    }
    Ok(())
}

fn prctl(arguments: [usize; 5]) -> Result<usize, Errno> {
    sys::call(libc::SYS_prctl, arguments)
}

fn disable(wish: usize, flags: usize) -> Result<usize, Errno> {
    prctl([libc::PR_SET_THP_DISABLE as usize, wish, flags, 0, 0])
}

fn disabled() -> usize {
    prctl([libc::PR_GET_THP_DISABLE as usize, 0, 0, 0, 0]).unwrap()
}

fn a_process_switches_large_folios_off_and_on() {
    assert_eq!(disabled(), 0);
    assert_eq!(disable(1, 0), Ok(0));
    assert_eq!(disabled(), 1);
    assert_eq!(disable(7, PR_THP_DISABLE_EXCEPT_ADVISED), Ok(0));
    assert_eq!(disabled(), 1 | PR_THP_DISABLE_EXCEPT_ADVISED);
    assert_eq!(disable(1, 0), Ok(0));
    assert_eq!(disabled(), 1, "one takes the other's place");
    assert_eq!(disable(0, 0), Ok(0));
    assert_eq!(disabled(), 0);
}

fn prctl_refuses_bad_arguments() {
    let set = libc::PR_SET_THP_DISABLE as usize;
    let get = libc::PR_GET_THP_DISABLE as usize;
    for bad in [
        [set, 0, PR_THP_DISABLE_EXCEPT_ADVISED, 0, 0],
        [set, 1, 1, 0, 0],
        [set, 1, 4, 0, 0],
        [set, 1, 0, 1, 0],
        [set, 1, 0, 0, 1],
        [get, 1, 0, 0, 0],
        [get, 0, 1, 0, 0],
        [get, 0, 0, 1, 0],
        [get, 0, 0, 0, 1],
    ] {
        assert_eq!(prctl(bad), Err(libc::EINVAL), "{bad:?}");
    }
    assert_eq!(disabled(), 0);
}

fn children_and_programs_inherit_the_switch() {
    let echo = fs::read_link("/proc/self/exe").unwrap().with_file_name("echo");
    let of_program = || {
        let output = Command::new(&echo).arg("--thp-disable").env_clear().output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for flags in [0, PR_THP_DISABLE_EXCEPT_ADVISED] {
        disable(1, flags).unwrap();
        process::in_child(|| {
            assert_eq!(disabled(), 1 | flags);
            disable(0, 0).unwrap();
        });
        assert_eq!(disabled(), 1 | flags, "a child's choice is its own");
        assert_eq!(of_program(), format!("{}\n", 1 | flags));
    }
    disable(0, 0).unwrap();
    assert_eq!(of_program(), "0\n");
}

/// Returns a field of smaps of the area that starts at `start`.
fn smaps(start: usize, field: &str) -> String {
    let text = fs::read_to_string("/proc/self/smaps").unwrap();
    let from = text.find(&format!("{start:08x}-")).expect("the area");
    let line = text[from..].lines().find_map(|line| line.strip_prefix(field)).expect(field);
    line.to_owned()
}

fn is_eligible(start: usize) -> bool {
    // A colon, spaces up to column 16, a number in 8 columns.
    match smaps(start, "THPeligible").as_str() {
        ":           0" => false,
        ":           1" => true,
        other => panic!("THPeligible{other}"),
    }
}

/// Makes part of `reserve`, which may not be accessed, an area that can be. Not at its start, where
/// the allocator's memory might join it.
fn area(reserve: &Mapping, offset: usize, len_bytes: usize) -> usize {
    let start = reserve.start() + offset;
    memory::mprotect(start, len_bytes, RW).unwrap();
    start
}

fn reserve(blocks: usize) -> Mapping {
    Mapping::new(blocks * BLOCK, libc::PROT_NONE, ANON).unwrap()
}

fn smaps_tells_which_areas_may_have_large_folios() -> Result<(), Skip> {
    let enabled = Setting::open("enabled")?.to("madvise");
    let _sizes = thp::only(2048, "inherit")?;
    let reserve = reserve(8);
    let block = area(&reserve, BLOCK, BLOCK);
    let unaligned = area(&reserve, 3 * BLOCK + PAGE, 2 * BLOCK - 2 * PAGE);
    let small = area(&reserve, 6 * BLOCK + PAGE, 7 * PAGE);
    assert!(!is_eligible(block), "it has not said that it wants them");
    memory::madvise(block, BLOCK, libc::MADV_HUGEPAGE).unwrap();
    memory::madvise(unaligned, 2 * BLOCK - 2 * PAGE, libc::MADV_HUGEPAGE).unwrap();
    memory::madvise(small, 7 * PAGE, libc::MADV_HUGEPAGE).unwrap();
    assert!(is_eligible(block));
    assert!(!is_eligible(unaligned), "no aligned block lies in it");
    let small_folios = Setting::of_size(16)?.to("madvise");
    assert!(is_eligible(unaligned), "aligned 16 KiB do");
    assert!(is_eligible(small), "pages 4 to 7 are aligned");
    drop(small_folios);
    memory::madvise(block, BLOCK, libc::MADV_NOHUGEPAGE).unwrap();
    let enabled = enabled.to("always");
    assert!(!is_eligible(block), "it has said that it does not want them");
    memory::madvise(block, BLOCK, libc::MADV_HUGEPAGE).unwrap();
    assert!(is_eligible(block));
    let _enabled = enabled.to("never");
    assert!(!is_eligible(block), "the size inherits");
    let _alone = Setting::of_size(2048)?.to("always");
    assert!(is_eligible(block), "the size decides for itself");
    Ok(())
}

fn smaps_knows_the_switch_of_the_process() -> Result<(), Skip> {
    let _enabled = Setting::open("enabled")?.to("always");
    let _sizes = thp::only(2048, "inherit")?;
    let reserve = reserve(5);
    let plain = area(&reserve, BLOCK, BLOCK);
    let wanted = area(&reserve, 3 * BLOCK, BLOCK);
    memory::madvise(wanted, BLOCK, libc::MADV_HUGEPAGE).unwrap();
    assert!(is_eligible(plain) && is_eligible(wanted));
    disable(1, PR_THP_DISABLE_EXCEPT_ADVISED).unwrap();
    assert!(!is_eligible(plain) && is_eligible(wanted));
    disable(1, 0).unwrap();
    assert!(!is_eligible(plain) && !is_eligible(wanted));
    disable(0, 0).unwrap();
    assert!(is_eligible(plain) && is_eligible(wanted));
    Ok(())
}

fn private_mappings_of_whole_blocks_are_aligned() {
    // Single pages between them, so that places below are not aligned by themselves.
    let mut kept = Vec::new();
    for blocks in [1, 2, 3, 1] {
        kept.push(Mapping::new(PAGE, libc::PROT_READ, ANON).unwrap());
        let mapping = Mapping::anonymous(blocks * BLOCK);
        assert_eq!(mapping.start() % BLOCK, 0, "{:x?}", mapping.range());
        kept.push(mapping);
    }
}

fn mremap_keeps_the_place_in_a_block() {
    for skew in [0, 17 * PAGE, 511 * PAGE] {
        let old = memory::mmap(0, 2 * BLOCK, RW, ANON, -1, 0).unwrap();
        let (start, end) = (old + skew, old + skew + BLOCK);
        if skew > 0 {
            memory::munmap(old, skew).unwrap();
        }
        // Something behind it, so that it has to move in order to grow.
        memory::mprotect(end, old + 2 * BLOCK - end, libc::PROT_NONE).unwrap();
        memory::store(start, 0x1234);
        let flags = libc::MREMAP_MAYMOVE as usize;
        let new = sys::call(libc::SYS_mremap, [start, BLOCK, 2 * BLOCK, flags]).unwrap();
        assert_ne!(new, start);
        assert_eq!(new % BLOCK, start % BLOCK, "{start:#x} went to {new:#x}");
        assert_eq!(memory::load(new), 0x1234);
        memory::munmap(new, 2 * BLOCK).unwrap();
        memory::munmap(end, old + 2 * BLOCK - end).unwrap();
    }
}

fn meminfo_smaps_and_vmstat_have_their_lines() -> Result<(), Skip> {
    Setting::open("enabled")?;
    for field in
        ["AnonHugePages", "ShmemHugePages", "ShmemPmdMapped", "FileHugePages", "FilePmdMapped"]
    {
        assert!(user_tests::meminfo::read(field).is_some(), "{field}");
    }
    let mapping = Mapping::new(PAGE, libc::PROT_READ | libc::PROT_EXEC, ANON).unwrap();
    for field in ["AnonHugePages", "ShmemPmdMapped", "FilePmdMapped"] {
        let line = smaps(mapping.start(), field);
        assert_eq!(format!("{field}{line}"), format!("{:<16}{:8} kB", format!("{field}:"), 0));
    }
    let vmstat = fs::read_to_string("/proc/vmstat").unwrap();
    let names: Vec<&str> = vmstat.lines().filter_map(|line| line.split(' ').next()).collect();
    for name in [
        "nr_anon_transparent_hugepages",
        "thp_fault_alloc",
        "thp_fault_fallback",
        "thp_fault_fallback_charge",
        "thp_collapse_alloc",
        "thp_collapse_alloc_failed",
        "thp_split_page",
        "thp_split_page_failed",
        "thp_deferred_split_page",
        "thp_underused_split_page",
        "thp_split_pmd",
        "thp_zero_page_alloc",
        "thp_zero_page_alloc_failed",
        "thp_swpout",
        "thp_swpout_fallback",
    ] {
        let count = names.iter().filter(|other| **other == name).count();
        assert_eq!(count, 1, "{name}");
    }
    Ok(())
}
