//! Refusals of known keys, counted per minute, key and code, in a fixed table: a spray of refusals
//! costs no memory. When the table is full the count goes to `dropped`: a statistic may be lost,
//! and says so; a verdict is not.

use crate::{
    sync::{AtomicU64, Ordering},
    verdict::Code,
};

/// Words of an entry: key id, `minute << 8 | code`, count.
const ENTRY: usize = 3;
pub const ENTRIES: usize = 1_024;
pub const WORDS: usize = ENTRY * ENTRIES;
/// How far an entry may lie from its place.
const PROBES: usize = 16;
/// Key id of an entry that is being written.
const CLAIMED: u64 = u64::MAX;

/// Count one refusal; false if there was no place.
#[must_use]
pub fn count(table: &[AtomicU64], key: u64, code: Code, minute: u64) -> bool {
    let what = minute << 8 | code as u64;
    let hash = (key ^ what.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    for probe in 0..PROBES {
        let at = (hash as usize + probe) % ENTRIES * ENTRY;
        let entry = &table[at..at + ENTRY];
        if entry[0].load(Ordering::Acquire) == 0
            && entry[0].compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            entry[1].store(what, Ordering::Relaxed);
            entry[2].store(1, Ordering::Relaxed);
            // Release: partner of the acquire loads here and in `take`.
            entry[0].store(key, Ordering::Release);
            return true;
        }
        if entry[0].load(Ordering::Acquire) == key && entry[1].load(Ordering::Relaxed) == what {
            entry[2].fetch_add(1, Ordering::Relaxed);
            return true;
        }
    }
    false
}

/// Take out the entries of minutes before `minute`: nobody counts there any more. (minute, key,
/// code, count). What no program of this layout counts is dropped: the ledger cannot hold it.
pub fn take(table: &[AtomicU64], minute: u64) -> Vec<(u64, u64, u8, u64)> {
    let mut out = vec![];
    for entry in table.as_chunks::<ENTRY>().0 {
        let key = entry[0].load(Ordering::Acquire);
        let what = entry[1].load(Ordering::Relaxed);
        if key == 0 || key == CLAIMED || what >> 8 >= minute {
            continue;
        }
        let count = entry[2].load(Ordering::Relaxed);
        if i64::try_from(key.max(count)).is_ok() {
            out.push((what >> 8, key, what as u8, count));
        }
        entry[0].store(0, Ordering::Release);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_out_once_and_only_for_past_minutes() {
        let table: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        for _ in 0..3 {
            assert!(count(&table, 9, Code::KeyRevoked, 100));
        }
        assert!(count(&table, 9, Code::BudgetExceeded, 101));
        assert_eq!(take(&table, 101), [(100, 9, 4, 3)]);
        assert_eq!(take(&table, 101), []);
        assert_eq!(take(&table, 102), [(101, 9, 13, 1)]);
    }

    #[test]
    fn a_corrupt_count_stops_no_other() {
        let table: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        assert!(count(&table, 1 << 63, Code::KeyRevoked, 100));
        for key in [7, 8] {
            assert!(count(&table, key, Code::KeyRevoked, 100));
        }
        let entry = table.chunks(ENTRY).find(|entry| entry[0].load(Ordering::Relaxed) == 8);
        entry.expect("counted")[2].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(take(&table, 101), [(100, 7, 4, 1)]);
        assert_eq!(take(&table, 101), []);
    }

    #[test]
    fn a_full_table_says_so() {
        let table: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let counted = (1..5_000).filter(|key| count(&table, *key, Code::KeyExpired, 1)).count();
        assert!(counted <= ENTRIES && counted > ENTRIES / 2);
        assert_eq!(take(&table, 2).len(), counted);
    }
}
