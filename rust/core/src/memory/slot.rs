//! A ticket is a slot: what a request reserved, and how it ended, from before any meter moves until
//! the row is in the ledger.
//!
//! ```text
//! Free ── claim ──▶ Intent ── admitted ──▶ Admitted ── close ──▶ Closing ── settled ──▶ Settled
//!                     └──── refused ────▶ Free
//! Settled ──┬──▶ Applied ── free ──▶ Free
//!           └──▶ Deferred ── finish_deferred ──▶ Applied
//! ```
//!
//! *Settled* is the moment that counts: from then on the row is true whatever dies. *Applied* says
//! that the meters are corrected, *Deferred* that they wait for a recount. Only the drainer frees,
//! and only what is in the ledger.

use crate::{
    calendar::Tag,
    model::ModelName,
    quota::{RATE_COUNT, RateSet},
    sync::{AtomicU64, Ordering},
    units::{AMOUNT_MAX, NONE, Price, TOKENS_MAX},
};

/// Words of a slot: 512 bytes, of which 320 are used, five lines; the last two hold the model's
/// name. A slot is a sector, so a power cut leaves none of them half old: the row's id in the store
/// is what the slot says, and must not change under its sequence number.
pub const SLOT_WORDS: usize = 64;
/// The last millisecond that a row can be of: the end of the year 9999.
pub const LAST_MS: u64 = 253_402_300_799_999;
/// No such owner.
pub const NOBODY: u32 = u32::MAX;
/// Scopes a ticket is charged to, in the order of the checks: key, team, user, org.
pub const SCOPES: usize = 4;

const WORD0: usize = 0;
const INDICES: usize = 1; // and 2
const TAGS: usize = 3;
const RESERVED_INPUT: usize = 4;
const RESERVED_OUTPUT: usize = 5;
const RESERVED_NANO: usize = 6;
const META: usize = 7;
const AT: usize = 8;
const IDS: usize = 9; // to 12
const INPUT: usize = 13;
const CACHED: usize = 14;
const OUTPUT: usize = 15;
const COST: usize = 16;
const TIMES: usize = 17;
const ENDED: usize = 18;
const PRICES: usize = 19; // to 22
const CHARGED: usize = 23;
const MODEL: usize = 24;

/// Life of a slot, in the low eight bits of its first word; the rest is the ticket's sequence
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Free = 0,
    Intent = 1,
    Admitted = 2,
    Closing = 3,
    Settled = 4,
    Deferred = 5,
    Applied = 6,
}

/// First word of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head(pub u64);

impl Head {
    #[must_use]
    pub fn new(seq: u64, state: State) -> Self {
        Self((seq << 8) | state as u64)
    }

    #[must_use]
    pub fn seq(self) -> u64 {
        self.0 >> 8
    }

    /// Read the state. One that no program of this layout writes counts as free: a torn file loses
    /// that slot, it does not stop the rest.
    #[must_use]
    pub fn state(self) -> State {
        match self.0 & 255 {
            1 => State::Intent,
            2 => State::Admitted,
            3 => State::Closing,
            4 => State::Settled,
            5 => State::Deferred,
            6 => State::Applied,
            _ => State::Free,
        }
    }
}

/// What an admission reserves.
#[derive(Clone, Copy, Debug)]
pub struct Intent<'a> {
    /// Arena indices of key, team, user, org; [`NOBODY`] for a missing user.
    pub indices: [u32; SCOPES],
    /// Row ids of the same.
    pub ids: [u64; SCOPES],
    pub tags: [Tag; SCOPES],
    pub at_ms: u64,
    pub input: u64,
    pub output: u64,
    pub nano: u64,
    pub meta: Meta,
    pub charged: Charged,
    pub price: Price,
    pub model: &'a ModelName,
}

/// The small facts of a ticket, packed in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub endpoint: u8,
    pub upstream: u8,
    pub stream: bool,
    pub priced: bool,
    /// Requests or images that carry the price's `request` part.
    pub units: u32,
}

impl Meta {
    fn pack(self) -> u64 {
        u64::from(self.endpoint)
            | u64::from(self.upstream) << 8
            | u64::from(self.stream) << 16
            | u64::from(self.priced) << 17
            | u64::from(self.units) << 32
    }

    fn unpack(word: u64) -> Self {
        Self {
            endpoint: word as u8,
            upstream: (word >> 8) as u8,
            stream: word >> 16 & 1 == 1,
            priced: word >> 17 & 1 == 1,
            units: (word >> 32) as u32,
        }
    }
}

/// The rate limits that count tokens and were charged: a bit for each scope and rate. A limit that
/// a policy gained or lost since the admission is left alone at the settlement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged(u64);

const _: () = assert!(SCOPES * RATE_COUNT <= 64);

impl Charged {
    pub fn add(&mut self, scope: usize, rates: RateSet) {
        self.0 |= rates.bits() << (scope * RATE_COUNT);
    }

    /// Return the rates of a scope that were charged.
    #[must_use]
    pub fn of(self, scope: usize) -> RateSet {
        RateSet::from_bits(self.0 >> (scope * RATE_COUNT))
    }
}

/// How a ticket ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    pub input: u64,
    pub cached: u64,
    pub output: u64,
    pub cost: u64,
    pub status: u16,
    pub outcome: u8,
    pub latency_us: u64,
    /// [`NONE`] = no token was seen.
    pub ttft_us: u64,
}

/// One slot of a journal.
#[derive(Clone, Copy)]
pub struct Slot<'a>(pub &'a [AtomicU64; SLOT_WORDS]);

impl Slot<'_> {
    fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    #[must_use]
    pub fn head(self) -> Head {
        // Acquire: partner of every release of the head, so that the words written before a state
        // are seen with it.
        Head(self.0[WORD0].load(Ordering::Acquire))
    }

    /// Go from `from` to `state`; false if somebody else did first. Acquire/release: see `head`.
    fn step(self, from: Head, state: State) -> bool {
        let to = Head::new(from.seq(), state);
        self.0[WORD0].compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Become this state; only for the owner of the transition. Release: partner of `head`.
    pub fn become_state(self, seq: u64, state: State) {
        self.0[WORD0].store(Head::new(seq, state).0, Ordering::Release);
    }

    /// Go from Free to Intent, under a new sequence number.
    #[must_use]
    pub fn claim(self, seq: u64) -> bool {
        let seen = self.head();
        let next = Head::new(seq, State::Intent);
        seen.state() == State::Free
            && self.0[WORD0]
                .compare_exchange(seen.0, next.0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Write the ticket's scopes and what it reserves; the state is `Intent`.
    pub fn write(self, intent: &Intent) {
        let [key, team, user, org] = intent.indices.map(u64::from);
        self.set(INDICES, key << 32 | team);
        self.set(INDICES + 1, user << 32 | org);
        self.set(RESERVED_INPUT, intent.input);
        self.set(RESERVED_OUTPUT, intent.output);
        self.set(RESERVED_NANO, intent.nano);
        for (word, id) in (IDS..).zip(intent.ids) {
            self.set(word, id);
        }
        let Price { input, cached, output, request } = intent.price;
        for (word, price) in (PRICES..).zip([input, cached, output, request]) {
            self.set(word, price);
        }
        intent.model.store(&self.0[MODEL..]);
        self.set(AT, intent.at_ms);
        self.set(META, intent.meta.pack());
        self.set(CHARGED, intent.charged.0);
        let [key, team, user, org] = intent.tags.map(|tag| u64::from(tag.0));
        self.set(TAGS, key | team << 16 | user << 32 | org << 48);
    }

    /// Go from Admitted to Closing: true for the one caller that may end this ticket.
    #[must_use]
    pub fn close(self, seq: u64) -> bool {
        self.step(Head::new(seq, State::Admitted), State::Closing)
    }

    /// Go from Closing to Settled, with the true usage.
    pub fn settle(self, seq: u64, end: &End) {
        self.set(INPUT, end.input);
        self.set(CACHED, end.cached);
        self.set(OUTPUT, end.output);
        self.set(COST, end.cost);
        let ttft = end.ttft_us.min(u64::from(u32::MAX));
        self.set(TIMES, end.latency_us.min(u64::from(u32::MAX)) | ttft << 32);
        self.set(ENDED, u64::from(end.status) | u64::from(end.outcome) << 16);
        self.become_state(seq, State::Settled);
    }

    /// Go from Deferred to Applied, after the scopes were recounted.
    #[must_use]
    pub fn finish_deferred(self, seq: u64) -> bool {
        self.step(Head::new(seq, State::Deferred), State::Applied)
    }

    /// Go from Applied to Free, after the row is in the ledger.
    #[must_use]
    pub fn free(self) -> bool {
        let head = self.head();
        head.state() == State::Applied && self.step(head, State::Free)
    }

    #[must_use]
    pub fn indices(self) -> [u32; SCOPES] {
        let (a, b) = (self.get(INDICES), self.get(INDICES + 1));
        [(a >> 32) as u32, a as u32, (b >> 32) as u32, b as u32]
    }

    #[must_use]
    pub fn ids(self) -> [u64; SCOPES] {
        [self.get(IDS), self.get(IDS + 1), self.get(IDS + 2), self.get(IDS + 3)]
    }

    #[must_use]
    pub fn tag(self, scope: usize) -> Tag {
        Tag((self.get(TAGS) >> (16 * scope)) as u16 & 511)
    }

    /// Book the ticket's part of `scope` into another window: a recount does so under the freeze
    /// bit.
    pub fn retag(self, scope: usize, tag: Tag) {
        let shift = 16 * scope;
        let word = &self.0[TAGS];
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let next = (seen & !(0xffff << shift)) | u64::from(tag.0) << shift;
            // Relaxed: the recount's release of the money word publishes it to `money::reconcile`.
            match word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    #[must_use]
    pub fn at_ms(self) -> u64 {
        self.get(AT)
    }

    #[must_use]
    pub fn reserved_input(self) -> u64 {
        self.get(RESERVED_INPUT)
    }

    #[must_use]
    pub fn reserved_output(self) -> u64 {
        self.get(RESERVED_OUTPUT)
    }

    #[must_use]
    pub fn reserved_nano(self) -> u64 {
        self.get(RESERVED_NANO)
    }

    #[must_use]
    pub fn meta(self) -> Meta {
        Meta::unpack(self.get(META))
    }

    #[must_use]
    pub fn charged(self) -> Charged {
        Charged(self.get(CHARGED))
    }

    #[must_use]
    pub fn price(self) -> Price {
        Price {
            input: self.get(PRICES),
            cached: self.get(PRICES + 1),
            output: self.get(PRICES + 2),
            request: self.get(PRICES + 3),
        }
    }

    #[must_use]
    pub fn cost(self) -> u64 {
        self.get(COST)
    }

    #[must_use]
    pub fn model(self) -> ModelName {
        ModelName::load(&self.0[MODEL..])
    }

    /// Check that the ledger can hold the ticket's row. A program of this layout writes no other; a
    /// corrupt file may hold any number, and one row must not stop the rows of all workers.
    #[must_use]
    pub fn fits_ledger(self) -> bool {
        let end = self.end();
        let fits = |words: &[u64], most: u64| words.iter().all(|word| *word <= most);
        fits(&self.ids(), i64::MAX as u64)
            && fits(&[self.at_ms()], LAST_MS)
            && fits(&[end.input, end.cached, end.output], TOKENS_MAX)
            && fits(&[end.cost, self.reserved_nano()], AMOUNT_MAX)
    }

    #[must_use]
    pub fn end(self) -> End {
        let (times, ended) = (self.get(TIMES), self.get(ENDED));
        let ttft = times >> 32;
        End {
            input: self.get(INPUT),
            cached: self.get(CACHED),
            output: self.get(OUTPUT),
            cost: self.get(COST),
            status: ended as u16,
            outcome: (ended >> 16) as u8,
            latency_us: times & u64::from(u32::MAX),
            ttft_us: if ttft == u64::from(u32::MAX) { NONE } else { ttft },
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn words() -> [AtomicU64; SLOT_WORDS] {
        std::array::from_fn(|_| AtomicU64::new(0))
    }

    #[test]
    fn a_ticket_ends_once() {
        let words = words();
        let slot = Slot(&words);
        assert!(slot.claim(7));
        assert!(!slot.claim(8));
        slot.become_state(7, State::Admitted);
        assert!(!slot.close(6), "another ticket's number");
        assert!(slot.close(7));
        assert!(!slot.close(7));
        slot.settle(7, &End { cost: 5, ttft_us: NONE, ..End::default() });
        assert!(!slot.free(), "not before the meters are corrected");
        slot.become_state(7, State::Applied);
        assert_eq!((slot.end().cost, slot.end().ttft_us), (5, NONE));
        assert!(slot.free());
        assert!(slot.claim(8));
    }

    #[test]
    fn meta_and_tags_keep_to_their_bits() {
        let meta = Meta { endpoint: 6, upstream: 255, stream: true, priced: true, units: u32::MAX };
        assert_eq!(Meta::unpack(meta.pack()), meta);
        let mut charged = Charged::default();
        charged.add(2, RateSet::TOKENS);
        let words = words();
        let slot = Slot(&words);
        slot.write(&Intent {
            indices: [1, 2, NOBODY, 3],
            ids: [4, 5, 0, 6],
            tags: [Tag(511), Tag(1), Tag(2), Tag(3)],
            at_ms: 1,
            input: 0,
            output: 0,
            nano: 0,
            meta,
            charged,
            price: Price::default(),
            model: &ModelName::new("m").expect("fits"),
        });
        assert_eq!((slot.meta(), slot.indices()), (meta, [1, 2, NOBODY, 3]));
        assert_eq!(
            (slot.charged().of(2), slot.charged().of(1)),
            (RateSet::TOKENS, RateSet::default())
        );
        slot.retag(1, Tag(500));
        assert_eq!([0, 1, 2, 3].map(|s| slot.tag(s).0), [511, 500, 2, 3]);
    }

    #[test]
    fn a_row_that_the_ledger_cannot_hold_is_known() {
        let words = words();
        let slot = Slot(&words);
        assert!(slot.fits_ledger());
        let most = [
            (IDS, i64::MAX as u64),
            (IDS + 3, i64::MAX as u64),
            (AT, LAST_MS),
            (INPUT, TOKENS_MAX),
            (CACHED, TOKENS_MAX),
            (OUTPUT, TOKENS_MAX),
            (COST, AMOUNT_MAX),
            (RESERVED_NANO, AMOUNT_MAX),
        ];
        for (word, most) in most {
            words[word].store(most, Ordering::Relaxed);
            assert!(slot.fits_ledger(), "word {word}");
            words[word].store(most + 1, Ordering::Relaxed);
            assert!(!slot.fits_ledger(), "word {word}");
            words[word].store(0, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_unknown_state_is_a_free_slot() {
        assert_eq!(Head(0xff).state(), State::Free);
    }
}
