//! Leases under every interleaving of two threads, as `loom.rs`. Each test names the defence that
//! it holds up.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use loom::{sync::Arc, thread};
use nemorouter_core::{
    calendar::{Duration, Tag, Windows},
    call::{Request, Size},
    demand::{self, Demand, DemandRing},
    levels::{Cost, Leased, Level, Levels, Reservation, Terms, Tickets},
    model::ModelName,
    money::Money,
    money_grant,
    quota::{Limit, Limits, Resource},
    record::{PolicyImage, RECORD_WORDS, Record, View},
    slot::{SLOT_WORDS, Slot, State},
    sync::{AtomicU64, Ordering},
    units::NONE,
    verdict::Kind,
};

const NOW: u64 = 50;
const END: u64 = 100;
const DAY: u64 = 20_000;
const MANY: Limit = Limit { tokens: 1_000, burst: 1_000 };
/// Places of the limits in the table.
const RPM: usize = 0;
const TPM: usize = 1;

fn today() -> Tag {
    Tag::new(Duration::Daily, DAY)
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// One scope whose limits are shared with other hosts, and the clock of the host.
struct World {
    record: [AtomicU64; RECORD_WORDS],
    demand: [AtomicU64; demand::WORDS],
    clock: AtomicU64,
}

/// A slot of one thread alone.
struct Own([AtomicU64; SLOT_WORDS]);

impl Tickets for Own {
    fn claim(&self) -> Option<(usize, u64)> {
        Slot(&self.0).claim(1).then_some((0, 1))
    }

    fn slot(&self, _: usize) -> Option<Slot<'_>> {
        Some(Slot(&self.0))
    }

    fn unclaim(&self, _: usize, seq: u64) {
        Slot(&self.0).become_state(seq, State::Free);
    }
}

impl World {
    fn new(rpm: Limit, tpm: Limit, cap: u64) -> Self {
        let world = Self { record: zeros(), demand: zeros(), clock: AtomicU64::new(NOW) };
        let limits = Limits::new([(RPM, rpm), (TPM, tpm)]);
        let kind = Some(Kind::Key);
        let view = View { kind, duration: Duration::Daily, limits, cap, ..View::default() };
        let record = world.record();
        assert!(!record.begin_write());
        record.write(&PolicyImage { version: 1, last4: [0; 4], view });
        record.end_write();
        world
    }

    fn record(&self) -> Record<'_> {
        Record(&self.record)
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }

    /// Reserve as the gate does, once. Returns when it was confirmed, if it was admitted.
    fn admit(&self, tokens: u64, nano: u64) -> Option<u64> {
        let view = self.record().view()?;
        let level = Level { record: self.record(), view, index: 0 };
        let levels = Levels { scopes: [Some(level), None, None, None], now_us: self.now() };
        let leased = Leased(Terms { demand: DemandRing(&self.demand), admit_until: 0 });
        let cost = Cost { tokens, nano };
        let size = Size { input: tokens, output: 0, units: 1, price: None, cost };
        let request = Request {
            index: 0,
            model: ModelName::new("m").unwrap(),
            endpoint: 0,
            upstream: 0,
            prompt_bytes: 0,
            stored_input: 0,
            max_tokens: None,
            choices: 1,
            stream: false,
        };
        let windows = Windows::at(DAY * 86_400_000);
        let reservation = Reservation { levels: &levels, request: &request, size: &size, windows };
        let at = Cell::new(0);
        let now = || {
            at.set(self.now());
            at.get()
        };
        reservation.reserve(leased, &Own(zeros()), now).ok()?;
        Some(at.get())
    }

    fn committed(&self) -> u64 {
        Money(self.record().money().load(Ordering::Acquire)).committed(today())
    }

    fn allowed(&self) -> u64 {
        Money(self.record().money_granted().load(Ordering::Acquire)).amount()
    }
}

/// What is withdrawn nobody can spend: both are claims of one word.
#[test]
fn withdraw_beside_a_claim() {
    loom::model(|| {
        let world = World::new(Limit::UNLIMITED, MANY, NONE);
        world.record().lease(TPM).grant(3, END, 0);
        let world = Arc::new(world);
        let other = world.clone();
        let claim = thread::spawn(move || other.admit(2, 0));
        let withdrawn = world.record().lease(TPM).withdraw(2);
        let spent = if claim.join().unwrap().is_some() { 2 } else { 0 };
        assert!(spent + withdrawn <= 3 && spent + withdrawn >= 2, "{spent} {withdrawn}");
        let lease = world.record().lease(TPM);
        assert!(lease.look().left() >= 0);
        assert_eq!(lease.returned.load(Ordering::Acquire), withdrawn);
    });
}

/// Of two requests for the last token one is admitted; the other takes nothing from any lease.
#[test]
fn two_claims_of_the_last_token() {
    loom::model(|| {
        let world = World::new(MANY, MANY, NONE);
        world.record().lease(RPM).grant(2, END, 0);
        world.record().lease(TPM).grant(1, END, 0);
        let world = Arc::new(world);
        let other = world.clone();
        let one = thread::spawn(move || other.admit(1, 0).is_some());
        let two = world.admit(1, 0).is_some();
        assert!(one.join().unwrap() ^ two);
        let rpm = world.record().lease(RPM);
        assert_eq!(
            rpm.look().claimed - rpm.returned.load(Ordering::Acquire),
            1,
            "given back by way of the bank"
        );
    });
}

/// A grant of money is lowered beside an admission: what is committed never stands above it.
#[test]
fn withdraw_money_beside_an_admission() {
    loom::model(|| {
        let world = World::new(Limit::UNLIMITED, Limit::UNLIMITED, 100);
        let record = world.record();
        money_grant::grant(record.money_granted(), today(), 10);
        let world = Arc::new(world);
        let other = world.clone();
        let admit = thread::spawn(move || other.admit(0, 8).is_some());
        let withdrawn =
            money_grant::withdraw(world.record().money_granted(), world.record().money(), 5);
        let admitted = admit.join().unwrap();
        assert_eq!(world.committed(), if admitted { 8 } else { 0 });
        assert_eq!(world.allowed(), 10 - withdrawn);
        assert!(world.committed() <= world.allowed());
    });
}

/// A lease runs out beside a claim, its rest is void, and a new one is granted: only the new one's
/// token is spent after the end.
#[test]
fn expiry_beside_a_claim() {
    loom::model(|| {
        let world = World::new(MANY, Limit::UNLIMITED, NONE);
        world.record().lease(RPM).grant(1, END, 0);
        let world = Arc::new(world);
        let other = world.clone();
        let claim = thread::spawn(move || other.admit(0, 0));
        world.clock.store(END, Ordering::SeqCst);
        let lease = world.record().lease(RPM);
        let _ = lease.void();
        lease.grant(lease.look().granted + 1, END * 2, 0);
        let late = [world.admit(0, 0), claim.join().unwrap()]
            .into_iter()
            .flatten()
            .filter(|at| *at >= END)
            .count();
        assert!(late <= 1, "{late} tokens of one");
    });
}

/// Demands come out whole, and each at most once.
#[test]
fn demands_beside_a_drain() {
    loom::model(|| {
        let ring: Arc<[AtomicU64; demand::WORDS]> = Arc::new(zeros());
        let demand =
            |index: u32| Demand { index, resource: Resource::Rate(1), need: u64::from(index) + 7 };
        let other = ring.clone();
        // One more than the ring keeps: an entry that is overwritten while it is read is no demand.
        let one =
            thread::spawn(move || [1, 2, 3].map(|index| DemandRing(&*other).push(demand(index))));
        let mut found = DemandRing(&*ring).drain(9);
        one.join().unwrap();
        found.extend(DemandRing(&*ring).drain(9));
        assert!(found.iter().all(|found| *found == demand(found.index)), "{found:?}");
        assert!(found.iter().is_sorted_by(|a, b| a.index < b.index), "{found:?}");
    });
}
