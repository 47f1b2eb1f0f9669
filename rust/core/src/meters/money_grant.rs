//! A budget that many hosts share: beside the word of [`crate::money`], whose committed amount
//! falls when a ticket is settled, stands the amount granted for one window. Only [`withdraw`]
//! lowers it; it says how a withdrawal meets an admission.

use crate::{
    calendar::{Relation, Tag},
    money::{Money, look},
    sync::{AtomicU64, Ordering, fence},
    units::NONE,
};

/// Return the cap of a money word in the window `now`: what was granted for it, never more than the
/// policy's cap. [`NONE`] needs no grant.
#[must_use]
pub fn cap(granted: u64, now: Tag, cap: u64) -> u64 {
    match cap {
        NONE => NONE,
        _ if Money(granted).tag() == now => Money(granted).amount().min(cap),
        _ => 0,
    }
}

/// Grant `amount` in the window `tag` (the agent). In one window a grant only grows, and it never
/// goes back to an earlier window.
pub fn grant(granted: &AtomicU64, tag: Tag, amount: u64) {
    let seen = Money(granted.load(Ordering::Relaxed));
    let grows = match seen.tag().relation(tag) {
        Relation::Same => seen.amount() < amount,
        Relation::Stale => true,
        Relation::Ahead(_) => false,
    };
    if grows {
        granted.store(Money::new(tag, amount).0, Ordering::Release);
    }
}

/// Clear the grant of a window that is over: a tag names its window modulo 128.
pub fn roll_over(granted: &AtomicU64, now: Tag) {
    let seen = granted.load(Ordering::Relaxed);
    if seen != 0 && Money(seen).tag().relation(now) == Relation::Stale {
        // A failed swap: the agent granted meanwhile.
        let _ = granted.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Lower a grant by what is not committed, at most by `most` (the agent). Returns by how much.
///
/// Two words meet here. A withdrawal lowers the grant and then reads what is committed; an
/// admission commits and then reads the grant ([`confirm`]). With a full fence between the two
/// steps on both sides, at least one sees the other: then the admission rolls back, or the
/// withdrawal takes less, or both. Never neither.
#[must_use]
pub fn withdraw(granted: &AtomicU64, word: &AtomicU64, most: u64) -> u64 {
    let before = Money(granted.load(Ordering::Relaxed));
    let Some(committed) = committed(word, before.tag()) else {
        return 0;
    };
    let take = before.amount().saturating_sub(committed).min(most);
    if take == 0 {
        return 0;
    }
    let after = before.amount() - take;
    granted.store(Money::new(before.tag(), after).0, Ordering::Relaxed);
    // Partner of the fence in `confirm`.
    fence(Ordering::SeqCst);
    let kept = self::committed(word, before.tag())
        .map_or(before.amount(), |now| now.clamp(after, before.amount()));
    granted.store(Money::new(before.tag(), kept).0, Ordering::Release);
    before.amount() - kept
}

/// Return what is committed in the window of a grant; `None` where the word waits for a recount or
/// is of a later window.
fn committed(word: &AtomicU64, tag: Tag) -> Option<u64> {
    let money = Money(look(word));
    match money.tag().relation(tag) {
        _ if money.is_frozen() => None,
        Relation::Same => Some(money.amount()),
        Relation::Stale => Some(0),
        Relation::Ahead(_) => None,
    }
}

/// Check, after an admission committed in the window `now` and a full fence, that the grant still
/// covers it.
#[must_use]
pub fn confirm(granted: &AtomicU64, word: &AtomicU64, now: Tag, cap: u64) -> bool {
    let money = Money(look(word));
    money.tag() != now || money.amount() <= self::cap(granted.load(Ordering::Relaxed), now, cap)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::calendar::Duration;

    #[test]
    fn a_grant_of_money_is_for_its_window() {
        let [granted, word] = [AtomicU64::new(0), AtomicU64::new(0)];
        let day = |n| Tag::new(Duration::Daily, n);
        grant(&granted, day(10), 70);
        let cap_of = |tag, limit| cap(granted.load(Ordering::Relaxed), tag, limit);
        assert_eq!(
            [cap_of(day(10), 100), cap_of(day(10), 50), cap_of(day(11), 100), cap_of(day(9), NONE)],
            [70, 50, 0, NONE]
        );
        grant(&granted, day(9), 90);
        grant(&granted, day(10), 60);
        assert_eq!(cap_of(day(10), 100), 70, "neither a late reply nor an earlier window");
        word.store(Money::new(day(10), 30).0, Ordering::Relaxed);
        assert_eq!((withdraw(&granted, &word, 15), withdraw(&granted, &word, 99)), (15, 25));
        assert_eq!((cap_of(day(10), 100), withdraw(&granted, &word, 1)), (30, 0));
        word.store(Money::new(day(11), 5).0, Ordering::Relaxed);
        grant(&granted, day(10), 80);
        assert_eq!(
            withdraw(&granted, &word, 99),
            0,
            "what was spent in a window that is over only the ledger knows"
        );
        roll_over(&granted, day(10));
        assert_ne!(granted.load(Ordering::Relaxed), 0);
        roll_over(&granted, day(11));
        assert_eq!(granted.load(Ordering::Relaxed), 0);
    }
}
