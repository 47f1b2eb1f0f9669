//! Digest → index, open addressing. A slot is `tag << 32 | index + 1`; the tag is a part of the
//! digest that the position does not use, so a wrong record is touched once in four billion probes.
//! Nothing is ever removed.

use crate::sync::{AtomicU64, Ordering};

/// Compute the words of a table for this many entries: at most half full.
#[must_use]
pub fn words_for(capacity: usize) -> usize {
    (capacity * 2).next_power_of_two().max(64)
}

fn word(digest: &[u8; 32], n: usize) -> u64 {
    u64::from_le_bytes(digest.as_chunks::<8>().0[n])
}

fn tag(digest: &[u8; 32]) -> u64 {
    word(digest, 1) >> 32
}

/// Return the index of the entry for which `is` holds, among those that may be this digest.
pub fn find(table: &[AtomicU64], digest: &[u8; 32], is: impl Fn(u32) -> bool) -> Option<u32> {
    let mask = table.len() - 1;
    let (mut at, tag) = (word(digest, 0) as usize & mask, tag(digest));
    for _ in 0..table.len() {
        // Acquire: partner of `insert`: the record was written before its entry.
        let entry = table[at].load(Ordering::Acquire);
        if entry == 0 {
            return None;
        }
        let index = entry as u32 - 1;
        if entry >> 32 == tag && is(index) {
            return Some(index);
        }
        at = (at + 1) & mask;
    }
    None
}

/// Publish an entry. One writer at a time.
pub fn insert(table: &[AtomicU64], digest: &[u8; 32], index: u32) {
    let mask = table.len() - 1;
    let mut at = word(digest, 0) as usize & mask;
    while table[at].load(Ordering::Relaxed) != 0 {
        at = (at + 1) & mask;
    }
    // Release: partner of `find`.
    table[at].store(tag(digest) << 32 | u64::from(index + 1), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digests that agree in their first 8, 16 or 31 bytes are still different entries.
    #[test]
    fn shared_prefixes_are_never_mixed() {
        let table: Vec<AtomicU64> = (0..words_for(8)).map(|_| AtomicU64::new(0)).collect();
        let digests: Vec<[u8; 32]> = [0, 8, 16, 31]
            .iter()
            .map(|same| std::array::from_fn(|i| if i < *same { 7 } else { 100 + *same as u8 }))
            .collect();
        for (index, digest) in digests.iter().enumerate() {
            assert_eq!(find(&table, digest, |i| digests[i as usize] == *digest), None);
            insert(&table, digest, index as u32);
        }
        for (index, digest) in digests.iter().enumerate() {
            assert_eq!(
                find(&table, digest, |i| digests[i as usize] == *digest),
                Some(index as u32)
            );
        }
    }
}
