//! Every live scope of a host, in one mapping that all workers share.
//!
//! `header | prices | demand | digest table | heap of blocks | records`. Sizes follow from the
//! capacity; the file is sparse, and room is allocated before it is touched. Meters are written by
//! all; policy by one process at a time, in `write`.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock},
};

mod blocks;
mod cluster;
mod write;

use blocks::Gaps;

pub use cluster::LeaseView;

use crate::{
    LAYOUT, bucket,
    calendar::{Duration, Relation, Tag, Windows},
    clock::Clock,
    demand,
    error::{Error, Result},
    heap::BLOCK_WORDS_MAX,
    levels::{Leased, Level, Local},
    map::Map,
    model::ModelName,
    money::{FREEZE, Money},
    money_grant,
    price::{self, Known},
    quota::RATE_COUNT,
    record::{RECORD_WORDS, Record},
    recount::{Window, recount},
    slot::{NOBODY, Slot},
    sync::{AtomicU64, Ordering},
    table,
    verdict::Kind,
};

const MAGIC: u64 = u64::from_le_bytes(*b"NEMOARNA");
const HEADER_WORDS: usize = 512;
/// Heap words for each place of the capacity. The control plane lets a scope take a place for each
/// eight words of its block, so that half of the heap is always free: a block is written before the
/// one that it replaces is given up, and gaps do not always fit.
const HEAP_PER_PLACE: usize = 16;
/// Records and heap are allocated in steps of a megabyte.
const STEP_WORDS: usize = 1 << 17;

const H_MAGIC: usize = 0;
const H_LAYOUT: usize = 1;
const H_CAPACITY: usize = 2;
const H_IDENTITY: usize = 3; // to 6
const H_PUBLISHED: usize = 7;
const H_APPLIED: usize = 8;
const H_SCOPES: usize = 9;
const H_HEAP: usize = 10;
const H_PRICES: usize = 11;
const H_RECORD_ROOM: usize = 12;
const H_HEAP_ROOM: usize = 13;
/// A line of their own: every request looks at them.
const H_CLUSTERED: usize = 16;
const H_ADMIT_UNTIL: usize = 17;
/// See [`Arena::reuses`].
const H_REUSES: usize = 18;

/// What a scope has left, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meters {
    /// Requests or tokens, in the order of [`RATES`](crate::quota::RATES); `None` = no limit.
    pub remaining: [Option<i64>; RATE_COUNT],
    /// Nano-USD posted and reserved in the current window.
    pub committed: u64,
    /// Nano-USD; [`NONE`](crate::units::NONE) = no cap.
    pub cap: u64,
    pub duration: Duration,
    /// The money word waits for its recount.
    pub frozen: bool,
}

/// Where the parts lie, in words.
#[derive(Clone, Copy, Debug)]
struct Plan {
    capacity: usize,
    demand: usize,
    table: usize,
    table_words: usize,
    heap: usize,
    heap_words: usize,
    records: usize,
    words: usize,
}

impl Plan {
    fn new(capacity: usize) -> Result<Self> {
        if capacity == 0 || capacity >= NOBODY as usize {
            return Err(Error::Value(format!("a capacity of {capacity} scopes is not possible")));
        }
        let table_words = table::words_for(capacity);
        let heap_words = capacity * HEAP_PER_PLACE + 2 * BLOCK_WORDS_MAX;
        let demand = (HEADER_WORDS + price::WORDS).next_multiple_of(HEADER_WORDS);
        let table = (demand + demand::WORDS).next_multiple_of(HEADER_WORDS);
        let heap = table + table_words;
        let records = (heap + heap_words).next_multiple_of(HEADER_WORDS);
        Ok(Self {
            capacity,
            demand,
            table,
            table_words,
            heap,
            heap_words,
            records,
            words: records + capacity * RECORD_WORDS,
        })
    }
}

/// The mapping with its parts.
#[derive(Debug)]
pub struct Arena {
    map: Map,
    plan: Plan,
    path: Option<PathBuf>,
    writer: Mutex<Gaps>,
    clock: RwLock<Clock>,
    /// Whether hosts share limits, as the header says; a copy that every request reads.
    clustered: AtomicU64,
}

impl Arena {
    /// Make an arena in private memory, for one process.
    pub fn private(capacity: usize) -> Result<Self> {
        let plan = Plan::new(capacity)?;
        Ok(Self::with(Map::private(plan.words)?, plan, None, &[0; 32]))
    }

    /// Create a file, to be filled and then published.
    pub fn create(path: &Path, capacity: usize, identity: &[u8; 32]) -> Result<Self> {
        let plan = Plan::new(capacity)?;
        let map = Map::create(path, plan.words)?;
        map.ensure(0, plan.heap)?;
        Ok(Self::with(map, plan, Some(path.to_owned()), identity))
    }

    fn with(map: Map, plan: Plan, path: Option<PathBuf>, identity: &[u8; 32]) -> Self {
        let arena = Self::of(map, plan, path);
        arena.set(H_MAGIC, MAGIC);
        arena.set(H_LAYOUT, LAYOUT);
        arena.set(H_CAPACITY, plan.capacity as u64);
        for (word, chunk) in (H_IDENTITY..).zip(identity.as_chunks::<8>().0) {
            arena.set(word, u64::from_le_bytes(*chunk));
        }
        arena
    }

    /// Map a published arena of this layout and identity.
    pub fn open(path: &Path, identity: &[u8; 32]) -> Result<Self> {
        let map = Map::open(path)?;
        let foreign = |why: &str| Error::Foreign(format!("{} {why}", path.display()));
        let header: Vec<u64> =
            map.words()[..16].iter().map(|w| w.load(Ordering::Relaxed)).collect();
        if header[H_MAGIC] != MAGIC {
            return Err(foreign("is not an arena"));
        }
        if header[H_LAYOUT] != LAYOUT {
            return Err(foreign(&format!(
                "has layout {}, this program layout {LAYOUT}",
                header[H_LAYOUT]
            )));
        }
        if header[H_PUBLISHED] != 1 {
            return Err(foreign("was not finished"));
        }
        let theirs = header[H_IDENTITY..H_IDENTITY + 4].iter().flat_map(|w| w.to_le_bytes());
        if !theirs.eq(identity.iter().copied()) {
            return Err(foreign("is of another boot, data directory, pepper set or capacity"));
        }
        let plan = Plan::new(header[H_CAPACITY] as usize)?;
        if map.words().len() != plan.words || header[H_SCOPES] as usize > plan.capacity {
            return Err(foreign("has the wrong size"));
        }
        Ok(Self::of(map, plan, Some(path.to_owned())))
    }

    fn of(map: Map, plan: Plan, path: Option<PathBuf>) -> Self {
        let clustered = AtomicU64::new(map.words()[H_CLUSTERED].load(Ordering::Relaxed));
        Self {
            map,
            plan,
            path,
            writer: Mutex::default(),
            clock: RwLock::new(Clock::System),
            clustered,
        }
    }

    /// Give the file its name. From now on other processes may open it.
    pub fn publish(&self, path: &Path) -> Result<()> {
        let Some(from) = &self.path else {
            return Err(Error::Value("a private arena has no file".to_owned()));
        };
        self.set(H_PUBLISHED, 1);
        std::fs::rename(from, path).map_err(Error::io(format_args!(
            "rename {} to {}",
            from.display(),
            path.display()
        )))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.map.words()[at]
    }

    fn get(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Relaxed)
    }

    fn set(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Relaxed);
    }

    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Set the clock: a test has one that stands still.
    pub fn set_clock(&self, clock: Clock) {
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    #[must_use]
    pub fn applied(&self) -> u64 {
        self.word(H_APPLIED).load(Ordering::Acquire)
    }

    pub fn set_applied(&self, sequence: u64) {
        self.word(H_APPLIED).store(sequence, Ordering::Release);
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.plan.capacity
    }

    #[must_use]
    pub fn scopes(&self) -> u32 {
        self.word(H_SCOPES).load(Ordering::Acquire) as u32
    }

    #[must_use]
    pub fn record(&self, index: u32) -> Option<Record<'_>> {
        let records = self.map.words()[self.plan.records..].as_chunks::<RECORD_WORDS>().0;
        (index < self.scopes()).then(|| Record(&records[index as usize]))
    }

    fn table(&self) -> &[AtomicU64] {
        &self.map.words()[self.plan.table..self.plan.table + self.plan.table_words]
    }

    fn prices(&self) -> &[AtomicU64] {
        &self.map.words()[HEADER_WORDS..HEADER_WORDS + price::WORDS]
    }

    #[must_use]
    pub fn price(&self, model: &ModelName) -> Option<Known> {
        price::find(self.prices(), model)
    }

    /// Return the index of the scope with this digest. The comparison takes the same time wherever
    /// two digests differ.
    #[must_use]
    pub fn find(&self, digest: &blake3::Hash) -> Option<u32> {
        table::find(self.table(), digest.as_bytes(), |index| {
            self.record(index)
                .is_some_and(|record| blake3::Hash::from_bytes(record.digest()) == *digest)
        })
    }

    #[must_use]
    pub fn find_scope(&self, kind: Kind, id: u64) -> Option<u32> {
        self.find(&crate::digest::of_scope(kind as u8, id).into())
    }

    /// List the indices of scopes whose money word waits for a recount.
    #[must_use]
    pub fn frozen(&self) -> Vec<u32> {
        let records = self.map.words()[self.plan.records..].as_chunks::<RECORD_WORDS>().0;
        let frozen = |index: &u32| {
            Record(&records[*index as usize]).money().load(Ordering::Relaxed) & FREEZE != 0
        };
        (0..self.scopes()).filter(frozen).collect()
    }

    /// Roll over the words of idle scopes: money words go to the current window, since a tag names
    /// its window modulo 128, and buckets that have long been full come to now (see
    /// [`bucket::settle_down`]). The drainer calls this every few minutes.
    pub fn roll_over(&self, wall_ms: u64) {
        let (windows, now_us) = (Windows::at(wall_ms), self.clock().boot_us());
        for record in (0..self.scopes()).filter_map(|index| self.record(index)) {
            let Some(view) = record.view() else { continue };
            if self.clustered() {
                money_grant::roll_over(record.money_granted(), windows.tag(view.duration));
            } else {
                for rate in 0..RATE_COUNT {
                    bucket::settle_down(record.meter(rate), view.quota(rate), now_us);
                }
            }
            let (now, seen) = (windows.tag(view.duration), record.money().load(Ordering::Acquire));
            if !Money(seen).is_frozen() && Money(seen).tag().relation(now) == Relation::Stale {
                // A swap that fails met an admission.
                let next = Money::new(now, 0).0;
                let _ = record.money().compare_exchange(
                    seen,
                    next,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            }
        }
    }

    /// Read the meters of a scope at one instant of both clocks.
    pub fn meters(&self, index: u32, boot_us: u64, wall_ms: u64) -> Result<Meters> {
        let (record, view) = self.record_and_view(index)?;
        let level = Level { record, view, index };
        let money = Money(record.money().load(Ordering::Acquire));
        let left = |rate| {
            let metered = level.metered(rate);
            if metered.quota.is_unlimited() {
                return None;
            }
            let found = match self.terms() {
                None => metered.tightest(Local, boot_us),
                Some(terms) => metered.tightest(Leased(terms), boot_us),
            };
            Some(found.remaining)
        };
        Ok(Meters {
            remaining: std::array::from_fn(left),
            committed: money.committed(Tag::at(view.duration, wall_ms)),
            cap: view.cap,
            duration: view.duration,
            frozen: money.is_frozen(),
        })
    }

    /// Return the budget window of a scope at `wall_ms`.
    #[must_use]
    pub fn window(&self, index: u32, wall_ms: u64) -> Option<Window> {
        let record = self.record(index)?;
        Some(Window::of(record, record.view()?.duration, wall_ms))
    }

    /// Recount the money word of a scope (see [`crate::recount`]). `first_day` is that of the
    /// window that `ledger` sums. False: the recount is still due.
    pub fn recount<'a>(
        &self,
        index: u32,
        first_day: u64,
        ledger: u64,
        slots: impl Iterator<Item = Slot<'a>>,
    ) -> bool {
        let Some(record) = self.record(index) else {
            return true;
        };
        let Some(view) = record.view() else {
            return false;
        };
        let ordinal = view.duration.ordinal(first_day * crate::calendar::DAY_MS);
        recount(record, index, Window { duration: view.duration, ordinal }, ledger, slots)
    }
}
