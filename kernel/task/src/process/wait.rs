// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets a parent wait for its children: wait4, waitid.

use alloc::sync::Arc;

use abi::Errno;
use hal::{Platform, WaitChannel};

use super::table::{News, Node, Tree};
use super::{ExitStatus, Process};
use crate::kernel::Kernel;
use crate::sched::Woken;
use crate::syscall::restart;

/// Which children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitFor {
    /// Any.
    Any,
    /// The one with this number.
    Process(u32),
    /// Those in this group.
    Group(u32),
}

/// What of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaitOptions {
    /// Ends.
    pub ended: bool,
    /// Stops.
    pub stopped: bool,
    /// Continuations.
    pub continued: bool,
    /// Do not sleep.
    pub no_hang: bool,
    /// Look only: the child can be waited for again.
    pub keep: bool,
}

/// What a child has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChildEvent {
    Ended(ExitStatus),
    News(News),
}

impl ChildEvent {
    /// Returns the status word of wait4.
    pub fn to_word(self) -> u32 {
        match self {
            Self::Ended(status) => status.to_word(),
            Self::News(News::Stopped(signal)) => u32::from(signal) << 8 | 0x7f,
            Self::News(News::Continued) => 0xffff,
        }
    }
}

/// What the tree says of the children asked for.
enum Finding<P: Platform> {
    Found(u32, ChildEvent, Option<Node<P>>),
    NothingYet,
    NoChild,
}

impl<P: Platform> Kernel<P> {
    /// Waits for a child to do something; `None` when none has and the caller does not wait.
    ///
    /// # Errors
    ///
    /// ECHILD when there is no such child; interrupted by a signal.
    pub(crate) fn wait_for_child(
        &self,
        parent: &Arc<Process<P>>,
        whom: WaitFor,
        options: WaitOptions,
    ) -> Result<Option<(u32, ChildEvent)>, Errno> {
        loop {
            match self.look(parent.pid, whom, options) {
                Finding::Found(pid, event, _reaped) => return Ok(Some((pid, event))),
                Finding::NoChild => return Err(Errno::ECHILD),
                Finding::NothingYet if options.no_hang => return Ok(None),
                Finding::NothingYet => {}
            }
            let mut ready = || {
                let tree = self.processes.try_with(|tree| find(tree, parent.pid, whom, options));
                // A tree that is in use is about to change: look again.
                tree.is_none_or(|found| !matches!(found, Found::NothingYet))
            };
            let channel = WaitChannel::of(&**parent);
            if self.sched().sleep_interruptible(channel, None, &mut ready) == Woken::Interrupted {
                return Err(restart::SYS);
            }
        }
    }

    fn look(&self, parent: u32, whom: WaitFor, options: WaitOptions) -> Finding<P> {
        self.processes.with(|tree| match find(tree, parent, whom, options) {
            Found::NoChild => Finding::NoChild,
            Found::NothingYet => Finding::NothingYet,
            Found::Child(pid, event) => {
                let node = match event {
                    ChildEvent::Ended(_) if !options.keep => tree.reap(pid),
                    ChildEvent::News(_) if !options.keep => {
                        if let Some(node) = tree.nodes.get_mut(&pid) {
                            node.news = None;
                        }
                        None
                    }
                    _ => None,
                };
                Finding::Found(pid, event, node)
            }
        })
    }
}

#[derive(Clone, Copy)]
enum Found {
    Child(u32, ChildEvent),
    NothingYet,
    NoChild,
}

fn find<P: Platform>(tree: &Tree<P>, parent: u32, whom: WaitFor, options: WaitOptions) -> Found {
    let Some(node) = tree.nodes.get(&parent) else { return Found::NoChild };
    let is_meant = |pid: u32, child: &Node<P>| match whom {
        WaitFor::Any => true,
        WaitFor::Process(wanted) => pid == wanted,
        WaitFor::Group(group) => child.group == group,
    };
    let mut any = false;
    for pid in &node.children {
        let Some(child) = tree.nodes.get(pid).filter(|child| is_meant(*pid, child)) else {
            continue;
        };
        any = true;
        if let Some(event) = event_of(child, options) {
            return Found::Child(*pid, event);
        }
    }
    if any { Found::NothingYet } else { Found::NoChild }
}

fn event_of<P: Platform>(child: &Node<P>, options: WaitOptions) -> Option<ChildEvent> {
    if let Some(status) = child.ended {
        return options.ended.then_some(ChildEvent::Ended(status));
    }
    let news = child.news?;
    let is_wanted = match news {
        News::Stopped(_) => options.stopped,
        News::Continued => options.continued,
    };
    is_wanted.then_some(ChildEvent::News(news))
}
