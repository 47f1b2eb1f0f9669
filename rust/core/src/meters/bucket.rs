//! A token bucket in one word, exact for every limit, with refund and debt.
//!
//! The bucket counts in *units*; `period / 2^grain` units are one token (see [`Quota::grain`]).
//! With a limit of `L` tokens a period, `t · L / 2^grain` units have been issued by the microsecond
//! `t`. The word holds `C`, the units ever claimed. A request of `n` tokens fits if
//! `C + n ≤ ⌊E⌋ + B`, and then `C := C + n`. A bucket with `C ≤ ⌊E⌋` is full: a request of `n ≤ B`
//! fits, and then
//! `C := ⌈E⌉ + n`.
//!
//! In any window `(s, t]` the admitted cost is at most `B + L · (t - s) / period`, exactly. Take
//! the last request that met a full bucket: from there on `C` rose from `⌈E⌉` to at most
//! `⌊E(t)⌋ + B`. If none did, then before the first request `C > ⌊E(s)⌋`, so `C ≥ E(s)`, and again
//! `C` ends at most at `⌊E(t)⌋ + B`. For limits a minute the grain is 0 and nothing is ever
//! rounded. For longer periods `E` lies between two units part of the time, and a bucket is up to
//! one unit (a ten millionth of a token) behind; it never gives too much.
//!
//! Both counters run on a ring of 63 bits; only their distance is looked at, as a signed number. A
//! bucket that nobody came to for longer than half a turn (76 minutes at the largest limit, years
//! at common ones) would look indebted: [`settle_down`] brings it back before.
//!
//! Bit 0 of the word flips whenever the rate changes, so that a swap computed under the old rate
//! cannot succeed by chance.

use crate::{
    quota::Quota,
    sync::{AtomicU64, Ordering},
    verdict::Deny,
};

/// Most units that can be used up, debt included: a quarter of the ring.
const USED_MAX: i64 = 1 << 61;

/// Units ever claimed: a place on the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed(u64);

/// Units issued since the epoch of the clock: a place on the ring, and what is beyond it in parts
/// of a unit, `2^grain` to the unit.
#[derive(Clone, Copy)]
struct Issued {
    place: u64,
    beyond: u64,
}

impl Claimed {
    /// Return the word with this claim and the bit 0 of `like`.
    fn word(self, like: u64) -> u64 {
        self.0 << 1 | like & 1
    }

    fn plus(self, units: i64) -> Self {
        Self(self.0.wrapping_add_signed(units))
    }
}

impl From<u64> for Claimed {
    /// Read the claim in a word.
    fn from(word: u64) -> Self {
        Self(word >> 1)
    }
}

impl Issued {
    fn down(self) -> Claimed {
        Claimed(self.place)
    }

    fn up(self) -> Claimed {
        Claimed(self.place.wrapping_add(u64::from(self.beyond > 0)))
    }
}

impl Quota {
    /// Return tokens as units; what no bucket can hold is cut off.
    fn units(self, tokens: u64) -> i64 {
        i64::try_from(tokens.saturating_mul(self.unit())).map_or(USED_MAX, |n| n.min(USED_MAX))
    }

    #[inline]
    fn issued(self, now_us: u64) -> Issued {
        if self.grain == 0 {
            return Issued { place: now_us.wrapping_mul(self.tokens), beyond: 0 };
        }
        let all = u128::from(now_us) * u128::from(self.tokens);
        Issued { place: (all >> self.grain) as u64, beyond: all as u64 & ((1 << self.grain) - 1) }
    }

    /// Return how far the claim is ahead of what was issued; negative: that long ago it was full.
    fn ahead(claimed: Claimed, issued: Issued) -> i64 {
        // The ring has 63 bits: doubled, its top bit is the sign.
        (claimed.0.wrapping_sub(issued.place) << 1).cast_signed() >> 1
    }

    /// Return the units used up now: none in a full bucket, more than the burst in debt.
    fn used(self, claimed: Claimed, now_us: u64) -> i64 {
        Self::ahead(claimed, self.issued(now_us)).max(0)
    }

    /// Return what is claimed after `n` tokens are taken now; `None` if they do not fit.
    #[inline]
    #[must_use]
    pub fn decide(self, claimed: Claimed, n: u64, now_us: u64) -> Option<Claimed> {
        let issued = self.issued(now_us);
        let used = Self::ahead(claimed, issued);
        // No burst has more than 2^60 units, so neither product leaves its word.
        let units = |tokens: u64| tokens.wrapping_mul(self.unit()).cast_signed();
        let (cost, room) = (units(n), units(self.burst));
        if n > self.burst || used.max(0).wrapping_add(cost) > room {
            return None;
        }
        Some(if used > 0 { claimed } else { issued.up() }.plus(cost))
    }

    /// Return the whole tokens that could be taken now; negative while in debt.
    #[must_use]
    pub fn remaining(self, claimed: Claimed, now_us: u64) -> i64 {
        let left = self.units(self.burst) - self.used(claimed, now_us);
        left.div_euclid(self.unit().cast_signed())
    }

    /// Return the microseconds until `n` tokens fit if nobody else takes any; `None` if they never
    /// do.
    #[must_use]
    pub fn wait(self, claimed: Claimed, n: u64, now_us: u64) -> Option<u64> {
        if self.is_unlimited() || self.decide(claimed, n, now_us).is_some() {
            return Some(0);
        }
        if n > self.burst || self.tokens == 0 {
            return None;
        }
        let missing = self.used(claimed, now_us) + self.units(n) - self.units(self.burst);
        Some(self.time_for(missing, now_us))
    }

    /// Return the microseconds until the bucket is full again; a limit of zero never fills and has
    /// 0.
    #[must_use]
    pub fn full_in(self, claimed: Claimed, now_us: u64) -> u64 {
        if self.tokens == 0 { 0 } else { self.time_for(self.used(claimed, now_us), now_us) }
    }

    /// Return the microseconds until a bucket with `remaining` tokens is full again.
    #[must_use]
    pub fn refill_in(self, remaining: i64) -> u64 {
        let missing = self.burst.saturating_add_signed(remaining.saturating_neg());
        self.time_of(missing)
    }

    /// Return the microseconds in which `n` tokens are issued; a limit of zero issues none and has
    /// 0.
    #[must_use]
    pub fn time_of(self, n: u64) -> u64 {
        if self.tokens == 0 { 0 } else { self.time_for(self.units(n), 0) }
    }

    /// Return the microseconds from `now_us` until `units` more are issued.
    fn time_for(self, units: i64, now_us: u64) -> u64 {
        let units = units.max(0).unsigned_abs();
        if self.grain == 0 {
            return units.div_ceil(self.tokens);
        }
        let parts = u128::from(units) << self.grain;
        let missing = parts.saturating_sub(u128::from(self.issued(now_us).beyond));
        u64::try_from(missing.div_ceil(u128::from(self.tokens))).unwrap_or(u64::MAX)
    }

    /// Return the claim under the rate `to`, which keeps what is used now. From no limit a full
    /// bucket begins.
    #[must_use]
    pub fn convert(self, claimed: Claimed, to: Self, now_us: u64) -> Claimed {
        if to.is_unlimited() {
            return claimed;
        }
        let (used, issued) =
            (if self.is_unlimited() { 0 } else { self.used(claimed, now_us) }, to.issued(now_us));
        if used == 0 { issued.down() } else { issued.up().plus(used) }
    }

    /// Return the claim of a bucket that has nothing left.
    #[must_use]
    pub fn empty(self, now_us: u64) -> Claimed {
        self.issued(now_us).up().plus(self.units(self.burst))
    }
}

/// Return what a word has claimed.
#[must_use]
pub fn claimed(word: &AtomicU64) -> Claimed {
    word.load(Ordering::Relaxed).into()
}

/// Read the word, to decide on it and then give it to [`take`].
#[must_use]
pub fn look(word: &AtomicU64) -> u64 {
    // Acquire: partner of `change`, so that `take`'s `current` cannot answer from before a
    // conversion that this load saw.
    word.load(Ordering::Acquire)
}

/// Take `n` tokens or none, starting from the word as `seen`. `current` says whether the policy
/// that `quota` was read from still stands; it is asked after each load of the word, since a word
/// of the new rate is only seen after the policy's sequence went odd. [`Deny::Retry`]: it does not.
pub fn take(
    word: &AtomicU64,
    mut seen: u64,
    quota: Quota,
    n: u64,
    now_us: u64,
    current: impl Fn() -> bool,
) -> Result<(), Deny<()>> {
    loop {
        if !current() {
            return Err(Deny::Retry);
        }
        let next = quota.decide(seen.into(), n, now_us).ok_or(Deny::Insufficient(()))?.word(seen);
        match word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(()),
            Err(other) => seen = other,
        }
    }
}

/// Give back `n` tokens that were taken. A bucket that was refilled meanwhile is simply full: a
/// late refund never overfills it.
pub fn give(word: &AtomicU64, quota: Quota, n: u64) {
    update(word, |seen| Claimed::from(seen).plus(-quota.units(n)).word(seen));
}

/// Take `n` tokens unconditionally: what was produced beyond the reservation becomes debt. Debt
/// that the ring cannot hold is cut off.
pub fn owe(word: &AtomicU64, quota: Quota, n: u64, now_us: u64) {
    update(word, |seen| {
        let claimed = Claimed::from(seen);
        let room = (USED_MAX - quota.used(claimed, now_us)).max(0);
        claimed.plus(quota.units(n).min(room)).word(seen)
    });
}

/// Change the rate, while the record's sequence is odd.
pub fn change(word: &AtomicU64, next: impl Fn(Claimed) -> Claimed) {
    // Release: partner of `look` and `take`.
    update(word, |seen| next(seen.into()).word(!seen));
}

/// Bring a bucket that has been full for a quarter of the ring to now, so that it never looks
/// indebted.
pub fn settle_down(word: &AtomicU64, quota: Quota, now_us: u64) {
    let (seen, issued) = (word.load(Ordering::Acquire), quota.issued(now_us));
    if !quota.is_unlimited() && Quota::ahead(seen.into(), issued) < -(USED_MAX / 2) {
        // A swap that fails met an admission, or a change of the rate.
        let _ = word.compare_exchange(
            seen,
            issued.down().word(seen),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

fn update(word: &AtomicU64, next: impl Fn(u64) -> u64) {
    let mut seen = word.load(Ordering::Relaxed);
    while let Err(other) =
        word.compare_exchange_weak(seen, next(seen), Ordering::AcqRel, Ordering::Relaxed)
    {
        seen = other;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::quota::{Limit, RATES};

    const MINUTE: u64 = 60_000_000;
    const MOST: u64 = RATES[0].most;
    const UNLIMITED: Quota = RATES[0].quota(Limit::UNLIMITED);

    fn limit(tokens: u64) -> Quota {
        sized(tokens, tokens)
    }

    fn sized(tokens: u64, burst: u64) -> Quota {
        RATES[0].quota(Limit { tokens, burst })
    }

    fn try_take(word: &AtomicU64, quota: Quota, n: u64, now_us: u64) -> Result<(), Deny<()>> {
        take(word, look(word), quota, n, now_us, || true)
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_the_rate() {
        let (word, sixty) = (AtomicU64::new(0), limit(60));
        let now = 5 * MINUTE + 123_457;
        for _ in 0..60 {
            try_take(&word, sixty, 1, now).expect("fits");
        }
        assert_eq!(try_take(&word, sixty, 1, now), Err(Deny::Insufficient(())));
        assert_eq!(
            sixty.wait(claimed(&word), 1, now),
            Some(1_000_000),
            "a whole second, wherever it began"
        );
        assert_eq!(
            try_take(&word, sixty, 1, now + 999_999),
            Err(Deny::Insufficient(())),
            "one microsecond early"
        );
        try_take(&word, sixty, 1, now + 1_000_000).expect("at the promised instant");
    }

    #[test]
    fn zero_blocks_and_too_much_never_fits() {
        let nothing = Claimed(0);
        assert_eq!(limit(0).decide(nothing, 1, MINUTE), None);
        assert_eq!(limit(0).wait(nothing, 1, MINUTE), None);
        assert_eq!(limit(5).wait(nothing, 6, MINUTE), None);
        assert_eq!(limit(5).wait(nothing, u64::MAX, MINUTE), None);
        assert_eq!(sized(60, 5).wait(nothing, 6, MINUTE), None);
    }

    #[test]
    fn debt_is_paid_by_the_refill() {
        let (word, l) = (AtomicU64::new(0), limit(60));
        try_take(&word, l, 60, MINUTE).expect("fits");
        owe(&word, l, 60, MINUTE);
        assert_eq!(l.remaining(claimed(&word), MINUTE), -60);
        assert_eq!(l.remaining(claimed(&word), 2 * MINUTE), 0);
        assert_eq!(l.full_in(claimed(&word), MINUTE), 2 * MINUTE);
    }

    #[test]
    fn debt_without_measure_still_is_debt() {
        let (word, l) = (AtomicU64::new(0), limit(60));
        for _ in 0..100 {
            owe(&word, l, u64::MAX, MINUTE);
        }
        assert!(l.remaining(claimed(&word), MINUTE) < -1_000_000_000);
        assert_eq!(try_take(&word, l, 1, MINUTE), Err(Deny::Insufficient(())));
    }

    #[test]
    fn a_late_refund_never_overfills() {
        let (word, l) = (AtomicU64::new(0), limit(60));
        try_take(&word, l, 60, MINUTE).expect("fits");
        give(&word, l, 50);
        assert_eq!(l.remaining(claimed(&word), MINUTE), 50);
        give(&word, l, 10);
        assert_eq!(l.remaining(claimed(&word), 9 * MINUTE), 60);
    }

    #[test]
    fn a_changed_rate_keeps_what_is_used_and_no_old_swap_succeeds() {
        let (word, old, new) = (AtomicU64::new(0), limit(600), limit(60_000));
        try_take(&word, old, 100, 7 * MINUTE).expect("fits");
        let before = word.load(Ordering::Relaxed);
        change(&word, |c| old.convert(c, new, 7 * MINUTE));
        assert_eq!(new.remaining(claimed(&word), 7 * MINUTE), 60_000 - 100);
        assert_ne!(word.load(Ordering::Relaxed) & 1, before & 1);
        assert_eq!(take(&word, before, old, 1, 7 * MINUTE, || false), Err(Deny::Retry));
    }

    #[test]
    fn the_ring_turns_unnoticed() {
        let most = limit(MOST);
        for start in [0, (1 << 63) / MOST - 5, 86_400_000_000 * 3_650] {
            let word = AtomicU64::new(0);
            change(&word, |c| UNLIMITED.convert(c, most, start));
            try_take(&word, most, MOST, start).expect("fits");
            assert_eq!(try_take(&word, most, 1, start), Err(Deny::Insufficient(())));
            assert_eq!(
                most.remaining(claimed(&word), start + 60_000),
                (MOST / 1_000).cast_signed()
            );
        }
    }

    #[test]
    fn an_idle_bucket_is_brought_to_now() {
        let (word, most) = (AtomicU64::new(0), limit(MOST));
        let hour = 60 * MINUTE;
        for i in 0..100 {
            assert_eq!(most.remaining(claimed(&word), i * hour / 2), MOST.cast_signed(), "{i}");
            settle_down(&word, most, i * hour / 2);
        }
    }
}
