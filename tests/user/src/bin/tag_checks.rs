// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests when and how wrong tags are reported, and the control of that.

use std::os::fd::AsRawFd;

use user_tests::fault::{self, Fault, SA_EXPOSE_TAGBITS, SEGV_MTEAERR, SEGV_MTESERR};
use user_tests::memory::{self, Mapping, PAGE};
use user_tests::process;
use user_tests::sys;
use user_tests::tags::{
    self, ALL_BUT_ZERO, INCLUDE_SHIFT, TAGGED_ADDR_ENABLE, TCF_ASYNC, TCF_SYNC,
};
use user_tests::trial::Skip;

user_tests::tests!(
    control_is_zero_at_start,
    control_returns_what_was_set,
    control_refuses_unknown_bits,
    control_belongs_to_a_thread,
    control_is_inherited_by_fork,
    control_is_reset_by_exec,
    wrong_tag_is_ignored_without_control,
    s000_r17_synchronous_check_names_the_address,
    s000_r17_synchronous_check_stops_a_store,
    s000_r17_asynchronous_check_reports_at_kernel_entry,
    synchronous_check_kills_without_handler,
    tag_of_address_is_shown_on_request,
    random_tags_obey_the_mask,
    kernel_refuses_tagged_pointers_at_start,
    kernel_takes_tagged_pointers,
    kernel_checks_tags_in_synchronous_mode,
    kernel_does_not_check_tags_in_asynchronous_mode,
    handlers_are_checked_too,
);

const SYNC: usize = TAGGED_ADDR_ENABLE | TCF_SYNC | ALL_BUT_ZERO;
const ASYNC: usize = TAGGED_ADDR_ENABLE | TCF_ASYNC | ALL_BUT_ZERO;

/// A page, all granules of which have tag 3.
fn page_with_tag_3() -> Mapping {
    let mapping = Mapping::tagged(PAGE);
    (mapping.start()..mapping.end())
        .step_by(tags::GRANULE)
        .for_each(|granule| tags::store(tags::with_tag(granule, 3)));
    mapping
}

fn control_is_zero_at_start() -> Result<(), Skip> {
    tags::needed()?;
    assert_eq!(tags::control(), Ok(0));
    Ok(())
}

fn control_returns_what_was_set() -> Result<(), Skip> {
    tags::needed()?;
    for enable in [0, TAGGED_ADDR_ENABLE] {
        for check in [0, TCF_SYNC, TCF_ASYNC, TCF_SYNC | TCF_ASYNC] {
            for tags in [0, 1, 0x8000, 0xfffe, 0xffff] {
                let control = enable | check | tags << INCLUDE_SHIFT;
                tags::set_control(control).expect("PR_SET_TAGGED_ADDR_CTRL");
                assert_eq!(tags::control(), Ok(control));
            }
        }
    }
    Ok(())
}

fn control_refuses_unknown_bits() -> Result<(), Skip> {
    tags::needed()?;
    // Bit 19 is PR_MTE_STORE_ONLY, which a machine may know.
    for bit in (20..64).map(|shift| 1 << shift) {
        assert_eq!(tags::set_control(bit), Err(libc::EINVAL), "{bit:#x}");
    }
    for place in 2..5 {
        let mut arguments = [tags::PR_SET_TAGGED_ADDR_CTRL, 0, 0, 0, 0];
        arguments[place] = 1;
        let result = sys::call(libc::SYS_prctl, arguments);
        assert_eq!(result, Err(libc::EINVAL), "argument {place}");
    }
    for place in 1..5 {
        let mut arguments = [tags::PR_GET_TAGGED_ADDR_CTRL, 0, 0, 0, 0];
        arguments[place] = 1;
        let result = sys::call(libc::SYS_prctl, arguments);
        assert_eq!(result, Err(libc::EINVAL), "argument {place}");
    }
    assert_eq!(tags::control(), Ok(0));
    Ok(())
}

fn control_belongs_to_a_thread() -> Result<(), Skip> {
    tags::needed()?;
    tags::set_control(SYNC).expect("PR_SET_TAGGED_ADDR_CTRL");
    let thread = std::thread::spawn(|| {
        let inherited = tags::control();
        tags::set_control(0).expect("PR_SET_TAGGED_ADDR_CTRL");
        inherited
    });
    assert_eq!(thread.join().expect("join"), Ok(SYNC), "as the thread that made it");
    assert_eq!(tags::control(), Ok(SYNC));
    Ok(())
}

fn control_is_inherited_by_fork() -> Result<(), Skip> {
    tags::needed()?;
    tags::set_control(SYNC).expect("PR_SET_TAGGED_ADDR_CTRL");
    process::in_child(|| {
        assert_eq!(tags::control(), Ok(SYNC));
        tags::set_control(ASYNC).expect("PR_SET_TAGGED_ADDR_CTRL");
    });
    assert_eq!(tags::control(), Ok(SYNC));
    Ok(())
}

fn control_is_reset_by_exec() -> Result<(), Skip> {
    tags::needed()?;
    tags::set_control(SYNC).expect("PR_SET_TAGGED_ADDR_CTRL");
    let program = std::env::args().next().expect("argv[0]");
    let status = std::process::Command::new(program).arg("control_is_zero_at_start").status();
    assert_eq!(status.expect("exec").code(), Some(0));
    Ok(())
}

fn wrong_tag_is_ignored_without_control() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    for control in [0, TAGGED_ADDR_ENABLE, TAGGED_ADDR_ENABLE | ALL_BUT_ZERO] {
        tags::set_control(control).expect("PR_SET_TAGGED_ADDR_CTRL");
        let access = || memory::store(tags::with_tag(page.start(), 4), control as u64);
        assert_eq!(fault::catch(access), None);
        assert_eq!(memory::load(page.start()), control as u64);
    }
    Ok(())
}

fn s000_r17_synchronous_check_names_the_address() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    tags::check_at_once();
    for offset in [0, 8, 16, 1000, PAGE - 8] {
        let address = page.start() + offset;
        for tag in 0..16 {
            let fault = fault::catch(|| {
                memory::load(tags::with_tag(address, tag));
            });
            let expected = Fault { signal: libc::SIGSEGV, code: SEGV_MTESERR, address };
            let expected = (tag != 3).then_some(expected);
            assert_eq!(fault.map(Fault::without_tag), expected, "tag {tag} at {offset}");
        }
    }
    Ok(())
}

fn s000_r17_synchronous_check_stops_a_store() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    memory::store(page.start(), 1);
    tags::check_at_once();
    let fault = fault::catch(|| memory::store(tags::with_tag(page.start(), 4), 2));
    assert_eq!(fault.expect("a fault").code, SEGV_MTESERR);
    assert_eq!(memory::load(tags::with_tag(page.start(), 3)), 1);
    Ok(())
}

fn s000_r17_asynchronous_check_reports_at_kernel_entry() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    tags::set_control(ASYNC).expect("PR_SET_TAGGED_ADDR_CTRL");
    let fault = fault::catch(|| {
        memory::store(tags::with_tag(page.start(), 4), 5);
        sys::call(libc::SYS_getpid, []).expect("getpid");
    });
    assert_eq!(fault, Some(Fault { signal: libc::SIGSEGV, code: SEGV_MTEAERR, address: 0 }));
    assert_eq!(fault::nr_faults(), 1, "once");
    assert_eq!(memory::load(tags::with_tag(page.start(), 3)), 5, "the store was made");
    // Nothing is left over for later.
    let fault = fault::catch(|| {
        memory::store(tags::with_tag(page.start(), 3), 6);
        sys::call(libc::SYS_getpid, []).expect("getpid");
    });
    assert_eq!(fault, None);
    Ok(())
}

fn synchronous_check_kills_without_handler() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    let child = process::fork(|| {
        process::no_handlers();
        tags::check_at_once();
        memory::load(tags::with_tag(page.start(), 4));
        0
    });
    assert_eq!(child.wait(), process::Ended::Killed(libc::SIGSEGV));
    Ok(())
}

fn tag_of_address_is_shown_on_request() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    tags::check_at_once();
    let address = tags::with_tag(page.start(), 4);
    let access = || {
        memory::load(address);
    };
    let shown = fault::catch_with(SA_EXPOSE_TAGBITS, access).expect("a fault");
    assert_eq!(shown.address, address);
    let hidden = fault::catch(access).expect("a fault");
    assert_eq!(hidden.address, page.start());
    Ok(())
}

fn random_tags_obey_the_mask() -> Result<(), Skip> {
    tags::needed()?;
    for mask in [0x0002, 0x0028, 0x8001, 0xfffe, 0xffff] {
        let control = TAGGED_ADDR_ENABLE | mask << INCLUDE_SHIFT;
        tags::set_control(control).expect("PR_SET_TAGGED_ADDR_CTRL");
        let mut seen = 0;
        for index in 0..2000 {
            if index % 100 == 0 {
                std::thread::yield_now();
            }
            seen |= 1 << tags::of_pointer(tags::insert_random(0x1000));
        }
        assert_eq!(seen & !mask, 0, "tags that {mask:#x} leaves out");
    }
    tags::set_control(TAGGED_ADDR_ENABLE).expect("PR_SET_TAGGED_ADDR_CTRL");
    let is_zero = |_| tags::of_pointer(tags::insert_random(0x1000)) == 0;
    assert!((0..100).all(is_zero), "an empty mask leaves tag 0");
    Ok(())
}

/// Writes a granule's bytes to a pipe from `address` and returns what the call returns.
fn write_from(address: usize) -> Result<usize, sys::Errno> {
    let (_reader, writer) = std::io::pipe().expect("pipe");
    sys::call(libc::SYS_write, [writer.as_raw_fd() as usize, address, tags::GRANULE])
}

/// Reads a granule's bytes from a pipe to `address` and returns what the call returns.
fn read_to(address: usize) -> Result<usize, sys::Errno> {
    use std::io::Write;
    let (reader, mut writer) = std::io::pipe().expect("pipe");
    writer.write_all(&[1; tags::GRANULE]).expect("write");
    sys::call(libc::SYS_read, [reader.as_raw_fd() as usize, address, tags::GRANULE])
}

fn kernel_refuses_tagged_pointers_at_start() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    let pointer = tags::with_tag(page.start(), 3);
    assert_eq!(write_from(pointer), Err(libc::EFAULT));
    assert_eq!(write_from(page.start()), Ok(tags::GRANULE));
    Ok(())
}

fn kernel_takes_tagged_pointers() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    tags::set_control(TAGGED_ADDR_ENABLE).expect("PR_SET_TAGGED_ADDR_CTRL");
    // Without checks any tag will do; so will the top byte's other bits.
    for pointer in [tags::with_tag(page.start(), 3), tags::with_tag(page.start(), 4)] {
        for pointer in [pointer, pointer | 0xf << 60] {
            assert_eq!(write_from(pointer), Ok(tags::GRANULE));
            assert_eq!(read_to(pointer), Ok(tags::GRANULE));
        }
    }
    Ok(())
}

fn kernel_checks_tags_in_synchronous_mode() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    let (right, wrong) = (tags::with_tag(page.start(), 3), tags::with_tag(page.start(), 4));
    tags::check_at_once();
    let fault = fault::catch(|| {
        assert_eq!(write_from(wrong), Err(libc::EFAULT));
        assert_eq!(read_to(wrong), Err(libc::EFAULT));
        assert_eq!(write_from(right), Ok(tags::GRANULE));
        assert_eq!(read_to(right), Ok(tags::GRANULE));
    });
    assert_eq!(fault, None, "the kernel's accesses raise no signal");
    Ok(())
}

fn kernel_does_not_check_tags_in_asynchronous_mode() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    let wrong = tags::with_tag(page.start(), 4);
    tags::set_control(ASYNC).expect("PR_SET_TAGGED_ADDR_CTRL");
    let fault = fault::catch(|| {
        assert_eq!(write_from(wrong), Ok(tags::GRANULE));
        assert_eq!(read_to(wrong), Ok(tags::GRANULE));
    });
    assert_eq!(fault, None, "the kernel's accesses raise no signal");
    Ok(())
}

fn handlers_are_checked_too() -> Result<(), Skip> {
    tags::needed()?;
    let page = page_with_tag_3();
    tags::check_at_once();
    let before = fault::tco();
    assert_eq!(before, 0);
    fault::set_tco(1);
    // Code that has turned checks off for itself; the handler runs with them on.
    let in_handler = fault::tco_in_handler();
    let after = fault::tco();
    memory::load(tags::with_tag(page.start(), 4));
    fault::set_tco(0);
    assert_eq!((in_handler, after), (0, 1));
    Ok(())
}
