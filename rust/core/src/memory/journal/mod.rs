//! One worker's tickets, in a file that outlives it: `header | counters | refusal tallies | slots`.
//!
//! The worker holds the file's lock for as long as it lives; who can take the lock knows that it is
//! dead. The drainer copies ended tickets into the ledger and frees their slots. There is no other
//! log.

mod recover;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{
    LAYOUT,
    error::{Error, Result},
    levels::Tickets,
    map::Map,
    refusal_count,
    slot::{Head, SLOT_WORDS, Slot, State},
    sync::{AtomicU64, Ordering},
    verdict::Code,
};

const MAGIC: u64 = u64::from_le_bytes(*b"NEMOJRNL");
const H_MAGIC: usize = 0;
const H_LAYOUT: usize = 1;
const H_ID: usize = 2;
const H_SLOTS: usize = 3;
const H_UPSTREAMS: usize = 4;
/// Tickets numbered so far, and those of them that were not admitted after all: the worker's line.
const H_SEQ: usize = 8;
const H_UNCLAIMED: usize = 9;
/// Numbers given to requests without a ticket.
const H_REQUESTS: usize = 10;
const H_COUNTS_DROPPED: usize = 11;
/// Tickets admitted and tickets ended, for the metrics: unlike a difference of the words above,
/// they never go back.
const H_ADMITTED: usize = 12;
const H_SETTLED: usize = 13;
/// Slots given back so far: the drainer's line.
const H_FREED: usize = 16;
/// Refusals by code.
const H_REFUSED: usize = 24;
const H_NAMES: usize = 64;
const NAME_WORDS: usize = 8;
/// Upstreams a journal can name.
pub const UPSTREAMS_MAX: usize = 32;
const HEADER_WORDS: usize = 512;
const FIRST_SLOT: usize = HEADER_WORDS + (refusal_count::WORDS).next_multiple_of(HEADER_WORDS);
/// Slots of one journal: a ticket keeps sixteen bits for its place.
pub const SLOTS_MAX: usize = 1 << 16;
/// Largest id of a journal: the ledger's columns are signed.
const ID_MAX: u64 = i64::MAX as u64;
/// Set in the number of a request that has no ticket.
const NO_TICKET: u64 = 1 << 47;
const _: () = assert!(H_NAMES + UPSTREAMS_MAX * NAME_WORDS <= HEADER_WORDS);

/// A journal, as its worker or the drainer sees it.
#[derive(Debug)]
pub struct Journal {
    map: Map,
    path: Option<PathBuf>,
    slots: usize,
    /// A random number of 63 bits.
    id: u64,
    /// Where the next search for a free slot begins.
    cursor: AtomicU64,
    /// The count of freed slots at which `cursor` last went back to the first slot.
    rewound: AtomicU64,
    /// Slots that `deferred` has listed.
    listed: Mutex<HashSet<(usize, u64)>>,
}

impl Journal {
    pub fn private(slots: usize, upstreams: &[String], id: u64) -> Result<Self> {
        Self::check(slots, upstreams, id)?;
        let map = Map::private(FIRST_SLOT + slots * SLOT_WORDS)?;
        Ok(Self::begin(map, None, slots, id, upstreams))
    }

    /// Create a locked file `<id, 16 hex digits>.journal` in `directory`, wholly allocated.
    pub fn create(directory: &Path, slots: usize, upstreams: &[String], id: u64) -> Result<Self> {
        Self::check(slots, upstreams, id)?;
        let path = directory.join(format!("{id:016x}.journal"));
        // Locked before it has its name, so that nobody takes it for a dead worker's.
        let unfinished = directory.join(format!("{id:016x}.new"));
        let words = FIRST_SLOT + slots * SLOT_WORDS;
        let map = Map::create(&unfinished, words)?;
        let made = map.ensure(0, words).and_then(|()| {
            let file =
                map.file().ok_or_else(|| Error::Value("a journal needs a file".to_owned()))?;
            file.try_lock().map_err(|error| {
                Error::Io(format!("lock {}", unfinished.display()), error.into())
            })?;
            let journal = Self::begin(map, Some(path.clone()), slots, id, upstreams);
            std::fs::rename(&unfinished, &path)
                .map_err(Error::io(format_args!("rename {}", unfinished.display())))?;
            Ok(journal)
        });
        if made.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        made
    }

    fn check(slots: usize, upstreams: &[String], id: u64) -> Result<()> {
        if id == 0 || id > ID_MAX {
            return Err(Error::Value(format!("{id} is no id of a journal: it has 63 bits")));
        }
        if slots == 0 || slots > SLOTS_MAX {
            return Err(Error::Value(format!("a journal has 1 to {SLOTS_MAX} slots, not {slots}")));
        }
        if upstreams.len() > UPSTREAMS_MAX
            || upstreams.iter().any(|name| name.len() >= NAME_WORDS * 8)
        {
            return Err(Error::Value(format!(
                "at most {UPSTREAMS_MAX} upstreams, with names of at most 63 bytes"
            )));
        }
        Ok(())
    }

    fn begin(map: Map, path: Option<PathBuf>, slots: usize, id: u64, upstreams: &[String]) -> Self {
        let words = map.words();
        let header = [
            (H_LAYOUT, LAYOUT),
            (H_ID, id),
            (H_SLOTS, slots as u64),
            (H_UPSTREAMS, upstreams.len() as u64),
        ];
        for (word, value) in header {
            words[word].store(value, Ordering::Relaxed);
        }
        for (i, name) in upstreams.iter().enumerate() {
            let mut bytes = [0; NAME_WORDS * 8];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            for (at, chunk) in (H_NAMES + i * NAME_WORDS..).zip(bytes.as_chunks::<8>().0) {
                words[at].store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
            }
        }
        words[H_MAGIC].store(MAGIC, Ordering::Release);
        Self::of(map, path, slots, id)
    }

    fn of(map: Map, path: Option<PathBuf>, slots: usize, id: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self { map, path, slots, id, cursor: zero(), rewound: zero(), listed: Mutex::default() }
    }

    /// Open a file, for the drainer.
    pub fn open(path: &Path) -> Result<Self> {
        let map = Map::open(path)?;
        let get = |word: usize| map.words()[word].load(Ordering::Acquire);
        let (slots, id) = (get(H_SLOTS) as usize, get(H_ID));
        if get(H_MAGIC) != MAGIC || get(H_LAYOUT) != LAYOUT {
            return Err(Error::Foreign(format!(
                "{} is not a journal of layout {LAYOUT}",
                path.display()
            )));
        }
        if slots == 0 || slots > SLOTS_MAX || map.words().len() != FIRST_SLOT + slots * SLOT_WORDS {
            return Err(Error::Foreign(format!("{} has the wrong size", path.display())));
        }
        if id == 0 || id > ID_MAX {
            return Err(Error::Foreign(format!("{} has an id of no journal", path.display())));
        }
        Ok(Self::of(map, Some(path.to_owned()), slots, id))
    }

    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.slots
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each().all(|slot| slot.head().state() == State::Free)
    }

    #[must_use]
    pub fn upstreams(&self) -> Vec<String> {
        let count = (self.word(H_UPSTREAMS).load(Ordering::Relaxed) as usize).min(UPSTREAMS_MAX);
        let name = |i: usize| {
            let words = &self.map.words()[H_NAMES + i * NAME_WORDS..H_NAMES + (i + 1) * NAME_WORDS];
            let bytes: Vec<u8> = words
                .iter()
                .flat_map(|w| w.load(Ordering::Relaxed).to_le_bytes())
                .take_while(|b| *b != 0)
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        (0..count).map(name).collect()
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.map.words()[at]
    }

    fn all(&self) -> &[[AtomicU64; SLOT_WORDS]] {
        self.map.words()[FIRST_SLOT..].as_chunks::<SLOT_WORDS>().0
    }

    #[must_use]
    pub fn slot(&self, at: usize) -> Option<Slot<'_>> {
        self.all().get(at).map(Slot)
    }

    pub fn each(&self) -> impl Iterator<Item = Slot<'_>> {
        self.all().iter().map(Slot)
    }

    /// List the slots that are not free, with their places. The scan ends after as many as are in
    /// use, so that an idle journal of thousands of slots costs nothing. A slot that is claimed
    /// while the scan runs may be left out; one that was claimed before it is not.
    pub fn used(&self) -> impl Iterator<Item = (usize, Head, Slot<'_>)> {
        // Every step counts itself after it freed a slot and before it claims one, and what gave
        // slots back is read first: `in_use` may be too large, never too small. Acquire: partner of
        // the releases of `claim`, `unclaim` and `free`.
        let returned = self.word(H_UNCLAIMED).load(Ordering::Acquire)
            + self.word(H_FREED).load(Ordering::Acquire);
        let in_use = self.word(H_SEQ).load(Ordering::Acquire).saturating_sub(returned);
        let slots = self.each().enumerate().map(|(at, slot)| (at, slot.head(), slot));
        slots
            .filter(|(_, head, _)| head.state() != State::Free)
            .take(usize::try_from(in_use).unwrap_or(usize::MAX))
    }

    pub fn count_refusal(&self, code: Code) {
        self.word(H_REFUSED + code as usize).fetch_add(1, Ordering::Relaxed);
    }

    /// Return all counters by name, cumulative.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        let get = |at: usize| self.word(at).load(Ordering::Relaxed);
        let mut all = vec![
            ("admitted".to_owned(), get(H_ADMITTED)),
            ("settled".to_owned(), get(H_SETTLED)),
            ("tallies_dropped".to_owned(), get(H_COUNTS_DROPPED)),
        ];
        all.extend(
            Code::ALL
                .iter()
                .map(|(code, name)| (format!("refused_{name}"), get(H_REFUSED + *code as usize))),
        );
        all
    }

    /// Count an admitted ticket.
    pub fn count_admitted(&self) {
        self.count(H_ADMITTED, 1);
    }

    /// Count a settled ticket.
    pub fn count_settled(&self) {
        self.count(H_SETTLED, 1);
    }

    /// Add to a counter. A journal has one writer at a time (its worker under the interpreter's
    /// lock, or the process that recovers it), so a store will do: it costs a tenth of an atomic
    /// addition. Two threads at once would lose a count of a statistic, and nothing else.
    fn count(&self, at: usize, more: u64) {
        let word = self.word(at);
        word.store(word.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Count a refusal of a known key.
    pub fn count_refusal_of(&self, key: u64, code: Code, minute: u64) {
        if !refusal_count::count(self.refusal_counts(), key, code, minute) {
            self.word(H_COUNTS_DROPPED).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn refusal_counts(&self) -> &[AtomicU64] {
        &self.map.words()[HEADER_WORDS..HEADER_WORDS + refusal_count::WORDS]
    }

    #[must_use]
    pub fn take_refusal_counts(&self, before_minute: u64) -> Vec<(u64, u64, u8, u64)> {
        refusal_count::take(self.refusal_counts(), before_minute)
    }

    /// Return a number that no ticket or other request of this journal has.
    #[must_use]
    pub fn next_request_number(&self) -> u64 {
        NO_TICKET | self.word(H_REQUESTS).fetch_add(1, Ordering::Relaxed)
    }

    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.each().filter(|slot| slot.head().state() == State::Free).count()
    }

    /// Claim a free slot. Returns its place and its ticket's number; `None` if there is none.
    pub fn claim(&self) -> Option<(usize, u64)> {
        // Acquire: partner of `free`.
        let freed = self.word(H_FREED).load(Ordering::Acquire);
        let seq = self.word(H_SEQ).fetch_add(1, Ordering::AcqRel) + 1;
        let returned = freed + self.word(H_UNCLAIMED).load(Ordering::Relaxed);
        if seq.saturating_sub(returned) <= self.slots as u64 {
            // After the drainer freed some, begin again at the first: few slots are then in use,
            // and they stay in the cache.
            if self.rewound.load(Ordering::Relaxed) != freed {
                self.rewound.store(freed, Ordering::Relaxed);
                self.cursor.store(0, Ordering::Relaxed);
            }
            // Two threads may begin at the same place: `claim` gives it to one.
            let start = self.cursor.load(Ordering::Relaxed) as usize;
            for at in (start..self.slots).chain(0..start.min(self.slots)) {
                if Slot(&self.all()[at]).claim(seq) {
                    self.cursor.store(at as u64 + 1, Ordering::Relaxed);
                    return Some((at, seq));
                }
            }
        }
        self.word(H_UNCLAIMED).fetch_add(1, Ordering::AcqRel);
        None
    }

    /// Give back a slot whose ticket was not admitted.
    pub fn unclaim(&self, at: usize, seq: u64) {
        if let Some(slot) = self.slot(at) {
            slot.become_state(seq, State::Free);
            self.word(H_UNCLAIMED).fetch_add(1, Ordering::AcqRel);
        }
    }

    /// List the ended tickets, lowest place first; [`Slot::fits_ledger`] says which can become
    /// rows.
    pub fn ended(&self) -> impl Iterator<Item = (usize, Head, Slot<'_>)> {
        self.used().filter(|(_, head, _)| head.state() == State::Applied)
    }

    /// Give slots back after their rows are in the ledger.
    pub fn free(&self, slots: impl Iterator<Item = usize>) {
        let freed = slots.filter(|at| self.slot(*at).is_some_and(Slot::free)).count();
        // Release: partner of `claim`.
        self.word(H_FREED).fetch_add(freed as u64, Ordering::AcqRel);
    }
}

impl Tickets for Journal {
    fn claim(&self) -> Option<(usize, u64)> {
        Self::claim(self)
    }

    fn slot(&self, at: usize) -> Option<Slot<'_>> {
        Self::slot(self, at)
    }

    fn unclaim(&self, at: usize, seq: u64) {
        Self::unclaim(self, at, seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ledger's columns are signed: such an id would stop the drainer of the whole host.
    #[test]
    fn an_id_of_more_than_63_bits_is_refused_when_made_and_when_opened() {
        for id in [0, 1 << 63, u64::MAX] {
            assert!(Journal::private(4, &[], id).is_err());
        }
        assert!(Journal::private(4, &[], ID_MAX).is_ok());
        let folder = std::env::temp_dir().join(format!("nemo-journal-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let made = Journal::create(&folder, 4, &[], 7).expect("room");
        let path = made.path().expect("a file").to_owned();
        assert!(Journal::open(&path).is_ok());
        made.word(H_ID).store(1 << 63, Ordering::Relaxed);
        assert!(matches!(Journal::open(&path), Err(Error::Foreign(_))));
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
