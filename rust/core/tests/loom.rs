//! Every interleaving of two or three threads on the shared words, within the pre-emption bound
//! that the Makefile sets (`LOOM_MAX_PREEMPTIONS`). Each test names the defence that it holds up.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::{sync::Arc, thread};
use nemorouter_core::{
    bucket,
    calendar::{Duration, Tag, Windows},
    call::{Request, Size},
    levels::{Cost, Level, Levels, Local, Reservation, Tickets, reconcile},
    model::ModelName,
    money::{self, Money},
    quota::{Limit, Limits, Quota, RATES},
    record::{PolicyImage, RECORD_WORDS, Record, View},
    recount::{Window, recount},
    slot::{End, SLOT_WORDS, Slot, State},
    sync::{AtomicU64, Ordering},
    units::NONE,
    verdict::Kind,
};

const NOW: u64 = 60_000_000;
const DAY: u64 = 20_000;
const AT_MS: u64 = DAY * 86_400_000;
/// Places of the limits in the table.
const RPM: usize = 0;
const TPM: usize = 1;

/// A policy with a daily cap, an RPM and a TPM limit; [`NONE`] = none.
fn view(cap: u64, rpm: u64, tpm: u64) -> View {
    let limit = |tokens| Limit { tokens, burst: tokens };
    let limits = Limits::new([(RPM, limit(rpm)), (TPM, limit(tpm))]);
    View { kind: Some(Kind::Key), duration: Duration::Daily, limits, cap, ..View::default() }
}

fn quota(rate: usize, tokens: u64) -> Quota {
    RATES[rate].quota(Limit { tokens, burst: tokens })
}

struct World {
    record: [AtomicU64; RECORD_WORDS],
    slots: [[AtomicU64; SLOT_WORDS]; 2],
}

/// The slot of one thread: the other slots of a journal are not contended for.
struct One<'a>(&'a World, usize);

impl Tickets for One<'_> {
    fn claim(&self) -> Option<(usize, u64)> {
        let seq = self.1 as u64 + 1;
        self.0.slot(self.1).claim(seq).then_some((self.1, seq))
    }

    fn slot(&self, at: usize) -> Option<Slot<'_>> {
        Some(self.0.slot(at))
    }

    fn unclaim(&self, at: usize, seq: u64) {
        self.0.slot(at).become_state(seq, State::Free);
    }
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl World {
    /// One scope with a daily cap and a TPM limit.
    fn new(cap: u64, tpm: u64) -> Arc<Self> {
        Self::with(view(cap, NONE, tpm))
    }

    fn with(view: View) -> Arc<Self> {
        let world = Self { record: zeros(), slots: [zeros(), zeros()] };
        world.put(view);
        Arc::new(world)
    }

    fn record(&self) -> Record<'_> {
        Record(&self.record)
    }

    fn slot(&self, at: usize) -> Slot<'_> {
        Slot(&self.slots[at])
    }

    fn put(&self, view: View) {
        let record = self.record();
        let old = record.view();
        assert!(!record.begin_write());
        if let Some(old) = old.filter(|old| old.seq > 0 && old.limits != view.limits) {
            let (from, to) = (old.quota(TPM), view.quota(TPM));
            bucket::change(record.meter(TPM), |c| from.convert(c, to, NOW));
        }
        record.write(&PolicyImage { version: 1, last4: [0; 4], view });
        record.end_write();
    }

    /// Reserve as the gate does, once. False: refused or rolled back.
    fn admit(&self, at: usize, nano: u64, tokens: u64) -> bool {
        let Some(view) = self.record().view() else { return false };
        let level = Level { record: self.record(), view, index: 0 };
        let levels = Levels { scopes: [Some(level), None, None, None], now_us: NOW };
        let (request, size) = (request(), size(tokens, nano));
        let windows = Windows::at(AT_MS);
        let reservation = Reservation { levels: &levels, request: &request, size: &size, windows };
        reservation.reserve(Local, &One(self, at), || NOW).is_ok()
    }

    fn left(&self, rate: usize, tokens: u64) -> i64 {
        quota(rate, tokens).remaining(bucket::claimed(self.record().meter(rate)), NOW)
    }

    fn settle(&self, at: usize, cost: u64, tokens: u64) -> bool {
        let (slot, seq) = (self.slot(at), at as u64 + 1);
        if !slot.close(seq) {
            return false;
        }
        slot.settle(seq, &End { cost, ttft_us: NONE, ..End::default() });
        let done =
            reconcile(Local, slot, [Some(self.record()), None, None, None], tokens, cost, || NOW);
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
        assert_eq!(world.left(TPM, 100), 70);
    });
}

/// I-ALL: of two requests for the last request of a minute one is admitted. The other was refused
/// by a later limit or found the word taken, and gives back exactly what it took.
#[test]
fn the_last_request_of_a_minute_is_given_once() {
    loom::model(|| {
        let world = World::with(view(10, 1, 100));
        let other = world.clone();
        let one = thread::spawn(move || other.admit(0, 5, 30));
        let two = world.admit(1, 5, 30);
        assert!(one.join().unwrap() ^ two);
        assert_eq!((world.left(RPM, 1), world.left(TPM, 100)), (0, 70));
        assert_eq!(world.committed(), 5);
    });
}

/// I-ALL: RPM is taken first and the budget last, so what the budget refuses goes back to both
/// rates.
#[test]
fn a_refused_budget_gives_back_every_rate() {
    loom::model(|| {
        let world = World::with(view(10, 9, 100));
        let other = world.clone();
        let one = thread::spawn(move || other.admit(0, 10, 30));
        let two = world.admit(1, 10, 30);
        assert!(one.join().unwrap() ^ two);
        assert_eq!((world.left(RPM, 9), world.left(TPM, 100)), (8, 70));
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

fn request() -> Request {
    Request {
        index: 0,
        model: ModelName::new("m").unwrap(),
        endpoint: 0,
        upstream: 0,
        prompt_bytes: 0,
        stored_input: 0,
        max_tokens: None,
        choices: 1,
        stream: false,
    }
}

fn size(tokens: u64, nano: u64) -> Size {
    Size { input: tokens, output: 0, units: 1, price: None, cost: Cost { tokens, nano } }
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
            other.record().write(&PolicyImage {
                version: 2,
                last4: [0; 4],
                view: view(2, NONE, 2),
            });
            other.record().end_write();
        });
        if let Some(view) = world.record().view() {
            let read = (view.cap, view.limits.of(TPM).tokens);
            assert!(read == (1, 1) || read == (2, 2));
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
        let writer = thread::spawn(move || other.put(view(NONE, NONE, 100)));
        let admitted = world.admit(0, 0, 40);
        writer.join().unwrap();
        assert_eq!(world.left(TPM, 100), if admitted { 60 } else { 100 });
    });
}

/// The word alone: two takers and a refund.
#[test]
fn a_bucket_word_never_gives_twice() {
    loom::model(|| {
        let word = Arc::new(AtomicU64::new(0));
        let limit = quota(RPM, 1);
        let take = move |word: &AtomicU64| {
            bucket::take(word, bucket::look(word), limit, 1, NOW, || true).is_ok()
        };
        let other = word.clone();
        let one = thread::spawn(move || take(&other));
        let two = take(&word);
        assert!(one.join().unwrap() ^ two);
        bucket::give(&word, limit, 1);
        assert!(take(&word));
        assert!(money::decide(Money(0), Tag(1), 1, 1).is_ok());
    });
}
