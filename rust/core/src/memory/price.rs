//! Prices by model, in the arena, each under its own sequence word; found by the name's hash.

use crate::{
    error::{Error, Result},
    model::{MODEL_WORDS, ModelName},
    sync::{AtomicU64, Ordering, SPINS, fence, spin_loop},
    units::{NONE, Price},
};

/// Places in the table.
const PLACES: usize = 4_096;
/// Models that the table holds at most: half of its places, so that a search stays short.
pub const PRICES_MAX: usize = PLACES / 2;
const ENTRY: usize = 26;
pub const WORDS: usize = PLACES * ENTRY;

const SEQ: usize = 0;
const VERSION: usize = 1;
const INPUT: usize = 2; // NONE: no price is known
const CACHED: usize = 3;
const OUTPUT: usize = 4;
const REQUEST: usize = 5;
const MAX_OUTPUT: usize = 6;
const HASH: usize = 8; // or FREE, or REMOVED
const NAME: usize = 9; // length, words
const _: () = assert!(NAME + 1 + MODEL_WORDS <= ENTRY);

/// `HASH` of a place that was never taken: a search ends here. No name has this hash or the next.
const FREE: u64 = 0;
/// `HASH` of a place whose model was removed: a search goes on, and a new model may take it.
const REMOVED: u64 = 1;

pub use crate::units::Known;

type Entry = [AtomicU64; ENTRY];

/// What a search for a model found.
enum Place {
    /// The model's own place.
    Taken(usize),
    /// The first place that the model may take.
    Open(usize),
}

fn entry(table: &[AtomicU64], at: usize) -> &Entry {
    &table.as_chunks::<ENTRY>().0[at % PLACES]
}

/// Find the model's place, or the first that it may take; `None` if there is neither.
fn place(table: &[AtomicU64], model: &ModelName) -> Option<Place> {
    let hash = model.hash();
    let start = (hash % PLACES as u64) as usize;
    let mut open = None;
    for at in start..start + PLACES {
        let entry = entry(table, at);
        // Acquire: partner of `put`: the name was written before its hash.
        match entry[HASH].load(Ordering::Acquire) {
            FREE => return Some(Place::Open(open.unwrap_or(at))),
            REMOVED => open = open.or(Some(at)),
            found if found == hash && ModelName::load(&entry[NAME..]) == *model => {
                return Some(Place::Taken(at));
            }
            _ => {}
        }
    }
    open.map(Place::Open)
}

/// Return the model's price; `None` while it is being written for longer than a writer takes.
#[must_use]
pub fn find(table: &[AtomicU64], model: &ModelName) -> Option<Known> {
    for _ in 0..SPINS {
        let Some(Place::Taken(at)) = place(table, model) else {
            return Some(Known::UNKNOWN);
        };
        let entry = entry(table, at);
        let get = |word: usize| entry[word].load(Ordering::Relaxed);
        let seq = entry[SEQ].load(Ordering::Acquire);
        if seq & 1 == 0 {
            let price = Price {
                input: get(INPUT),
                cached: get(CACHED),
                output: get(OUTPUT),
                request: get(REQUEST),
            };
            let known = Known {
                price: (price.input != NONE).then_some(price),
                max_output: get(MAX_OUTPUT),
            };
            // The place may have been given to another model since it was found.
            let same = get(HASH) == model.hash() && ModelName::load(&entry[NAME..]) == *model;
            fence(Ordering::Acquire);
            if same && get(SEQ) == seq {
                return Some(known);
            }
        }
        spin_loop();
    }
    None
}

/// Write a price if its version is newer. One writer at a time.
pub fn put(
    table: &[AtomicU64],
    used: &AtomicU64,
    model: &ModelName,
    version: u64,
    known: Known,
) -> Result<()> {
    let full = || Error::Full(format!("the price table is full ({PRICES_MAX} models)"));
    let (at, found) = match place(table, model).ok_or_else(full)? {
        Place::Taken(at) => (at, true),
        Place::Open(at) => (at, false),
    };
    let entry = entry(table, at);
    let torn = entry[SEQ].load(Ordering::Relaxed) & 1 == 1;
    if found && !torn && version <= entry[VERSION].load(Ordering::Relaxed) {
        return Ok(());
    }
    if !found && used.load(Ordering::Relaxed) as usize >= PRICES_MAX {
        return Err(full());
    }
    let seq = begin_write(entry);
    if !found {
        used.fetch_add(1, Ordering::Relaxed);
        model.store(&entry[NAME..]);
    }
    let price = known.price.unwrap_or(Price { input: NONE, ..Price::default() });
    let values =
        [version, price.input, price.cached, price.output, price.request, known.max_output];
    for (word, value) in (VERSION..).zip(values) {
        entry[word].store(value, Ordering::Relaxed);
    }
    // Release: partner of `place`; the name is whole before its hash is seen.
    entry[HASH].store(model.hash(), Ordering::Release);
    entry[SEQ].store(seq + 1, Ordering::Release);
    Ok(())
}

/// Remove a model's price, so that another model may take its place. One writer at a time.
pub fn remove(table: &[AtomicU64], used: &AtomicU64, model: &ModelName) {
    let Some(Place::Taken(at)) = place(table, model) else {
        return;
    };
    let entry = entry(table, at);
    let seq = begin_write(entry);
    entry[HASH].store(REMOVED, Ordering::Relaxed);
    entry[SEQ].store(seq + 1, Ordering::Release);
    used.fetch_sub(1, Ordering::Relaxed);
    free_tail(table, at);
}

/// Free removed places before a free one: no search that passes them finds anything behind.
fn free_tail(table: &[AtomicU64], at: usize) {
    let hash = |at: usize| entry(table, at)[HASH].load(Ordering::Relaxed);
    let mut at = at + PLACES;
    while hash(at + 1) == FREE && hash(at) == REMOVED {
        entry(table, at)[HASH].store(FREE, Ordering::Relaxed);
        at -= 1;
    }
}

/// Make the entry's sequence odd. Returns it.
fn begin_write(entry: &Entry) -> u64 {
    let seq = entry[SEQ].load(Ordering::Relaxed) | 1;
    entry[SEQ].store(seq, Ordering::Relaxed);
    // Partner of the acquire fence in `find`.
    fence(Ordering::Release);
    seq
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_prices_replace_older_ones() {
        let table: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let used = AtomicU64::new(0);
        let model = ModelName::new("gpt-4o").expect("fits");
        assert_eq!(find(&table, &model), Some(Known::UNKNOWN));
        let known = Known { price: Some(Price { input: 5, ..Price::default() }), max_output: 7 };
        put(&table, &used, &model, 2, known).expect("room");
        put(&table, &used, &model, 1, Known::UNKNOWN).expect("ignored");
        assert_eq!(find(&table, &model), Some(known));
        put(&table, &used, &model, 3, Known::UNKNOWN).expect("room");
        assert_eq!(find(&table, &model), Some(Known::UNKNOWN));
        assert_eq!(used.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_table_says_when_it_is_full() {
        let table: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let used = AtomicU64::new(0);
        let put = |i: usize| {
            put(
                &table,
                &used,
                &ModelName::new(&format!("model-{i}")).expect("fits"),
                1,
                Known::UNKNOWN,
            )
        };
        (0..PRICES_MAX).for_each(|i| put(i).expect("room"));
        assert!(put(PRICES_MAX).is_err());
    }

    /// However many models came and went, the table holds as many as it says, finds each of them,
    /// and ends a search for an unknown one soon.
    #[test]
    fn a_removed_price_makes_room_for_another() {
        let table: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let used = AtomicU64::new(0);
        let name = |i: usize| ModelName::new(&format!("model-{i}")).expect("fits");
        let known = |i: usize| Known {
            price: Some(Price { input: i as u64, ..Price::default() }),
            max_output: 1,
        };
        for i in 0..3 * PRICES_MAX {
            if i >= PRICES_MAX {
                remove(&table, &used, &name(i - PRICES_MAX));
            }
            put(&table, &used, &name(i), 1, known(i)).expect("room");
        }
        assert_eq!(used.load(Ordering::Relaxed) as usize, PRICES_MAX);
        for i in 0..3 * PRICES_MAX {
            let there = if i < 2 * PRICES_MAX { Known::UNKNOWN } else { known(i) };
            assert_eq!(find(&table, &name(i)), Some(there), "{i}");
        }
        (0..3 * PRICES_MAX).for_each(|i| remove(&table, &used, &name(i)));
        assert!(
            table.as_chunks::<ENTRY>().0.iter().all(|e| e[HASH].load(Ordering::Relaxed) == FREE)
        );
        assert_eq!(used.load(Ordering::Relaxed), 0);
    }
}
