//! A budget in one word: freeze bit, window tag, and *committed* nano-USD (posted + reserved
//! together), so that `committed + cost ≤ cap` and the step into a new window are each one swap.
//!
//! A thread that finds the freeze bit set changes nothing: an admission rolls back, a settlement
//! marks its slot *deferred*. Only [`crate::recount`] clears the bit.

use crate::{
    calendar::{Relation, Tag},
    sync::{AtomicU64, Ordering},
    units::AMOUNT_MAX,
    verdict::Deny,
};

/// Set while the word waits for its recount.
pub const FREEZE: u64 = 1 << 63;
const TAG_SHIFT: u32 = 54;

/// The parts of a money word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money(pub u64);

impl Money {
    #[must_use]
    pub fn new(tag: Tag, amount: u64) -> Self {
        Self((u64::from(tag.0) << TAG_SHIFT) | amount.min(AMOUNT_MAX))
    }

    #[must_use]
    pub fn is_frozen(self) -> bool {
        self.0 & FREEZE != 0
    }

    #[must_use]
    pub fn tag(self) -> Tag {
        Tag(((self.0 >> TAG_SHIFT) & 511) as u16)
    }

    #[must_use]
    pub fn amount(self) -> u64 {
        self.0 & AMOUNT_MAX
    }

    /// Return what is committed in the window `now`: a word of an older window has nothing in it.
    #[must_use]
    pub fn committed(self, now: Tag) -> u64 {
        match self.tag().relation(now) {
            Relation::Stale => 0,
            Relation::Same | Relation::Ahead(_) => self.amount(),
        }
    }
}

/// Return the word after `cost` is committed in window `now` under `cap` ([`crate::units::NONE`] =
/// no cap). [`Deny::Insufficient`] has what is committed. [`Deny::Retry`]: the word waits for a
/// recount, or is of a later window than the request's time.
pub fn decide(word: Money, now: Tag, cost: u64, cap: u64) -> Result<Money, Deny<u64>> {
    if word.is_frozen() {
        return Err(Deny::Retry);
    }
    let committed = match word.tag().relation(now) {
        Relation::Same => word.amount(),
        Relation::Ahead(_) => return Err(Deny::Retry),
        Relation::Stale => 0,
    };
    let next = committed.saturating_add(cost);
    if next > cap {
        return Err(Deny::Insufficient(committed));
    }
    Ok(Money::new(now, next))
}

/// Read the word, to decide on it and then give it to [`commit`].
#[must_use]
pub fn look(word: &AtomicU64) -> u64 {
    // Acquire: partner of the recount's and the policy writer's release.
    word.load(Ordering::Acquire)
}

/// Commit `cost` or nothing, starting from the word as `seen`. `current`: see
/// [`crate::bucket::take`].
pub fn commit(
    word: &AtomicU64,
    mut seen: u64,
    now: Tag,
    cost: u64,
    cap: u64,
    current: impl Fn() -> bool,
) -> Result<(), Deny<u64>> {
    loop {
        if !current() {
            return Err(Deny::Retry);
        }
        let next = decide(Money(seen), now, cost, cap)?;
        // Release: the recount that freezes after this swap sees the slot's intent, written before
        // it.
        match word.compare_exchange(seen, next.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(()),
            Err(other) => seen = other,
        }
    }
}

/// Whether a word was reconciled, was of another window than the ticket, or waits for a recount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    Yes,
    OtherWindow,
    Frozen,
}

/// Add `up` and take `down` if the word still is of the ticket's window. `tag` is asked after each
/// load of the word, since a recount may give the slot another window before it thaws the word.
pub fn reconcile(word: &AtomicU64, tag: impl Fn() -> Tag, up: u64, down: u64) -> Reconciled {
    // Acquire: partner of the recount's release, so that `tag` reads what the recount wrote into
    // the slot.
    let mut seen = word.load(Ordering::Acquire);
    loop {
        let money = Money(seen);
        if money.is_frozen() {
            return Reconciled::Frozen;
        }
        if money.tag() != tag() {
            return Reconciled::OtherWindow;
        }
        // A saturated word has forgotten its true amount: it stays, too high rather than too low,
        // until a recount.
        let amount = if money.amount() == AMOUNT_MAX {
            AMOUNT_MAX
        } else {
            money.amount().saturating_add(up).saturating_sub(down)
        };
        let next = Money::new(money.tag(), amount);
        match word.compare_exchange_weak(seen, next.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Reconciled::Yes,
            Err(other) => seen = other,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{calendar::Duration, units::NONE};

    fn day(n: u64) -> Tag {
        Tag::new(Duration::Daily, n)
    }

    #[test]
    fn the_cap_is_never_passed_and_a_window_begins_once() {
        let word = AtomicU64::new(0);
        for _ in 0..3 {
            commit(&word, look(&word), day(10), 30, 100, || true).expect("fits");
        }
        assert_eq!(
            commit(&word, look(&word), day(10), 30, 100, || true),
            Err(Deny::Insufficient(90))
        );
        commit(&word, look(&word), day(10), 10, 100, || true).expect("to the last nano-dollar");
        commit(&word, look(&word), day(11), 30, 100, || true).expect("a new window");
        assert_eq!(
            commit(&word, look(&word), day(10), 1, 100, || true),
            Err(Deny::Retry),
            "never back"
        );
        assert_eq!(Money(word.load(Ordering::Relaxed)).amount(), 30);
    }

    #[test]
    fn a_correction_reaches_its_own_window_only() {
        let word = AtomicU64::new(Money::new(day(10), 90).0);
        assert_eq!(reconcile(&word, || day(10), 5, 30), Reconciled::Yes);
        assert_eq!(Money(word.load(Ordering::Relaxed)).amount(), 65);
        assert_eq!(reconcile(&word, || day(9), 5, 30), Reconciled::OtherWindow);
        word.fetch_or(FREEZE, Ordering::Relaxed);
        assert_eq!(reconcile(&word, || day(10), 5, 30), Reconciled::Frozen);
        assert_eq!(commit(&word, look(&word), day(10), 1, NONE, || true), Err(Deny::Retry));
        assert_eq!(Money(word.load(Ordering::Relaxed)).amount(), 65);
    }

    #[test]
    fn a_saturated_word_stays_high() {
        let word = AtomicU64::new(Money::new(day(1), AMOUNT_MAX).0);
        reconcile(&word, || day(1), 0, 30);
        assert_eq!(Money(word.load(Ordering::Relaxed)).amount(), AMOUNT_MAX);
    }
}
