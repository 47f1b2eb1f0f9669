//! A rate limit that many hosts share: this host may claim up to what the bank granted it, until
//! the grant runs out.
//!
//! A rate lease is three counts of tokens since the arena was made, none of which ever falls:
//! *granted* (raised by the host's agent alone), *claimed* (by admissions, debt and withdrawals)
//! and *returned* (refunds, roll-backs, withdrawals). `claimed + n ≤ granted` is decided by one
//! swap of `claimed`: a grant that was read before can only have grown. Returned tokens are not
//! spent here again: the agent reports them, and the bank decides whether there is room, since its
//! bucket may have refilled meanwhile.

use crate::{
    denial::denied,
    quota::Quota,
    sync::{AtomicU64, Ordering},
};

/// Most tokens that one settlement can owe: what is claimed stays within 2⁵³, which every bank can
/// count.
const DEBT_MAX: u64 = 1 << 36;

/// The words of one rate lease.
#[derive(Clone, Copy)]
pub struct Lease<'a> {
    pub claimed: &'a AtomicU64,
    pub granted: &'a AtomicU64,
    /// Boot clock; 0 = never granted, or void.
    pub until: &'a AtomicU64,
    pub returned: &'a AtomicU64,
    /// Low water << 32 | what the bank had left.
    pub note: &'a AtomicU64,
    pub denial: &'a AtomicU64,
}

/// A lease as it was seen: claims are decided on it, and confirmed against this same `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub until: u64,
    pub granted: u64,
    pub claimed: u64,
}

/// Whether a lease can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Fits,
    /// The bank is to be asked.
    Short,
    /// The bank denied it: microseconds until the tokens are expected; `None` = they never fit.
    Denied(Option<u64>),
}

impl Look {
    /// Return the unspent tokens; negative while in debt.
    #[must_use]
    pub fn left(self) -> i64 {
        self.granted.wrapping_sub(self.claimed).cast_signed()
    }

    fn fits(self, n: u64, now_us: u64) -> bool {
        now_us < self.until && i64::try_from(n).is_ok_and(|n| n <= self.left())
    }
}

impl Lease<'_> {
    /// Read the lease, to decide on it.
    #[must_use]
    pub fn look(self) -> Look {
        // Acquire, and in this order: partner of `grant` and `void`. A thread that sees a lease's
        // end sees what was void before it was granted.
        let until = self.until.load(Ordering::Acquire);
        let granted = self.granted.load(Ordering::Acquire);
        Look { until, granted, claimed: self.claimed.load(Ordering::Acquire) }
    }

    /// Decide whether a request of `n` tokens fits, without taking them.
    #[must_use]
    pub fn answer(self, seen: Look, quota: Quota, n: u64, now_us: u64) -> Answer {
        if n > quota.burst || quota.tokens == 0 {
            return Answer::Denied(None);
        }
        if seen.fits(n, now_us) {
            return Answer::Fits;
        }
        let left = if now_us < seen.until { seen.left() } else { seen.left().min(0) };
        let short = n.saturating_add_signed(left.saturating_neg());
        denied(self.denial, short, now_us, |more| quota.time_of(more))
            .map_or(Answer::Short, |wait| Answer::Denied(Some(wait)))
    }

    /// Claim `n` tokens or none. `Some(true)`: the claim went through low water, which the agent is
    /// to be told.
    ///
    /// The caller must confirm after it that `seen.until` has not come: a claim that is too late is
    /// void.
    #[must_use]
    pub fn take(self, mut seen: Look, n: u64, now_us: u64) -> Option<bool> {
        loop {
            if !seen.fits(n, now_us) {
                return None;
            }
            match self.claimed.compare_exchange(
                seen.claimed,
                seen.claimed + n,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(self.went_low(seen, n)),
                Err(other) => seen.claimed = other,
            }
        }
    }

    fn went_low(self, before: Look, n: u64) -> bool {
        let (low, left) = ((self.note.load(Ordering::Relaxed) >> 32).cast_signed(), before.left());
        left > low && left - n.cast_signed() <= low && low > 0
    }

    /// Give back `n` claimed tokens, by way of the bank.
    pub fn give(self, n: u64) {
        // Release: partner of the agent's load, which then sees the claim that this undoes.
        self.returned.fetch_add(n, Ordering::Release);
    }

    /// Claim unconditionally: what was produced beyond the reservation becomes debt.
    pub fn owe(self, n: u64) {
        self.claimed.fetch_add(n.min(DEBT_MAX), Ordering::AcqRel);
    }

    /// Raise the grant (the agent): claims are good up to `granted`, until `until`; the bank had
    /// `centre` tokens left.
    pub fn grant(self, granted: u64, until: u64, centre: u64) {
        self.granted.fetch_max(granted, Ordering::AcqRel);
        let low = self.look().left().max(0).unsigned_abs() / 4;
        self.note.store(
            low.min(u64::from(u32::MAX)) << 32 | centre.min(u64::from(u32::MAX)),
            Ordering::Relaxed,
        );
        self.denial.store(0, Ordering::Relaxed);
        // Release: partner of `look`.
        self.until.store(until, Ordering::Release);
    }

    /// Claim up to `most` unspent tokens and count them as returned (the agent). Returns how many:
    /// nobody else can spend them.
    #[must_use]
    pub fn withdraw(self, most: u64) -> u64 {
        let taken = self.claim_rest(most);
        self.give(taken);
        taken
    }

    /// End a lease that is known to be over (the agent): nothing of it can be claimed from here on.
    /// Returns the tokens that are lost.
    #[must_use]
    pub fn void(self) -> u64 {
        let lost = self.claim_rest(u64::MAX);
        self.until.store(0, Ordering::Release);
        lost
    }

    fn claim_rest(self, most: u64) -> u64 {
        let mut seen = self.look();
        loop {
            let n = most.min(seen.left().max(0).unsigned_abs());
            if n == 0 {
                return 0;
            }
            match self.claimed.compare_exchange(
                seen.claimed,
                seen.claimed + n,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return n,
                Err(other) => seen.claimed = other,
            }
        }
    }

    /// Return what a burst could have now at most: the host's part and the bank's. Negative while
    /// in debt.
    #[must_use]
    pub fn remaining(self, quota: Quota, now_us: u64) -> i64 {
        let seen = self.look();
        if now_us >= seen.until {
            return seen.left().min(0);
        }
        let centre = (self.note.load(Ordering::Relaxed) & u64::from(u32::MAX)).cast_signed();
        seen.left().saturating_add(centre).min(i64::try_from(quota.burst).unwrap_or(i64::MAX))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        denial,
        quota::{Limit, RATES},
        record::{RECORD_WORDS, Record},
    };

    const NOW: u64 = 5_000_000;
    const LIMIT: Quota = RATES[0].quota(Limit { tokens: 60, burst: 60 });

    fn words() -> [AtomicU64; RECORD_WORDS] {
        std::array::from_fn(|_| AtomicU64::new(0))
    }

    fn take(lease: Lease, n: u64, now_us: u64) -> Option<bool> {
        lease.take(lease.look(), n, now_us)
    }

    #[test]
    fn nothing_is_spent_that_was_not_granted_or_that_ran_out() {
        let words = words();
        let lease = Record(&words).lease(0);
        assert_eq!(lease.answer(lease.look(), LIMIT, 1, NOW), Answer::Short);
        assert_eq!(take(lease, 1, NOW), None);
        lease.grant(3, NOW + 10, 50);
        assert_eq!((take(lease, 2, NOW), take(lease, 2, NOW)), (Some(false), None));
        assert_eq!(lease.remaining(LIMIT, NOW), 51);
        assert_eq!(take(lease, 1, NOW + 10), None, "at the end it is over");
        assert_eq!(lease.remaining(LIMIT, NOW + 10), 0);
        lease.grant(2, NOW + 20, 0);
        assert_eq!(lease.look().granted, 3, "a late reply takes nothing back");
    }

    #[test]
    fn what_can_never_fit_is_refused_without_a_bank() {
        let words = words();
        let lease = Record(&words).lease(0);
        let answer = |limit, n| lease.answer(lease.look(), limit, n, NOW);
        assert_eq!(answer(LIMIT, 61), Answer::Denied(None));
        assert_eq!(answer(RATES[0].quota(Limit { tokens: 0, burst: 5 }), 1), Answer::Denied(None));
    }

    #[test]
    fn what_is_denied_is_what_the_host_lacks() {
        let words = words();
        let lease = Record(&words).lease(1);
        let answer = |n| lease.answer(lease.look(), LIMIT, n, NOW);
        lease.grant(10, NOW + 10, 0);
        denial::deny(lease.denial, 3, NOW + 1_000, 0);
        assert_eq!(
            [answer(10), answer(12)],
            [Answer::Fits, Answer::Short],
            "the bank may have two"
        );
        assert!(matches!(answer(13), Answer::Denied(Some(_))));
        assert_eq!(take(lease, 10, NOW), Some(true));
        assert_eq!(answer(2), Answer::Short);
        assert!(matches!(answer(3), Answer::Denied(Some(_))));
        lease.owe(1);
        assert!(matches!(answer(2), Answer::Denied(Some(_))), "a debt is to be granted too");
    }

    #[test]
    fn low_water_is_told_once() {
        let words = words();
        let lease = Record(&words).lease(1);
        lease.grant(100, NOW + 10, 0);
        let told: Vec<_> = (0..100).filter(|_| take(lease, 1, NOW) == Some(true)).collect();
        assert_eq!(told, [74], "when 25 are left");
        lease.grant(103, NOW + 10, 0);
        assert!((0..3).all(|_| take(lease, 1, NOW) == Some(false)), "not of a grant of a few");
    }

    #[test]
    fn debt_is_granted_before_anything_else() {
        let words = words();
        let lease = Record(&words).lease(1);
        lease.grant(10, NOW + 10, 7);
        lease.owe(15);
        assert_eq!((lease.look().left(), lease.remaining(LIMIT, NOW)), (-5, 2));
        assert_eq!((lease.withdraw(9), lease.void()), (0, 0));
        lease.grant(16, NOW + 10, 0);
        assert_eq!((take(lease, 1, NOW), take(lease, 1, NOW)), (Some(false), None));
    }

    #[test]
    fn what_is_withdrawn_or_void_is_gone() {
        let words = words();
        let lease = Record(&words).lease(0);
        let returned = || lease.returned.load(Ordering::Relaxed);
        lease.grant(10, NOW + 10, 0);
        assert_eq!((lease.withdraw(4), lease.look().left(), returned()), (4, 6, 4));
        assert_eq!((lease.void(), lease.look().left(), returned()), (6, 0, 4));
        assert_eq!(lease.look().until, 0);
        lease.give(1);
        assert_eq!((take(lease, 1, NOW), returned()), (None, 5), "a refund goes to the bank");
    }
}
