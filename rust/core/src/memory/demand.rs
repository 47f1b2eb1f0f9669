//! A ring in which workers report to the host's agent which meters are short. All workers write it,
//! one agent reads it.
//!
//! A demand may be lost or come twice: a request that still waits reports it again. So no thread
//! ever waits for another, and a writer that died half-way costs its own demand.

use crate::{
    quota::Resource,
    sync::{AtomicU64, Ordering, fence},
};

/// Demands that the ring keeps.
#[cfg(not(loom))]
pub const ENTRIES: usize = 4_096;
#[cfg(loom)]
pub const ENTRIES: usize = 2;
/// Next place to write: the workers' line.
const TAIL: usize = 0;
/// Next place to read: the agent's line.
const HEAD: usize = 8;
const FIRST: usize = 16;
/// Words of an entry: need; `place << 36 | resource << 32 | index`.
const ENTRY: usize = 2;
const PLACE: u32 = 36;
/// Words of the ring.
pub const WORDS: usize = FIRST + ENTRIES * ENTRY;

/// A meter of a scope is short: one request needs `need` of it, or with 0 it will be short soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    pub index: u32,
    pub resource: Resource,
    pub need: u64,
}

/// The ring, over its words in the arena.
#[derive(Clone, Copy)]
pub struct DemandRing<'a>(pub &'a [AtomicU64]);

/// Return the stamp in the second word of the entry at `place`. The count of places begins at 1
/// here, so that an unwritten entry is none.
fn stamp(place: u64) -> u64 {
    place.wrapping_add(1) << PLACE
}

impl DemandRing<'_> {
    fn entry(&self, place: u64) -> &[AtomicU64] {
        let at = FIRST + place as usize % ENTRIES * ENTRY;
        &self.0[at..at + ENTRY]
    }

    /// Report a demand.
    pub fn push(&self, demand: Demand) {
        let place = self.0[TAIL].fetch_add(1, Ordering::AcqRel);
        let entry = self.entry(place);
        entry[1].store(0, Ordering::Relaxed);
        // Partner of the fence in `read`: a reader of the new need no longer sees the old stamp.
        fence(Ordering::Release);
        entry[0].store(demand.need, Ordering::Relaxed);
        let what = u64::from(demand.resource.number()) << 32 | u64::from(demand.index);
        // Release: partner of `drain`.
        entry[1].store(stamp(place) | what, Ordering::Release);
    }

    /// Take out up to `limit` demands, oldest first. One agent at a time.
    #[must_use]
    pub fn drain(&self, limit: usize) -> Vec<Demand> {
        let tail = self.0[TAIL].load(Ordering::Acquire);
        let mut place = self.0[HEAD].load(Ordering::Relaxed);
        if tail.wrapping_sub(place) > ENTRIES as u64 {
            place = tail.wrapping_sub(ENTRIES as u64);
        }
        let mut demands = vec![];
        while place != tail && demands.len() < limit {
            demands.extend(self.read(place));
            place = place.wrapping_add(1);
        }
        self.0[HEAD].store(place, Ordering::Relaxed);
        demands
    }

    /// Read the demand at `place`, unless it is not whole yet or was overwritten.
    fn read(&self, place: u64) -> Option<Demand> {
        let entry = self.entry(place);
        // Acquire: partner of `push`.
        let word = entry[1].load(Ordering::Acquire);
        let need = entry[0].load(Ordering::Relaxed);
        // Partner of the fence in `push`.
        fence(Ordering::Acquire);
        if word >> PLACE << PLACE != stamp(place) || entry[1].load(Ordering::Relaxed) != word {
            return None;
        }
        let resource = Resource::from_number((word >> 32 & 15) as u8)?;
        Some(Demand { index: word as u32, resource, need })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn demand(index: u32) -> Demand {
        let all: Vec<Resource> = Resource::all().collect();
        Demand {
            index,
            resource: all[index as usize % all.len()],
            need: u64::MAX - u64::from(index),
        }
    }

    #[test]
    fn demands_come_out_once_and_in_order() {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let ring = DemandRing(&words);
        assert!(ring.drain(9).is_empty());
        (0..10).for_each(|i| ring.push(demand(i)));
        assert_eq!(ring.drain(4), [0, 1, 2, 3].map(demand));
        assert_eq!(ring.drain(100), [4, 5, 6, 7, 8, 9].map(demand));
        assert!(ring.drain(100).is_empty());
    }

    #[test]
    fn an_overrun_ring_keeps_the_newest_and_a_dead_writer_costs_its_own() {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let ring = DemandRing(&words);
        let many = ENTRIES as u32 * 2 + 5;
        (0..many).for_each(|i| ring.push(demand(i)));
        words[TAIL].fetch_add(1, Ordering::Relaxed); // a place taken, and never written
        ring.push(demand(7));
        let found = ring.drain(usize::MAX);
        assert_eq!(found.len(), ENTRIES - 1, "all that the ring holds but the unwritten one");
        assert_eq!(
            (found.first(), found.last()),
            (Some(&demand(many + 2 - ENTRIES as u32)), Some(&demand(7)))
        );
    }
}
