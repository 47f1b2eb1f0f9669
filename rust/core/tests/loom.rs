//! Every interleaving of two or three threads on the shared words, within the pre-emption bound
//! that the Makefile sets (`LOOM_MAX_PREEMPTIONS`). Each test names the defence that it holds up.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::{sync::Arc, thread};
use nemorouter_core::{
    bucket::{self, Limit},
    calendar::{Duration, Tag, Windows},
    levels::{Cost, Level, Levels, correct},
    model::ModelName,
    money::{self, Money},
    record::{Image, RECORD_WORDS, Record, View},
    recount::{Window, recount},
    slot::{End, Intent, Meta, NOBODY, SLOT_WORDS, Slot, State},
    sync::{AtomicU64, Ordering},
    units::{NONE, Price},
    verdict::Kind,
};

const NOW: u64 = 60_000_000;
const DAY: u64 = 20_000;
const AT_MS: u64 = DAY * 86_400_000;

fn view(cap: u64, tpm: u64) -> View {
    let tpm = Limit { limit: tpm, burst: tpm };
    View { kind: Some(Kind::Key), duration: Duration::Daily, cap, tpm, ..View::default() }
}

struct World {
    record: [AtomicU64; RECORD_WORDS],
    slots: [[AtomicU64; SLOT_WORDS]; 2],
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl World {
    /// One scope with a daily cap and a TPM limit.
    fn new(cap: u64, tpm: u64) -> Arc<Self> {
        let world = Self { record: zeros(), slots: [zeros(), zeros()] };
        world.put(cap, tpm);
        Arc::new(world)
    }

    fn record(&self) -> Record<'_> {
        Record(&self.record)
    }

    fn slot(&self, at: usize) -> Slot<'_> {
        Slot(&self.slots[at])
    }

    fn put(&self, cap: u64, tpm: u64) {
        let record = self.record();
        let old = record.view();
        let view = view(cap, tpm);
        assert!(!record.begin_write());
        if let Some(old) = old.filter(|old| old.seq > 0 && old.tpm != view.tpm) {
            bucket::change(record.tpm(), |c| old.tpm.convert(c, view.tpm, NOW));
        }
        record.write(&Image { version: 1, last4: [0; 4], view });
        record.end_write();
    }

    /// As the gate does it: check, claim, write the intent, take, admitted. False: refused or
    /// stepped back.
    fn admit(&self, at: usize, nano: u64, tokens: u64) -> bool {
        let Some(view) = self.record().view() else { return false };
        let level = Level { record: self.record(), view, index: 0 };
        let levels = Levels { scopes: [Some(level), None, None, None], now_us: NOW };
        let tags = levels.tags(&Windows::at(AT_MS));
        let cost = Cost { tokens, nano };
        let Ok(seen) = levels.check(cost, tags) else { return false };
        let (slot, seq) = (self.slot(at), at as u64 + 1);
        assert!(slot.claim(seq));
        slot.write(&Intent {
            indices: [0, NOBODY, NOBODY, NOBODY],
            ids: [1, 0, 0, 0],
            tags,
            at_ms: AT_MS,
            input: tokens,
            output: 0,
            nano,
            meta: Meta { tpm: levels.tpm_mask(), priced: true, ..Meta::default() },
            price: Price::default(),
            model: &ModelName::new("m").unwrap(),
        });
        let admitted = levels.take(cost, tags, &seen).is_ok();
        slot.become_state(seq, if admitted { State::Admitted } else { State::Free });
        admitted
    }

    fn settle(&self, at: usize, cost: u64, tokens: u64) -> bool {
        let (slot, seq) = (self.slot(at), at as u64 + 1);
        if !slot.close(seq) {
            return false;
        }
        slot.settle(seq, &End { cost, ttft_us: NONE, ..End::default() });
        let done =
            correct::<false>(slot, [Some(self.record()), None, None, None], tokens, cost, || NOW);
        slot.become_state(seq, if done { State::Applied } else { State::Deferred });
        true
    }

    fn recount(&self, ledger: u64) -> bool {
        let window = Window { duration: Duration::Daily, ordinal: DAY };
        recount(self.record(), 0, window, ledger, [self.slot(0), self.slot(1)].into_iter())
    }

    fn committed(&self) -> u64 {
        let word = Money(self.record().money().load(Ordering::Acquire));
        assert!(!word.is_frozen());
        word.committed(Tag::new(Duration::Daily, DAY))
    }

    fn deferred(&self) -> bool {
        (0..2).any(|at| self.slot(at).head().state() == State::Deferred)
    }
}

/// I-BUDGET: `committed + cost <= cap` and its swap are one.
#[test]
fn two_admissions_share_one_budget() {
    loom::model(|| {
        let world = World::new(10, NONE);
        let other = world.clone();
        let one = thread::spawn(move || other.admit(0, 10, 0));
        let two = world.admit(1, 10, 0);
        assert!(one.join().unwrap() ^ two, "one of them, never both, never none");
        assert_eq!(world.committed(), 10);
    });
}

/// I-ALL: what the budget refuses goes back to the bucket.
#[test]
fn a_refusal_leaves_nothing_taken() {
    loom::model(|| {
        let world = World::new(10, 100);
        let other = world.clone();
        let one = thread::spawn(move || other.admit(0, 10, 30));
        let two = world.admit(1, 10, 30);
        assert!(one.join().unwrap() ^ two);
        let limit = Limit { limit: 100, burst: 100 };
        assert_eq!(limit.remaining(bucket::claimed(world.record().tpm()), NOW), 70);
    });
}

/// I-ONCE: the first end counts, the second is told so.
#[test]
fn a_ticket_is_settled_once() {
    loom::model(|| {
        let world = World::new(100, NONE);
        assert!(world.admit(0, 50, 0));
        let other = world.clone();
        let one = thread::spawn(move || other.settle(0, 20, 0));
        let two = world.settle(0, 20, 0);
        assert!(one.join().unwrap() ^ two);
        assert_eq!(world.committed(), 20);
    });
}

/// A recount beside a settlement: the word ends right, or the slot says that it is due once more.
#[test]
fn recount_beside_settle() {
    loom::model(|| {
        let world = World::new(100, NONE);
        assert!(world.admit(0, 50, 0));
        let other = world.clone();
        let settle = thread::spawn(move || assert!(other.settle(0, 20, 0)));
        let counted = world.recount(0);
        settle.join().unwrap();
        if world.deferred() {
            assert!(world.recount(0));
        } else if !counted {
            assert!(world.committed() >= 20, "too high, never too low");
            assert!(world.recount(0));
        }
        assert_eq!(world.committed(), 20);
    });
}

/// A recount beside an admission: it is counted, or it is not admitted.
#[test]
fn recount_beside_admit() {
    loom::model(|| {
        let world = World::new(100, NONE);
        let other = world.clone();
        let admit = thread::spawn(move || other.admit(0, 30, 0));
        let counted = world.recount(7);
        let admitted = admit.join().unwrap();
        if !counted {
            assert!(world.recount(7));
        }
        assert_eq!(world.committed(), 7 + if admitted { 30 } else { 0 });
    });
}

/// The sequence word: a reader sees the old policy or the new, never a mixture.
#[test]
fn a_policy_is_read_whole() {
    loom::model(|| {
        let world = World::new(1, 1);
        let other = world.clone();
        // Without a look at the old policy first: loom keeps one last access a word, and that look
        // would hide the reader's.
        let writer = thread::spawn(move || {
            assert!(!other.record().begin_write());
            other.record().write(&Image { version: 2, last4: [0; 4], view: view(2, 2) });
            other.record().end_write();
        });
        if let Some(view) = world.record().view() {
            assert!((view.cap, view.tpm.limit) == (1, 1) || (view.cap, view.tpm.limit) == (2, 2));
        }
        writer.join().unwrap();
    });
}

/// A changed rate converts the word once; an admission under the old rate steps back or comes
/// before.
#[test]
fn a_rate_changes_under_an_admission() {
    loom::model(|| {
        // Downwards: under the old rate the converted word looks almost unused.
        let world = World::new(NONE, 1_000);
        let other = world.clone();
        let writer = thread::spawn(move || other.put(NONE, 100));
        let admitted = world.admit(0, 0, 40);
        writer.join().unwrap();
        let limit = Limit { limit: 100, burst: 100 };
        let left = limit.remaining(bucket::claimed(world.record().tpm()), NOW);
        assert_eq!(left, if admitted { 60 } else { 100 });
    });
}

/// The word alone: two takers and a refund.
#[test]
fn a_bucket_word_never_gives_twice() {
    loom::model(|| {
        let word = Arc::new(AtomicU64::new(0));
        let limit = Limit { limit: 1, burst: 1 };
        let take = move |word: &AtomicU64| {
            bucket::take(word, bucket::look(word), limit, 1, NOW, || true).is_ok()
        };
        let other = word.clone();
        let one = thread::spawn(move || take(&other));
        let two = take(&word);
        assert!(one.join().unwrap() ^ two);
        bucket::give(&word, 1);
        assert!(take(&word));
        assert!(money::decide(Money(0), Tag(1), 1, 1).is_ok());
    });
}
