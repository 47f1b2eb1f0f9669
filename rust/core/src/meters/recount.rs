//! A money word is derived; slots and ledger are the truth. A recount makes the word equal to them
//! again: after a worker died, after a budget's duration changed, and at the start.
//!
//! 1. Set the freeze bit. A swap of the word came either before it, and then its slot's state is
//!    seen, or it fails.
//! 2. Wait until no slot is in transition: an *intent* may have been taken or not, a *settled* slot
//!    may be reconciled or not. Neither waits for the recount: an admission rolls back, a
//!    settlement becomes *deferred*.
//! 3. word := ledger of the window + slots of the window (reserved while open, cost once settled),
//!    in one swap that also thaws.
//!
//! A slot that settles after it was read as open finds the word frozen and is deferred, or finds it
//! thawed and reconciles it: right either way. The wait is bounded. Giving up leaves the word too
//! high, never too low. One recount runs at a time, in the drainer, which alone moves rows.

use crate::{
    calendar::{DAY_MS, Duration, Tag},
    money::{FREEZE, Money},
    record::Record,
    slot::{SCOPES, Slot, State},
    sync::{Ordering, SPINS, spin_loop},
};

/// The window that is recounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub duration: Duration,
    pub ordinal: u64,
}

impl Window {
    /// Return the window of `wall_ms`, or the later one that the word is in already.
    #[must_use]
    pub fn of(record: Record, duration: Duration, wall_ms: u64) -> Self {
        let ordinal = duration.ordinal(wall_ms);
        let word = Money(record.money().load(Ordering::Acquire));
        let ahead = match word.tag().relation(Tag::new(duration, ordinal)) {
            crate::calendar::Relation::Ahead(by) => by,
            _ => 0,
        };
        Self { duration, ordinal: ordinal + ahead }
    }

    #[must_use]
    pub fn first_day(self) -> u64 {
        self.duration.first_day(self.ordinal)
    }

    #[must_use]
    pub fn end_day(self) -> u64 {
        self.duration.end_day(self.ordinal)
    }

    #[must_use]
    pub fn tag(self) -> Tag {
        Tag::new(self.duration, self.ordinal)
    }

    fn holds(self, at_ms: u64) -> bool {
        (self.first_day()..self.end_day()).contains(&(at_ms / DAY_MS))
    }
}

/// Make the money word of the scope with this `index` equal to `ledger` (nano-USD in the store for
/// `window`) + the slots. False: a slot stayed in transition or the window changed; the word is as
/// it was, and the recount is still due.
pub fn recount<'a>(
    record: Record,
    index: u32,
    window: Window,
    ledger: u64,
    slots: impl Iterator<Item = Slot<'a>>,
) -> bool {
    // AcqRel: acquires every admission's swap before it, with the intent written before that.
    let before = record.money().fetch_or(FREEZE, Ordering::AcqRel);
    let frozen = before | FREEZE;
    let mut sum = Some(ledger);
    for slot in slots {
        sum = sum.and_then(|sum| Some(sum.saturating_add(count(slot, index, window)?)));
        if sum.is_none() {
            break;
        }
    }
    // After a change of the duration or policy, or a window that ended before the freeze, the sum
    // is of the wrong window.
    let right = record.view().is_some_and(|view| {
        view.duration == window.duration
            && Window::of(record, view.duration, window.first_day() * DAY_MS) == window
    });
    let (next, done) = match sum {
        Some(sum) if right => (Money::new(window.tag(), sum).0, true),
        // Thaw only what was frozen here.
        _ => (before, false),
    };
    // A swap that fails met a policy writer, which froze the word for a reason of its own: leave
    // it. Release: partner of `money::commit` and `money::reconcile`, which then see the slots' new
    // tags.
    record.money().compare_exchange(frozen, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        && done
}

/// Return what a slot adds to the word, and book the slot into `window` from now on; `None` if it
/// stays in transition.
fn count(slot: Slot, index: u32, window: Window) -> Option<u64> {
    for _ in 0..SPINS {
        let head = slot.head();
        match head.state() {
            State::Free => return Some(0),
            // Its words may still be those of an older ticket, so whose it is cannot be told.
            State::Intent => {}
            state => {
                let Some(scope) = slot.indices().iter().position(|i| *i == index) else {
                    return Some(0);
                };
                debug_assert!(scope < SCOPES);
                if !window.holds(slot.at_ms()) {
                    return Some(0);
                }
                match state {
                    State::Admitted | State::Closing => {
                        slot.retag(scope, window.tag());
                        // Still open after the new tag: a settlement from here on uses that tag.
                        return Some(slot.reserved_nano());
                    }
                    State::Deferred | State::Applied => return Some(slot.cost()),
                    _ => {}
                }
            }
        }
        spin_loop();
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        memory::{record::RECORD_WORDS, slot::SLOT_WORDS},
        model::ModelName,
        record::{PolicyImage, View},
        slot::{Charged, Intent, Meta, NOBODY},
        sync::AtomicU64,
        units::Price,
    };

    const INDEX: u32 = 7;
    const DAY: u64 = 20_454;
    const TODAY: Window = Window { duration: Duration::Daily, ordinal: DAY };

    /// A scope with a budget of a day, of which the word says 55, and a slot that reserved 30 of
    /// it.
    struct World {
        record: [AtomicU64; RECORD_WORDS],
        slot: [AtomicU64; SLOT_WORDS],
    }

    impl World {
        fn new() -> Self {
            let world = Self {
                record: std::array::from_fn(|_| AtomicU64::new(0)),
                slot: std::array::from_fn(|_| AtomicU64::new(0)),
            };
            assert!(!world.record().begin_write(), "no writer died");
            let view = View { duration: Duration::Daily, cap: 1_000, ..View::default() };
            world.record().write(&PolicyImage { version: 1, last4: *b"last", view });
            world.record().end_write();
            world.record().money().store(Money::new(TODAY.tag(), 55).0, Ordering::Relaxed);
            assert!(world.slot().claim(1));
            world.slot().write(&Intent {
                indices: [INDEX, NOBODY, NOBODY, NOBODY],
                ids: [1, 0, 0, 0],
                tags: [TODAY.tag(), Tag(0), Tag(0), Tag(0)],
                at_ms: DAY * DAY_MS,
                input: 0,
                output: 0,
                nano: 30,
                meta: Meta { endpoint: 0, upstream: 0, stream: false, priced: true, units: 0 },
                charged: Charged::default(),
                price: Price::default(),
                model: &ModelName::new("m").expect("fits"),
            });
            world
        }

        fn record(&self) -> Record<'_> {
            Record(&self.record)
        }

        fn slot(&self) -> Slot<'_> {
            Slot(&self.slot)
        }

        fn recount(&self, window: Window) -> bool {
            recount(self.record(), INDEX, window, 100, std::iter::once(self.slot()))
        }

        fn word(&self) -> u64 {
            self.record().money().load(Ordering::Relaxed)
        }
    }

    #[test]
    fn an_open_slot_counts_what_it_reserved() {
        let world = World::new();
        world.slot().become_state(1, State::Admitted);
        assert!(world.recount(TODAY));
        assert_eq!(world.word(), Money::new(TODAY.tag(), 130).0);
    }

    #[test]
    fn a_slot_in_transition_leaves_the_recount_due_and_the_word_as_it_was() {
        let world = World::new();
        let before = world.word();
        assert!(!world.recount(TODAY));
        assert_eq!(world.word(), before, "thawed, since it was frozen by nobody else");
    }

    #[test]
    fn a_sum_of_another_window_leaves_the_recount_due() {
        let world = World::new();
        world.slot().become_state(1, State::Admitted);
        let before = world.word();
        for other in [
            Window { duration: Duration::Weekly, ordinal: Duration::Weekly.ordinal(DAY * DAY_MS) },
            Window { ordinal: DAY - 1, ..TODAY },
        ] {
            assert!(!world.recount(other), "{other:?}");
            assert_eq!(world.word(), before);
        }
    }
}
