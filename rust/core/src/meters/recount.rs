//! A money word is derived; slots and ledger are the truth. A recount makes the word equal to them
//! again: after a worker died, after a budget's duration changed, and at the start.
//!
//! 1. Set the freeze bit. A swap of the word came either before it, and then its slot's state is
//!    seen, or it fails.
//! 2. Wait until no slot is in transition: an *intent* may have been taken or not, a *settled* slot
//!    may be reconciled or not. Neither waits for the recount: an admission rolls back, a settlement
//!    becomes *deferred*.
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
    // After a change of the duration or policy, or a window that ended before the freeze, the sum is
    // of the wrong window.
    let right = record.view().is_some_and(|view| {
        view.duration == window.duration
            && Window::of(record, view.duration, window.first_day() * DAY_MS) == window
    });
    let (next, done) = match sum {
        Some(sum) if right => (Money::new(window.tag(), sum).0, true),
        // Thaw only what was frozen here.
        _ => (before, false),
    };
    // A swap that fails met a policy writer, which froze the word for a reason of its own: leave it.
    // Release: partner of `money::commit` and `money::reconcile`, which then see the slots' new tags.
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
