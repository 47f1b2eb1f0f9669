//! A scope's record: policy under a sequence word, then its meters and, for many hosts, its leases.
//! Each of the three begins a cache line, so that charging a scope neither evicts its policy nor
//! touches another scope.
//!
//! A writer makes the sequence odd, writes, and makes it even. A reader that meets an odd word, or
//! two different even ones, reads again, a bounded number of times; then the answer is *not ready*,
//! never a guess.

use crate::{
    calendar::Duration,
    lease::Lease,
    quota::{Limit, Limits, Quota, RATE_COUNT, RATES, RateSet, Resource},
    slot::NOBODY,
    sync::{AtomicU64, Ordering, SPINS, fence, spin_loop},
    units::NONE,
    verdict::Kind,
};

/// `status` of a scope in use.
pub const ACTIVE: u8 = 1;
/// `status` of a scope that refuses its keys.
pub const DISABLED: u8 = 3;

const LINE: usize = 8;
const SEQ: usize = 0;
const DIGEST: usize = 1; // to 4
const OWNERS: usize = 5; // team index << 32 | user index
// org index << 32 | endpoints << 16 | duration << 12 | kind << 8 | flags | status
const FACTS: usize = 6;
const EXPIRY: usize = 7;
const CAP: usize = 8;
const HEAP: usize = 9; // first word << 32 | words
const VERSION: usize = 10;
const LAST4: usize = 11; // limited rates << 32 | last four characters
const ID: usize = 12; // row id
const LIMITS: usize = 13; // tokens and burst of each rate
const METERS: usize = (LIMITS + 2 * RATE_COUNT).next_multiple_of(LINE); // a word for each rate
const MONEY: usize = METERS + RATE_COUNT;
const LEASES: usize = (MONEY + 1).next_multiple_of(LINE); // five words for each rate
const MONEY_GRANTED: usize = LEASES + 5 * RATE_COUNT;
const MONEY_DENIAL: usize = MONEY_GRANTED + 1;
/// Words of a record.
pub const RECORD_WORDS: usize = (MONEY_DENIAL + 1).next_multiple_of(LINE);

const STATUS: u64 = 15;
const HAS_MODELS: u64 = 1 << 4;
const HAS_IPS: u64 = 1 << 5;
const ENDPOINTS: u32 = 16;
/// The bits of the facts that are a scope's standing.
const STANDING: u64 = STATUS | HAS_MODELS | HAS_IPS | 0xffff << ENDPOINTS;

/// What a policy says, as read at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The sequence word it was read under.
    pub seq: u64,
    pub kind: Option<Kind>,
    pub duration: Duration,
    pub team: u32,
    pub user: u32,
    pub org: u32,
    pub standing: Standing,
    pub limits: Limits,
    pub cap: u64,
}

/// What decides whether a scope lets a request in at all: words of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    facts: u64,
    heap: u64,
    /// Unix milliseconds; [`NONE`] = never.
    pub expires_ms: u64,
}

impl Standing {
    /// The standing of an owner that a key does not have: it forbids nothing.
    pub const NOBODY: Self = Self { facts: ACTIVE as u64, heap: 0, expires_ms: NONE };

    /// Describe a scope whose lists of models and addresses, if any, lie at `heap`. No bit in
    /// `endpoints` = all endpoints.
    #[must_use]
    pub fn new(status: u8, endpoints: u16, has_models: bool, has_ips: bool) -> Self {
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        let facts = u64::from(status) & STATUS
            | flag(has_models, HAS_MODELS)
            | flag(has_ips, HAS_IPS)
            | u64::from(endpoints) << ENDPOINTS;
        Self { facts, ..Self::NOBODY }
    }

    #[must_use]
    pub fn with_status(self, status: u8) -> Self {
        Self { facts: self.facts & !STATUS | u64::from(status) & STATUS, ..self }
    }

    #[must_use]
    pub fn with_expiry(self, expires_ms: u64) -> Self {
        Self { expires_ms, ..self }
    }

    #[must_use]
    pub fn with_heap(self, (first, words): (u32, u32)) -> Self {
        Self { heap: u64::from(first) << 32 | u64::from(words), ..self }
    }

    #[must_use]
    pub fn status(self) -> u8 {
        (self.facts & STATUS) as u8
    }

    #[must_use]
    pub fn is_active(self) -> bool {
        self.facts & STATUS == u64::from(ACTIVE)
    }

    #[must_use]
    pub fn allows_endpoint(self, endpoint: u8) -> bool {
        let endpoints = self.facts >> ENDPOINTS & 0xffff;
        endpoints == 0 || endpoints >> endpoint & 1 == 1
    }

    #[must_use]
    pub fn has_models(self) -> bool {
        self.facts & HAS_MODELS != 0
    }

    #[must_use]
    pub fn has_ips(self) -> bool {
        self.facts & HAS_IPS != 0
    }

    /// Return where the lists lie in the heap: first word, and words.
    #[must_use]
    pub fn heap(self) -> (u32, u32) {
        ((self.heap >> 32) as u32, self.heap as u32)
    }
}

/// What a writer puts into a record; digest and row id never change once set.
#[derive(Clone, Copy, Debug)]
pub struct PolicyImage {
    pub version: u64,
    pub last4: [u8; 4],
    /// `seq` is not written.
    pub view: View,
}

/// One record of the arena.
#[derive(Clone, Copy)]
pub struct Record<'a>(pub &'a [AtomicU64; RECORD_WORDS]);

impl<'a> Record<'a> {
    fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    fn limit(self, rate: usize) -> Limit {
        let word = LIMITS + 2 * rate;
        Limit { tokens: self.get(word), burst: self.get(word + 1) }
    }

    /// Read the policy at one instant; `None` while it is being written for longer than a writer
    /// takes.
    #[must_use]
    pub fn view(self) -> Option<View> {
        for _ in 0..SPINS {
            // Acquire: partner of `end_write`.
            let seq = self.0[SEQ].load(Ordering::Acquire);
            if seq & 1 == 0 {
                let view = self.peek(seq);
                // Partner of the release fence in `begin_write`: words of a later write are only
                // read with a later sequence.
                fence(Ordering::Acquire);
                if self.get(SEQ) == seq {
                    return Some(view);
                }
            }
            spin_loop();
        }
        None
    }

    fn peek(self, seq: u64) -> View {
        let (owners, facts) = (self.get(OWNERS), self.get(FACTS));
        View {
            seq,
            kind: Kind::from_bits(facts >> 8 & 15),
            duration: Duration::from_bits(facts >> 12),
            org: (facts >> 32) as u32,
            team: (owners >> 32) as u32,
            user: owners as u32,
            standing: self.standing(),
            limits: Limits::with(
                std::array::from_fn(|rate| self.limit(rate)),
                RateSet::from_bits(self.get(LAST4) >> 32),
            ),
            cap: self.get(CAP),
        }
    }

    /// Read status, expiry, endpoints and lists alone, without the sequence. While a policy is
    /// being written, one word may be old and another new; an admission reads the whole [`View`]
    /// later.
    #[must_use]
    pub fn standing(self) -> Standing {
        Standing {
            facts: self.get(FACTS) & STANDING,
            heap: self.get(HEAP),
            expires_ms: self.get(EXPIRY),
        }
    }

    /// Read the quota of a rate alone, for debt: while it is being written, this may be the old
    /// one, the new one, or the limit of one with the burst of the other.
    #[must_use]
    pub fn quota(self, rate: usize) -> Quota {
        RATES[rate].quota(self.limit(rate))
    }

    /// Check that the policy is still the one read under `seq`.
    #[must_use]
    pub fn is_current(self, seq: u64) -> bool {
        // Acquire: partner of `begin_write` and `end_write`.
        self.0[SEQ].load(Ordering::Acquire) == seq
    }

    /// Make the sequence odd. True if it was odd already: a writer died in between, and what stands
    /// here is torn.
    #[must_use]
    pub fn begin_write(self) -> bool {
        let seq = self.0[SEQ].fetch_or(1, Ordering::Relaxed);
        // Partner of the acquire fence in `view`.
        fence(Ordering::Release);
        seq & 1 == 1
    }

    /// Make the sequence even again.
    pub fn end_write(self) {
        // Release: partner of `view` and `is_current`.
        self.0[SEQ].fetch_add(1, Ordering::Release);
    }

    /// Write the policy, between `begin_write` and `end_write`.
    pub fn write(self, image: &PolicyImage) {
        let View { standing, .. } = image.view;
        let view = &image.view;
        self.set(OWNERS, u64::from(view.team) << 32 | u64::from(view.user));
        let kind = view.kind.map_or(0, |kind| kind as u64);
        let facts = standing.facts | kind << 8 | (view.duration as u64) << 12;
        self.set(FACTS, facts | u64::from(view.org) << 32);
        self.set(EXPIRY, standing.expires_ms);
        self.set(CAP, view.cap);
        self.set(HEAP, standing.heap);
        self.set(VERSION, image.version);
        let limited = view.limits.limited().bits();
        self.set(LAST4, limited << 32 | u64::from(u32::from_le_bytes(image.last4)));
        for (rate, word) in (0..RATE_COUNT).zip((LIMITS..).step_by(2)) {
            let limit = view.limits.of(rate);
            self.set(word, limit.tokens);
            self.set(word + 1, limit.burst);
        }
    }

    /// Write what never changes, digest and row id, before the record is published.
    pub fn write_identity(self, digest: &[u8; 32], id: u64) {
        for (word, chunk) in (DIGEST..).zip(digest.as_chunks::<8>().0) {
            self.set(word, u64::from_le_bytes(*chunk));
        }
        self.set(ID, id);
    }

    #[must_use]
    pub fn digest(self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (chunk, word) in digest.as_chunks_mut::<8>().0.iter_mut().zip(DIGEST..) {
            *chunk = self.get(word).to_le_bytes();
        }
        digest
    }

    #[must_use]
    pub fn id(self) -> u64 {
        self.get(ID)
    }

    #[must_use]
    pub fn version(self) -> u64 {
        self.get(VERSION)
    }

    #[must_use]
    pub fn last4(self) -> [u8; 4] {
        (self.get(LAST4) as u32).to_le_bytes()
    }

    /// Return the word of a rate: a bucket's claim in units, or, where hosts share limits, the
    /// tokens claimed of its lease.
    #[must_use]
    pub fn meter(self, rate: usize) -> &'a AtomicU64 {
        &self.0[METERS + rate]
    }

    #[must_use]
    pub fn money(self) -> &'a AtomicU64 {
        &self.0[MONEY]
    }

    /// Return the lease whose claims are counted in [`Self::meter`].
    #[must_use]
    pub fn lease(self, rate: usize) -> Lease<'a> {
        let word = |at: usize| &self.0[LEASES + 5 * rate + at];
        Lease {
            claimed: self.meter(rate),
            granted: word(0),
            until: word(1),
            returned: word(2),
            note: word(3),
            denial: word(4),
        }
    }

    /// Return the nano-USD granted in one window, in the form of a money word.
    #[must_use]
    pub fn money_granted(self) -> &'a AtomicU64 {
        &self.0[MONEY_GRANTED]
    }

    /// Return the bank's last denial for a meter.
    #[must_use]
    pub fn denial(self, resource: Resource) -> &'a AtomicU64 {
        match resource {
            Resource::Rate(rate) => self.lease(usize::from(rate)).denial,
            Resource::Money => &self.0[MONEY_DENIAL],
        }
    }
}

impl View {
    /// Return the indices of the key's team, user and org.
    #[must_use]
    pub fn owners(&self) -> [u32; 3] {
        [self.team, self.user, self.org]
    }

    #[must_use]
    pub fn quota(&self, rate: usize) -> Quota {
        RATES[rate].quota(self.limits.of(rate))
    }
}

impl Default for View {
    fn default() -> Self {
        Self {
            seq: 0,
            kind: None,
            duration: Duration::Monthly,
            team: NOBODY,
            user: NOBODY,
            org: NOBODY,
            standing: Standing::NOBODY,
            limits: Limits::NONE,
            cap: NONE,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn words() -> [AtomicU64; RECORD_WORDS] {
        std::array::from_fn(|_| AtomicU64::new(0))
    }

    #[test]
    fn a_policy_reads_as_written() {
        let words = words();
        let record = Record(&words);
        let view = View {
            kind: Some(Kind::Key),
            duration: Duration::Weekly,
            team: 1,
            org: 2,
            standing: Standing::new(DISABLED, 0b101, false, true).with_expiry(9).with_heap((3, 4)),
            limits: Limits::new([(0, Limit { tokens: 60, burst: 5 })]),
            cap: 77,
            ..View::default()
        };
        assert!(!record.begin_write());
        assert_eq!(record.view(), None, "odd: not ready");
        record.write(&PolicyImage { version: 12, last4: *b"wxyz", view });
        record.end_write();
        assert_eq!(record.view(), Some(View { seq: 2, ..view }));
        assert_eq!((record.version(), &record.last4()), (12, b"wxyz"));
        assert!(view.quota(1).is_unlimited());
        let standing = view.standing;
        let expires_ms = standing.expires_ms;
        assert_eq!((standing.status(), expires_ms, standing.heap()), (DISABLED, 9, (3, 4)));
        assert_eq!([0, 1, 2].map(|e| standing.allows_endpoint(e)), [true, false, true]);
        assert!(standing.has_ips() && !standing.has_models() && !standing.is_active());
        assert!(standing.with_status(ACTIVE).is_active());
        assert!(record.is_current(2) && !record.is_current(0));
    }

    #[test]
    fn a_dead_writer_is_noticed() {
        let words = words();
        let record = Record(&words);
        assert!(!record.begin_write());
        assert!(record.begin_write());
        record.end_write();
        assert!(record.view().is_some());
    }

    /// A charged word shares its line with no policy, no lease and no other scope.
    #[test]
    fn meters_have_lines_of_their_own() {
        let lines = |words: std::ops::Range<usize>| words.start / LINE..=(words.end - 1) / LINE;
        let (policy, meters) = (lines(0..LIMITS + 2 * RATE_COUNT), lines(METERS..MONEY + 1));
        let leases = lines(LEASES..MONEY_DENIAL + 1);
        assert!(policy.end() < meters.start() && meters.end() < leases.start());
        assert!(RECORD_WORDS.is_multiple_of(LINE));
        let words = words();
        let all: std::collections::HashSet<_> = Resource::all()
            .map(|resource| std::ptr::from_ref(Record(&words).denial(resource)))
            .chain((0..RATE_COUNT).flat_map(|rate| {
                let lease = Record(&words).lease(rate);
                [lease.claimed, lease.granted, lease.until, lease.returned, lease.note]
                    .map(std::ptr::from_ref)
            }))
            .chain([Record(&words).money(), Record(&words).money_granted()].map(std::ptr::from_ref))
            .collect();
        assert_eq!(all.len(), 6 * RATE_COUNT + 3, "no two words are one");
    }
}
