// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings the counters of all layers together: for /proc/vmstat, and for the console when
//! the machine stops.
//!
//! On the console the block stands between two marks, a counter to a line: `name value`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use base::Order;
use base::sync::OnceCell;
use hal::Platform;

use crate::kernel::Kernel;

/// Calls its argument with each counter's name and value.
pub type CounterSource = Box<dyn Fn(&mut dyn FnMut(&'static str, u64)) + Send + Sync>;

/// The counters of layers that this one cannot see.
pub(crate) type Foreign = OnceCell<CounterSource>;

const BEGIN: &str = "--- counters begin ---";
const END: &str = "--- counters end ---";

impl<P: Platform> Kernel<P> {
    /// Adds the counters of drivers.
    ///
    /// # Panics
    ///
    /// When there are some already.
    pub fn set_driver_counters(&self, source: CounterSource) {
        self.driver_counters.set(source);
    }

    /// Calls `visit` with the name and value of each counter, Linux's gauges first.
    pub(crate) fn for_each_counter(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let system = self.system();
        let info = system.meminfo();
        let tag_bytes = system.tag_bytes_by_size();
        let gauges = [
            ("nr_free_pages", info.free),
            ("nr_inactive_anon", info.inactive),
            ("nr_active_anon", info.active),
            ("nr_anon_pages", info.anon),
            (
                "nr_anon_transparent_hugepages",
                info.block_mapped / u64::from(Order::BLOCK.nr_pages()),
            ),
            ("nr_mapped", info.mapped),
            ("nr_shmem", info.shmem),
            ("nr_page_table_pages", info.tables),
            ("nr_swap_free", info.swap_free),
            ("folio_bytes", info.folio_bytes),
            ("frame_word_bytes", info.frame_word_bytes),
            ("swap_metadata_pages", info.swap_metadata),
            ("mte_tag_bytes_stored", tag_bytes.iter().sum()),
            ("mte_tag_inline_bytes", tag_bytes[0]),
            ("mte_tag_16_bytes", tag_bytes[1]),
            ("mte_tag_32_bytes", tag_bytes[2]),
            ("mte_tag_64_bytes", tag_bytes[3]),
            ("mte_tag_raw_bytes", tag_bytes[4]),
        ];
        gauges.into_iter().for_each(|(name, value)| visit(name, value));
        visit("oom_kill", self.oom.nr_kills());
        system.counters().totals().for_each(|(name, value)| visit(name, value));
        if let Some(foreign) = self.driver_counters.get() {
            foreign(visit);
        }
    }

    /// Writes all counters to the console.
    pub(crate) fn print_counters(&self) {
        let mut text = String::new();
        self.for_each_counter(&mut |name, value| text += &format!("{name} {value}\n"));
        self.machine().console_write(format!("{BEGIN}\n{text}{END}\n").as_bytes());
    }
}
