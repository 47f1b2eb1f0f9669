//! A token bucket in one word, exact for every limit, with refund and debt.
//!
//! With a limit of `L` a minute, `E(t) = floor(t · L / 60 s)` counts the tokens ever issued. The word holds `C`, the tokens ever
//! claimed. A request of `n` fits iff `max(C, E) + n ≤ E + B`; then `C := max(C, E) + n`. No rounding accumulates, and in any
//! window the admitted cost is at most `B + E(t2) − E(t1)`.
//!
//! Bit 0 of the word flips whenever the rate changes, so that a swap computed under the old rate cannot succeed by chance.

use crate::{
    sync::{AtomicU64, Ordering},
    units::NONE,
};

/// Microseconds in the period of a limit.
pub const PERIOD_US: u64 = 60_000_000;

/// An instant of the boot clock, divided once for all buckets of a request.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    us: u64,
    periods: u64,
    rest: u64,
}

impl Moment {
    #[must_use]
    pub const fn new(us: u64) -> Self {
        Self { us, periods: us / PERIOD_US, rest: us % PERIOD_US }
    }
}

/// Rate and size of a bucket: `limit` tokens a minute, at most `burst` at once; [`NONE`] as limit = no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub limit: u64,
    pub burst: u64,
}

impl Limit {
    pub const UNLIMITED: Self = Self { limit: NONE, burst: NONE };

    #[must_use]
    pub fn is_unlimited(self) -> bool {
        self.limit == NONE
    }

    /// Tokens issued since the epoch of the clock: `floor(now · limit / period)`, exactly, without wide arithmetic.
    #[must_use]
    pub fn issued(self, now: Moment) -> u64 {
        now.periods.saturating_mul(self.limit).saturating_add(now.rest.saturating_mul(self.limit) / PERIOD_US)
    }

    /// First instant at which `issued` is at least `tokens`; the limit must not be zero.
    fn reached_at(self, tokens: u64) -> u64 {
        let us = (u128::from(tokens) * u128::from(PERIOD_US)).div_ceil(u128::from(self.limit));
        u64::try_from(us).unwrap_or(u64::MAX)
    }

    /// What `C` becomes when `n` tokens are taken now; `None` if they do not fit.
    #[must_use]
    pub fn decide(self, claimed: u64, n: u64, now: Moment) -> Option<u64> {
        let issued = self.issued(now);
        let next = claimed.max(issued).saturating_add(n);
        (next <= issued.saturating_add(self.burst)).then_some(next)
    }

    /// Tokens that could be taken now; negative while in debt.
    #[must_use]
    pub fn remaining(self, claimed: u64, now: Moment) -> i64 {
        let issued = self.issued(now);
        let free = i128::from(issued) + i128::from(self.burst) - i128::from(claimed.max(issued));
        i64::try_from(free).unwrap_or(i64::MIN)
    }

    /// Microseconds until `n` tokens fit if nobody else takes any; `None` if they never do.
    #[must_use]
    pub fn wait(self, claimed: u64, n: u64, now: Moment) -> Option<u64> {
        if self.is_unlimited() || self.decide(claimed, n, now).is_some() {
            return Some(0);
        }
        if n > self.burst || self.limit == 0 {
            return None;
        }
        Some(self.reached_at(claimed.saturating_add(n).saturating_sub(self.burst)).saturating_sub(now.us))
    }

    /// Microseconds until the bucket is full again.
    #[must_use]
    pub fn full_in(self, claimed: u64, now: Moment) -> u64 {
        if self.limit == 0 || claimed <= self.issued(now) {
            return 0;
        }
        self.reached_at(claimed).saturating_sub(now.us)
    }

    /// `C` under the rate `to`, keeping what is used now. From no limit a full bucket begins.
    #[must_use]
    pub fn convert(self, claimed: u64, to: Self, now: Moment) -> u64 {
        if to.is_unlimited() {
            return claimed;
        }
        let used = if self.is_unlimited() { 0 } else { claimed.saturating_sub(self.issued(now)) };
        to.issued(now).saturating_add(used)
    }
}

/// Why a bucket did not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The tokens do not fit.
    Short,
    /// The rate changed under us; read the policy again.
    Stale,
}

/// `C` of a word.
#[must_use]
pub fn claimed(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed) >> 1
}

/// The word as it is now, to be decided on and then given to [`take`].
#[must_use]
pub fn look(word: &AtomicU64) -> u64 {
    // Acquire: partner of `change`, so that `take`'s `current` cannot answer from before a conversion that this load saw.
    word.load(Ordering::Acquire)
}

/// Take `n` tokens or none, starting from the word as `seen`. `current` says whether the policy that `limit` was read from still
/// stands; it is asked after each load of the word: a word of the new rate is only seen after the policy's sequence went odd.
pub fn take(
    word: &AtomicU64,
    mut seen: u64,
    limit: Limit,
    n: u64,
    now: Moment,
    current: impl Fn() -> bool,
) -> Result<(), Stop> {
    loop {
        if !current() {
            return Err(Stop::Stale);
        }
        let next = limit.decide(seen >> 1, n, now).ok_or(Stop::Short)?;
        let value = (next << 1) | (seen & 1);
        match word.compare_exchange(seen, value, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(()),
            Err(other) => seen = other,
        }
    }
}

/// Give `n` tokens back. Below what was issued the bucket is simply full, so a late refund never overfills it.
pub fn give(word: &AtomicU64, n: u64) {
    update(word, |claimed| claimed.saturating_sub(n));
}

/// Take `n` tokens without asking: what was produced beyond the reservation is owed.
pub fn owe(word: &AtomicU64, n: u64) {
    update(word, |claimed| claimed.saturating_add(n).min(NONE >> 1));
}

/// Change the rate, while the record's sequence is odd.
pub fn change(word: &AtomicU64, next: impl Fn(u64) -> u64) {
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        let value = (next(seen >> 1) << 1) | (!seen & 1);
        // Release: partner of `take`'s acquire.
        match word.compare_exchange_weak(seen, value, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return,
            Err(other) => seen = other,
        }
    }
}

fn update(word: &AtomicU64, next: impl Fn(u64) -> u64) {
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        let value = (next(seen >> 1) << 1) | (seen & 1);
        match word.compare_exchange_weak(seen, value, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return,
            Err(other) => seen = other,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MINUTE: u64 = PERIOD_US;

    fn at(us: u64) -> Moment {
        Moment::new(us)
    }

    fn limit(limit: u64) -> Limit {
        Limit { limit, burst: limit }
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_the_rate() {
        let (word, sixty) = (AtomicU64::new(0), limit(60));
        let now = 5 * MINUTE + 1;
        for _ in 0..60 {
            take(&word, look(&word), sixty, 1, at(now), || true).expect("fits");
        }
        assert_eq!(take(&word, look(&word), sixty, 1, at(now), || true), Err(Stop::Short));
        let wait = sixty.wait(claimed(&word), 1, at(now)).expect("fits later");
        assert_eq!(
            take(&word, look(&word), sixty, 1, at(now + wait - 1), || true),
            Err(Stop::Short),
            "one microsecond early"
        );
        take(&word, look(&word), sixty, 1, at(now + wait), || true).expect("at the promised instant");
    }

    #[test]
    fn zero_blocks_and_too_much_never_fits() {
        assert_eq!(limit(0).decide(0, 1, at(MINUTE)), None);
        assert_eq!(limit(0).wait(0, 1, at(MINUTE)), None);
        assert_eq!(limit(5).wait(0, 6, at(MINUTE)), None);
        assert_eq!(Limit { limit: 60, burst: 5 }.wait(0, 6, at(MINUTE)), None);
    }

    #[test]
    fn debt_is_paid_by_the_refill() {
        let (word, l) = (AtomicU64::new(0), limit(60));
        owe(&word, l.issued(at(MINUTE)) + 120);
        assert_eq!(l.remaining(claimed(&word), at(MINUTE)), -60);
        assert_eq!(l.remaining(claimed(&word), at(2 * MINUTE)), 0);
        assert_eq!(l.full_in(claimed(&word), at(MINUTE)), 2 * MINUTE);
    }

    #[test]
    fn a_changed_rate_keeps_what_is_used_and_no_old_swap_succeeds() {
        let (word, old, new) = (AtomicU64::new(0), limit(600), limit(60_000));
        take(&word, look(&word), old, 100, at(7 * MINUTE), || true).expect("fits");
        let before = word.load(Ordering::Relaxed);
        change(&word, |c| old.convert(c, new, at(7 * MINUTE)));
        assert_eq!(new.remaining(claimed(&word), at(7 * MINUTE)), 60_000 - 100);
        assert_ne!(word.load(Ordering::Relaxed) & 1, before & 1);
        assert_eq!(take(&word, look(&word), old, 1, at(7 * MINUTE), || false), Err(Stop::Stale));
    }

    #[test]
    fn issued_is_exact_for_every_limit() {
        for l in [1, 7, 60, 999_999_937, crate::units::LIMIT_MAX] {
            for now in [1, 59_999_999, 60_000_000, 86_400_000_000 * 3_650 + 12_345] {
                let exact = u128::from(now) * u128::from(l) / u128::from(PERIOD_US);
                assert_eq!(u128::from(limit(l).issued(at(now))), exact, "{l} {now}");
            }
        }
    }
}
