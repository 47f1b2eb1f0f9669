//! Prices by model, in the arena, each under its own sequence word; found by the name's hash.

use crate::{
    error::{Error, Result},
    model::{MODEL_WORDS, ModelName},
    sync::{AtomicU64, Ordering, SPINS, fence, spin_loop},
    units::{NONE, Price},
};

/// Places in the table; half of them may be used.
pub const PRICES: usize = 4_096;
const ENTRY: usize = 26;
pub const WORDS: usize = PRICES * ENTRY;

const SEQ: usize = 0;
const VERSION: usize = 1;
const INPUT: usize = 2; // NONE: no price is known
const CACHED: usize = 3;
const OUTPUT: usize = 4;
const REQUEST: usize = 5;
const MAX_OUTPUT: usize = 6;
const HASH: usize = 8; // 0: free
const NAME: usize = 9; // length, words
const _: () = assert!(NAME + 1 + MODEL_WORDS <= ENTRY);

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub price: Option<Price>,
    /// Output tokens reserved when the client states no maximum.
    pub max_output: u64,
}

impl Known {
    /// A model without a row.
    pub const UNKNOWN: Self = Self { price: None, max_output: 4_096 };
}

type Entry = [AtomicU64; ENTRY];

fn place<'a>(table: &'a [AtomicU64], model: &ModelName) -> Option<(&'a Entry, bool)> {
    let entries = table.as_chunks::<ENTRY>().0;
    let hash = model.hash();
    for probe in 0..PRICES {
        let entry = &entries[(hash as usize + probe) % PRICES];
        // Acquire: partner of `put`: the name was written before its hash.
        match entry[HASH].load(Ordering::Acquire) {
            0 => return Some((entry, false)),
            found if found == hash && ModelName::load(&entry[NAME..]) == *model => {
                return Some((entry, true));
            }
            _ => {}
        }
    }
    None
}

/// The model's price; `None` while somebody writes it for longer than a writer takes.
#[must_use]
pub fn find(table: &[AtomicU64], model: &ModelName) -> Option<Known> {
    let Some((entry, true)) = place(table, model) else {
        return Some(Known::UNKNOWN);
    };
    let get = |word: usize| entry[word].load(Ordering::Relaxed);
    for _ in 0..SPINS {
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
            fence(Ordering::Acquire);
            if get(SEQ) == seq {
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
    let full = || Error::Full(format!("the price table is full ({} models)", PRICES / 2));
    let (entry, found) = place(table, model).ok_or_else(full)?;
    let torn = entry[SEQ].load(Ordering::Relaxed) & 1 == 1;
    if found && !torn && version <= entry[VERSION].load(Ordering::Relaxed) {
        return Ok(());
    }
    if !found {
        if used.load(Ordering::Relaxed) as usize >= PRICES / 2 {
            return Err(full());
        }
        used.fetch_add(1, Ordering::Relaxed);
        model.store(&entry[NAME..]);
    }
    let seq = entry[SEQ].load(Ordering::Relaxed) | 1;
    entry[SEQ].store(seq, Ordering::Relaxed);
    fence(Ordering::Release);
    let price = known.price.unwrap_or(Price { input: NONE, ..Price::default() });
    let values =
        [version, price.input, price.cached, price.output, price.request, known.max_output];
    for (word, value) in (VERSION..).zip(values) {
        entry[word].store(value, Ordering::Relaxed);
    }
    entry[SEQ].store(seq + 1, Ordering::Release);
    entry[HASH].store(model.hash(), Ordering::Release);
    Ok(())
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
        (0..PRICES / 2).for_each(|i| put(i).expect("room"));
        assert!(put(PRICES).is_err());
    }
}
