//! Every live scope of a host, in one mapping that all workers share.
//!
//! `header | prices | digest table | heap of blocks | records`. Sizes follow from the capacity; the file is sparse, and room is
//! allocated before it is touched. Policy is written by one process at a time (the caller holds the file lock); meters by all.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use crate::{
    LAYOUT, bucket,
    calendar::Tag,
    clock::Clock,
    error::{Error, Result},
    heap::Stored,
    map::Map,
    model::ModelName,
    money::{FREEZE, Money},
    policy::Policy,
    price::{self, Known},
    record::{Image, RECORD_WORDS, Record, View},
    recount::{Window, recount},
    slot::{NOBODY, Slot},
    sync::{AtomicU64, Ordering},
    table,
    units::NONE,
    verdict::Kind,
};

const MAGIC: u64 = u64::from_le_bytes(*b"NEMOARNA");
const HEADER_WORDS: usize = 512;
/// Heap words a scope may use on average.
const HEAP_PER_SCOPE: usize = 8;
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

/// Where the parts lie, in words.
#[derive(Clone, Copy, Debug)]
struct Plan {
    capacity: usize,
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
        let heap_words = (capacity * HEAP_PER_SCOPE).max(8_192);
        let table = (HEADER_WORDS + price::WORDS).next_multiple_of(HEADER_WORDS);
        let heap = table + table_words;
        let records = (heap + heap_words).next_multiple_of(HEADER_WORDS);
        Ok(Self { capacity, table, table_words, heap, heap_words, records, words: records + capacity * RECORD_WORDS })
    }
}

/// The mapping with its parts.
#[derive(Debug)]
pub struct Arena {
    map: Map,
    plan: Plan,
    path: Option<PathBuf>,
    writer: Mutex<()>,
    clock: RwLock<Clock>,
}

impl Arena {
    /// In private memory: one process, no file.
    pub fn private(capacity: usize) -> Result<Self> {
        let plan = Plan::new(capacity)?;
        Ok(Self::with(Map::private(plan.words)?, plan, None, &[0; 32]))
    }

    /// A new file, to be filled and then published.
    pub fn create(path: &Path, capacity: usize, identity: &[u8; 32]) -> Result<Self> {
        let plan = Plan::new(capacity)?;
        let map = Map::create(path, plan.words)?;
        map.ensure(0, plan.heap)?;
        Ok(Self::with(map, plan, Some(path.to_owned()), identity))
    }

    fn with(map: Map, plan: Plan, path: Option<PathBuf>, identity: &[u8; 32]) -> Self {
        let arena = Self { map, plan, path, writer: Mutex::new(()), clock: RwLock::new(Clock::System) };
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
        let header: Vec<u64> = map.words()[..16].iter().map(|w| w.load(Ordering::Relaxed)).collect();
        if header[H_MAGIC] != MAGIC {
            return Err(foreign("is not an arena"));
        }
        if header[H_LAYOUT] != LAYOUT {
            return Err(foreign(&format!("has layout {}, this program layout {LAYOUT}", header[H_LAYOUT])));
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
        Ok(Self { map, plan, path: Some(path.to_owned()), writer: Mutex::new(()), clock: RwLock::new(Clock::System) })
    }

    /// Give the file its name; from now on others may open it.
    pub fn publish(&self, path: &Path) -> Result<()> {
        let Some(from) = &self.path else {
            return Err(Error::Value("a private arena has no file".to_owned()));
        };
        self.set(H_PUBLISHED, 1);
        std::fs::rename(from, path).map_err(Error::io(format_args!("rename {} to {}", from.display(), path.display())))
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

    /// Read the time elsewhere: for tests, whose clock stands still.
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

    /// The blocks of a scope: name, models, addresses.
    #[must_use]
    pub fn block(&self, heap: (u32, u32)) -> Stored<'_> {
        let all = &self.map.words()[self.plan.heap..self.plan.heap + self.plan.heap_words];
        let (first, len) = (heap.0 as usize, heap.1 as usize);
        Stored(all.get(first..first.saturating_add(len)).unwrap_or_default())
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

    /// Index of the scope with this digest. The comparison takes the same time wherever two digests differ.
    #[must_use]
    pub fn find(&self, digest: &blake3::Hash) -> Option<u32> {
        table::find(self.table(), digest.as_bytes(), |index| {
            self.record(index).is_some_and(|record| blake3::Hash::from_bytes(record.digest()) == *digest)
        })
    }

    #[must_use]
    pub fn find_scope(&self, kind: Kind, id: u64) -> Option<u32> {
        self.find(&crate::digest::of_scope(kind as u8, id).into())
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // A panic while writing leaves an odd record, which the next write of it mends.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put_price(&self, model: &ModelName, version: u64, known: Known) -> Result<()> {
        let _guard = self.lock();
        price::put(self.prices(), self.word(H_PRICES), model, version, known)
    }

    /// Write a policy if it is newer than the record's; answer the scope's index.
    pub fn put(&self, policy: &Policy) -> Result<u32> {
        let _guard = self.lock();
        let digest = policy.table_digest()?;
        let (rpm, tpm) = policy.limits()?;
        let view = View {
            status: policy.status,
            kind: Some(policy.kind()?),
            duration: policy.duration()?,
            endpoints: policy.endpoints,
            team: self.owner(Kind::Team, policy.team, policy)?,
            user: self.owner(Kind::User, policy.user, policy)?,
            org: self.owner(Kind::Org, policy.org, policy)?,
            expires_ms: policy.expires_ms.unwrap_or(NONE),
            rpm,
            tpm,
            cap: policy.cap()?,
            has_models: !policy.models.is_empty(),
            has_ips: !policy.ips.is_empty(),
            ..View::default()
        };
        let block = policy.block()?.encode()?;
        let image = Image { version: policy.version, last4: policy.last4(), view };
        match self.find(&digest.into()) {
            Some(index) => self.replace(index, image, &block).map(|()| index),
            None => self.insert(&digest, policy.id, image, &block),
        }
    }

    fn owner(&self, kind: Kind, id: u64, policy: &Policy) -> Result<u32> {
        if id == 0 || policy.kind()? == kind {
            return Ok(NOBODY);
        }
        self.find_scope(kind, id)
            .ok_or_else(|| Error::Value(format!("the {kind:?} {id} of this scope is not in the arena")))
    }

    fn insert(&self, digest: &[u8; 32], id: u64, mut image: Image, block: &[u64]) -> Result<u32> {
        let index = self.get(H_SCOPES) as usize;
        if index >= self.plan.capacity {
            return Err(Error::Full(format!(
                "the arena holds {index} scopes, all it has room for; raise the capacity and restart"
            )));
        }
        self.room(H_RECORD_ROOM, self.plan.records, (index + 1) * RECORD_WORDS, self.plan.capacity * RECORD_WORDS)?;
        image.view.heap = self.store_block(block)?;
        let records = self.map.words()[self.plan.records..].as_chunks::<RECORD_WORDS>().0;
        let record = Record(&records[index]);
        let _ = record.begin_write();
        record.write_identity(digest, id);
        record.write(&image);
        let tag = Tag::at(image.view.duration, self.clock().wall_ms());
        record.money().store(Money::new(tag, 0).0, Ordering::Relaxed);
        record.end_write();
        // Release: partner of `scopes`; the record is whole before its index is given out.
        self.word(H_SCOPES).store(index as u64 + 1, Ordering::Release);
        table::insert(self.table(), digest, index as u32);
        Ok(index as u32)
    }

    fn replace(&self, index: u32, mut image: Image, block: &[u64]) -> Result<()> {
        let Some(record) = self.record(index) else {
            return Ok(());
        };
        let old = record.view();
        if old.is_some() && image.version <= record.version() {
            return Ok(());
        }
        image.view.heap = match old {
            Some(view) if self.holds(view.heap, block) => view.heap,
            _ => self.store_block(block)?,
        };
        let torn = record.begin_write();
        self.convert(record, old.filter(|_| !torn), &image.view);
        record.write(&image);
        record.end_write();
        Ok(())
    }

    /// Bring the meters under the new policy, while the record is being written. `old` is `None` if a writer died half-way: whether the
    /// words are of the old rate or the new is then not known, so they begin empty, which admits too little for a minute and never
    /// too much.
    fn convert(&self, record: Record, old: Option<View>, new: &View) {
        let now = bucket::Moment::new(self.clock().boot_us());
        let buckets =
            [(record.rpm(), old.map(|old| old.rpm), new.rpm), (record.tpm(), old.map(|old| old.tpm), new.tpm)];
        for (word, from, to) in buckets {
            match from {
                Some(from) if from.limit == to.limit => {}
                Some(from) => bucket::change(word, |claimed| from.convert(claimed, to, now)),
                None if to.is_unlimited() => {}
                None => bucket::change(word, |_| to.issued(now).saturating_add(to.burst)),
            }
        }
        if old.is_none_or(|old| old.duration != new.duration) {
            self.freeze_for(record, new);
        }
    }

    /// The word belongs to another kind of window now: nobody commits to it until it is recounted.
    fn freeze_for(&self, record: Record, view: &View) {
        let tag = Tag::at(view.duration, self.clock().wall_ms());
        record.money().store(FREEZE | Money::new(tag, 0).0, Ordering::Release);
    }

    fn holds(&self, heap: (u32, u32), block: &[u64]) -> bool {
        let stored = self.block(heap).0;
        stored.len() == block.len() && stored.iter().zip(block).all(|(a, b)| a.load(Ordering::Relaxed) == *b)
    }

    fn store_block(&self, block: &[u64]) -> Result<(u32, u32)> {
        let first = self.get(H_HEAP) as usize;
        if first + block.len() > self.plan.heap_words {
            return Err(Error::Full(
                "the arena's room for names and allow-lists is full; a restart packs it, a larger capacity widens it"
                    .to_owned(),
            ));
        }
        self.room(H_HEAP_ROOM, self.plan.heap, first + block.len(), self.plan.heap_words)?;
        for (at, word) in (self.plan.heap + first..).zip(block) {
            self.set(at, *word);
        }
        self.set(H_HEAP, (first + block.len()) as u64);
        Ok((first as u32, block.len() as u32))
    }

    /// Have room for the first `words` of a part that grows.
    fn room(&self, counter: usize, part: usize, words: usize, most: usize) -> Result<()> {
        let have = self.get(counter) as usize;
        if words <= have {
            return Ok(());
        }
        let want = words.next_multiple_of(STEP_WORDS).min(most);
        self.map.ensure(part + have, want - have)?;
        self.set(counter, want as u64);
        Ok(())
    }

    /// Indices of scopes whose money word waits for a recount.
    #[must_use]
    pub fn frozen(&self) -> Vec<u32> {
        let records = self.map.words()[self.plan.records..].as_chunks::<RECORD_WORDS>().0;
        let frozen = |index: &u32| Record(&records[*index as usize]).money().load(Ordering::Relaxed) & FREEZE != 0;
        (0..self.scopes()).filter(frozen).collect()
    }

    /// The budget window of a scope at `wall_ms`.
    #[must_use]
    pub fn window(&self, index: u32, wall_ms: u64) -> Option<Window> {
        let record = self.record(index)?;
        Some(Window::of(record, record.view()?.duration, wall_ms))
    }

    /// See [`crate::recount`]. `first_day` is that of the window which `ledger` sums.
    pub fn recount<'a>(&self, index: u32, first_day: u64, ledger: u64, slots: impl Iterator<Item = Slot<'a>>) -> bool {
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
