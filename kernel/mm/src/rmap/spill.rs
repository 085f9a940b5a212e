// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the reverse-map entries that do not fit in a folio's descriptor.
//!
//! One sorted table per folio that needs it, named by index. The folio's reverse-map bit is held by
//! every caller, so a table has one user at a time; the lock here guards the set of tables.

use alloc::vec::Vec;

use base::lock_level::RmapSpill;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU32, Ordering};

use super::Mapping;
use crate::frame::OutOfMemory;

/// Heap bytes that the spill tables leave to others.
pub(crate) const HEAP_RESERVE: usize = 512 << 10;

/// Reverse-map entries beyond two, of all folios.
pub(crate) struct SpillTables {
    tables: SpinLock<Tables, RmapSpill>,
    /// How often an entry was refused because the heap was low.
    nr_refused: AtomicU32,
}

struct Tables {
    /// Packed mappings, ascending. Index 0 is never used: a folio's 0 means "no table".
    tables: Vec<Vec<u64>>,
    free: Vec<u32>,
}

impl Tables {
    fn new_table(&mut self) -> Result<u32, OutOfMemory> {
        if let Some(index) = self.free.pop() {
            return Ok(index);
        }
        self.tables.try_reserve(1).map_err(|_| OutOfMemory)?;
        // Room to give every table back without allocating.
        let missing = self.tables.len() + 1 - self.free.len();
        self.free.try_reserve(missing).map_err(|_| OutOfMemory)?;
        self.tables.push(Vec::new());
        Ok(self.tables.len() as u32 - 1)
    }

    /// Returns where a mapping is, or where it belongs.
    fn position(&self, index: u32, key: u64) -> Result<usize, usize> {
        self.tables[index as usize].binary_search_by_key(&key, |raw| unpack(*raw).key())
    }
}

fn unpack(raw: u64) -> Mapping {
    Mapping::unpack(raw).expect("spill table: entries are not 0")
}

impl SpillTables {
    pub(crate) fn new() -> Self {
        let tables = Tables { tables: alloc::vec![Vec::new()], free: Vec::new() };
        Self { tables: SpinLock::new(tables), nr_refused: AtomicU32::new(0) }
    }

    /// Returns how often an entry was refused because the heap was low; it wraps around.
    pub(crate) fn nr_refused(&self) -> u32 {
        self.nr_refused.load(Ordering::Relaxed)
    }

    /// Adds to a folio's table, which is made if it has none.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`], with nothing changed.
    pub(super) fn add(
        &self,
        folio_spill: &AtomicU32,
        new: Mapping,
        heap_room: impl FnOnce() -> usize,
    ) -> Result<(), OutOfMemory> {
        let mut tables = self.tables.lock();
        let mut index = folio_spill.load(Ordering::Relaxed);
        if index != 0
            && let Ok(at) = tables.position(index, new.key())
        {
            let raw = &mut tables.tables[index as usize][at];
            *raw = unpack(*raw).plus(new.nr).pack();
            return Ok(());
        }
        if heap_room() < HEAP_RESERVE {
            self.nr_refused.fetch_add(1, Ordering::Relaxed);
            return Err(OutOfMemory);
        }
        if index == 0 {
            index = tables.new_table()?;
        }
        let at = tables.position(index, new.key()).expect_err("looked up above");
        let table = &mut tables.tables[index as usize];
        if table.try_reserve(1).is_err() {
            if table.is_empty() {
                tables.free.push(index);
            }
            return Err(OutOfMemory);
        }
        table.insert(at, new.pack());
        folio_spill.store(index, Ordering::Relaxed);
        Ok(())
    }

    /// Takes away from a mapping in a folio's table.
    ///
    /// # Panics
    ///
    /// When there is no such mapping.
    pub(super) fn remove(&self, folio_spill: &AtomicU32, gone: Mapping) {
        let mut tables = self.tables.lock();
        let index = folio_spill.load(Ordering::Relaxed);
        let at = tables.position(index, gone.key());
        let at = at.unwrap_or_else(|_| panic!("rmap: {gone:?} unmapped but not mapped"));
        let table = &mut tables.tables[index as usize];
        match unpack(table[at]).minus(gone.nr) {
            Some(left) => table[at] = left.pack(),
            None => {
                table.remove(at);
            }
        }
        if table.is_empty() {
            *table = Vec::new();
            tables.free.push(index);
            folio_spill.store(0, Ordering::Relaxed);
        }
    }

    /// Tells whether `test` holds for every mapping in a folio's table.
    pub(super) fn all(
        &self,
        folio_spill: &AtomicU32,
        mut test: impl FnMut(Mapping) -> bool,
    ) -> bool {
        match folio_spill.load(Ordering::Relaxed) {
            0 => true,
            index => {
                let tables = self.tables.lock();
                tables.tables[index as usize].iter().all(|raw| test(unpack(*raw)))
            }
        }
    }

    /// Returns the mapping in a folio's table that follows `cursor`.
    pub(super) fn next_after(
        &self,
        folio_spill: &AtomicU32,
        cursor: Option<Mapping>,
    ) -> Option<Mapping> {
        let index = match folio_spill.load(Ordering::Relaxed) {
            0 => return None,
            index => index,
        };
        let tables = self.tables.lock();
        let at = match cursor {
            None => 0,
            Some(cursor) => match tables.position(index, cursor.key()) {
                Ok(at) => at + 1,
                Err(at) => at,
            },
        };
        tables.tables[index as usize].get(at).map(|raw| unpack(*raw))
    }

    /// Returns how many folios have a table.
    #[cfg(feature = "audit")]
    pub(crate) fn nr_in_use(&self) -> usize {
        let tables = self.tables.lock();
        // The first is nobody's.
        tables.tables.len() - 1 - tables.free.len()
    }

    /// Returns the bytes of all tables.
    pub(crate) fn bytes(&self) -> usize {
        let tables = self.tables.lock();
        tables.tables.iter().map(|table| size_of::<Vec<u64>>() + table.capacity() * 8).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rmap::MmId;
    use base::Vpn;

    fn at(mm: u16, base: u64, nr: u32) -> Mapping {
        Mapping { mm: MmId::new(mm), base: Vpn::new(base), nr }
    }

    #[test]
    fn keeps_order_sums_and_goes_away_when_empty() {
        let tables = SpillTables::new();
        let spill = AtomicU32::new(0);
        let roomy = || usize::MAX;
        for mapping in [at(7, 100, 1), at(3, 100, 1), at(7, 50, 2), at(7, 100, 4)] {
            tables.add(&spill, mapping, roomy).unwrap();
        }
        let first = tables.next_after(&spill, None).unwrap();
        let second = tables.next_after(&spill, Some(first)).unwrap();
        let third = tables.next_after(&spill, Some(second)).unwrap();
        assert_eq!([first, second, third], [at(3, 100, 1), at(7, 50, 2), at(7, 100, 5)]);
        assert_eq!(tables.next_after(&spill, Some(third)), None);
        assert_eq!(tables.next_after(&spill, Some(at(5, 0, 1))), Some(at(7, 50, 2)));
        for mapping in [at(7, 100, 5), at(3, 100, 1), at(7, 50, 2)] {
            assert_ne!(spill.load(Ordering::Relaxed), 0);
            tables.remove(&spill, mapping);
        }
        assert_eq!(spill.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn refuses_without_heap_room_and_changes_nothing() {
        let tables = SpillTables::new();
        let spill = AtomicU32::new(0);
        assert_eq!(tables.add(&spill, at(1, 1, 1), || 0), Err(OutOfMemory));
        assert_eq!(spill.load(Ordering::Relaxed), 0);
    }
}
