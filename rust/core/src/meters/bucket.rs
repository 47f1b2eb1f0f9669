//! A token bucket in one word, exact for every limit, with refund and debt.
//!
//! With a limit of `L` a minute, `E(t) = t · L` counts what was ever issued by the microsecond `t`,
//! in *shares*: sixty millionths of a token. The word holds `C`, the shares ever claimed. A request
//! of `n` tokens fits iff `max(C, E) + n ≤ E + B`; then `C := max(C, E) + n`. Nothing is ever
//! rounded, so in any window the admitted cost is at most `B + L · Δt`, exactly.
//!
//! Both counters run on a ring of 63 bits; only their distance is looked at, as a signed number. A
//! bucket that nobody came to for longer than half a turn (76 minutes at the largest limit, years
//! at common ones) would look indebted: [`settle_down`] brings it back before.
//!
//! Bit 0 of the word flips whenever the rate changes, so that a swap computed under the old rate
//! cannot succeed by chance.

use crate::{
    sync::{AtomicU64, Ordering},
    units::NONE,
};

/// Microseconds in the period of a limit, and shares in a token.
pub const PERIOD_US: u64 = 60_000_000;
/// Most shares that can be used up, debt included: a quarter of the ring.
const USED_MAX: i64 = 1 << 61;

/// Rate and size of a bucket: `limit` tokens a minute, at most `burst` at once; [`NONE`] as limit =
/// no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub limit: u64,
    pub burst: u64,
}

/// Shares ever claimed: a place on the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed(u64);

/// Tokens as shares; what no bucket can hold is cut off.
fn shares(tokens: u64) -> i64 {
    i64::try_from(tokens.saturating_mul(PERIOD_US)).map_or(USED_MAX, |shares| shares.min(USED_MAX))
}

impl Claimed {
    /// The word with this claim and `like`'s bit 0.
    fn word(self, like: u64) -> u64 {
        self.0 << 1 | like & 1
    }

    fn plus(self, shares: i64) -> Self {
        Self(self.0.wrapping_add_signed(shares))
    }
}

impl From<u64> for Claimed {
    /// The claim in a word.
    fn from(word: u64) -> Self {
        Self(word >> 1)
    }
}

impl Limit {
    pub const UNLIMITED: Self = Self { limit: NONE, burst: NONE };

    #[must_use]
    pub fn is_unlimited(self) -> bool {
        self.limit == NONE
    }

    /// Shares issued since the epoch of the clock.
    fn issued(self, now_us: u64) -> Claimed {
        Claimed(now_us.wrapping_mul(self.limit))
    }

    /// How far the claim is ahead of what was issued; negative: that long ago it was full.
    fn ahead(self, claimed: Claimed, now_us: u64) -> i64 {
        // The ring has 63 bits: doubled, its top bit is the sign.
        (claimed.0.wrapping_sub(self.issued(now_us).0) << 1).cast_signed() >> 1
    }

    /// Shares used up now: none in a full bucket, more than the burst in debt.
    fn used(self, claimed: Claimed, now_us: u64) -> i64 {
        self.ahead(claimed, now_us).max(0)
    }

    /// What is claimed after `n` tokens are taken now; `None` if they do not fit.
    #[must_use]
    pub fn decide(self, claimed: Claimed, n: u64, now_us: u64) -> Option<Claimed> {
        let next = self.used(claimed, now_us).checked_add(shares(n))?;
        (n <= self.burst && next <= shares(self.burst)).then(|| self.issued(now_us).plus(next))
    }

    /// Whole tokens that could be taken now; negative while in debt.
    #[must_use]
    pub fn remaining(self, claimed: Claimed, now_us: u64) -> i64 {
        (shares(self.burst) - self.used(claimed, now_us)).div_euclid(PERIOD_US.cast_signed())
    }

    /// Microseconds until `n` tokens fit if nobody else takes any; `None` if they never do.
    #[must_use]
    pub fn wait(self, claimed: Claimed, n: u64, now_us: u64) -> Option<u64> {
        if self.is_unlimited() || self.decide(claimed, n, now_us).is_some() {
            return Some(0);
        }
        if n > self.burst || self.limit == 0 {
            return None;
        }
        Some(self.time_for(self.used(claimed, now_us) + shares(n) - shares(self.burst)))
    }

    /// Microseconds until the bucket is full again; a limit of zero never fills and says 0.
    #[must_use]
    pub fn full_in(self, claimed: Claimed, now_us: u64) -> u64 {
        if self.limit == 0 { 0 } else { self.time_for(self.used(claimed, now_us)) }
    }

    /// Microseconds until a bucket with `remaining` tokens is full again.
    #[must_use]
    pub fn refill_in(self, remaining: i64) -> u64 {
        let missing = self.burst.saturating_add_signed(remaining.saturating_neg());
        if self.limit == 0 { 0 } else { self.time_for(shares(missing)) }
    }

    /// Microseconds in which this many shares are issued.
    fn time_for(self, shares: i64) -> u64 {
        shares.max(0).unsigned_abs().div_ceil(self.limit)
    }

    /// The claim under the rate `to`, keeping what is used now. From no limit a full bucket begins.
    #[must_use]
    pub fn convert(self, claimed: Claimed, to: Self, now_us: u64) -> Claimed {
        if to.is_unlimited() {
            return claimed;
        }
        to.issued(now_us).plus(if self.is_unlimited() { 0 } else { self.used(claimed, now_us) })
    }

    /// The claim of a bucket that has nothing left.
    #[must_use]
    pub fn empty(self, now_us: u64) -> Claimed {
        self.issued(now_us).plus(shares(self.burst))
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

/// What a word has claimed.
#[must_use]
pub fn claimed(word: &AtomicU64) -> Claimed {
    word.load(Ordering::Relaxed).into()
}

/// The word as it is now, to be decided on and then given to [`take`].
#[must_use]
pub fn look(word: &AtomicU64) -> u64 {
    // Acquire: partner of `change`, so that `take`'s `current` cannot answer from before a
    // conversion that this load saw.
    word.load(Ordering::Acquire)
}

/// Take `n` tokens or none, starting from the word as `seen`. `current` says whether the policy
/// that `limit` was read from still stands; it is asked after each load of the word: a word of the
/// new rate is only seen after the policy's sequence went odd.
pub fn take(
    word: &AtomicU64,
    mut seen: u64,
    limit: Limit,
    n: u64,
    now_us: u64,
    current: impl Fn() -> bool,
) -> Result<(), Stop> {
    loop {
        if !current() {
            return Err(Stop::Stale);
        }
        let next = limit.decide(seen.into(), n, now_us).ok_or(Stop::Short)?.word(seen);
        match word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(()),
            Err(other) => seen = other,
        }
    }
}

/// Give back `n` tokens that were taken. What was refilled meanwhile is simply full: a late refund
/// never overfills.
pub fn give(word: &AtomicU64, n: u64) {
    update(word, |seen| Claimed::from(seen).plus(-shares(n)).word(seen));
}

/// Take `n` tokens without asking: what was produced beyond the reservation is owed. Debt beyond
/// what the ring can tell is cut off.
pub fn owe(word: &AtomicU64, limit: Limit, n: u64, now_us: u64) {
    update(word, |seen| {
        let claimed = Claimed::from(seen);
        let room = (USED_MAX - limit.used(claimed, now_us)).max(0);
        claimed.plus(shares(n).min(room)).word(seen)
    });
}

/// Change the rate, while the record's sequence is odd.
pub fn change(word: &AtomicU64, next: impl Fn(Claimed) -> Claimed) {
    // Release: partner of `look` and `take`.
    update(word, |seen| next(seen.into()).word(!seen));
}

/// Bring a bucket that has been full for a quarter of the ring to now, so that it never seems to be
/// in debt.
pub fn settle_down(word: &AtomicU64, limit: Limit, now_us: u64) {
    let seen = word.load(Ordering::Acquire);
    if !limit.is_unlimited() && limit.ahead(seen.into(), now_us) < -(USED_MAX / 2) {
        // A failed swap: somebody came, or the rate changed.
        let _ = word.compare_exchange(
            seen,
            limit.issued(now_us).word(seen),
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
    use crate::units::LIMIT_MAX;

    const MINUTE: u64 = PERIOD_US;

    fn limit(limit: u64) -> Limit {
        Limit { limit, burst: limit }
    }

    fn try_take(word: &AtomicU64, limit: Limit, n: u64, now_us: u64) -> Result<(), Stop> {
        take(word, look(word), limit, n, now_us, || true)
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_the_rate() {
        let (word, sixty) = (AtomicU64::new(0), limit(60));
        let now = 5 * MINUTE + 123_457;
        for _ in 0..60 {
            try_take(&word, sixty, 1, now).expect("fits");
        }
        assert_eq!(try_take(&word, sixty, 1, now), Err(Stop::Short));
        assert_eq!(
            sixty.wait(claimed(&word), 1, now),
            Some(1_000_000),
            "a whole second, wherever it began"
        );
        assert_eq!(
            try_take(&word, sixty, 1, now + 999_999),
            Err(Stop::Short),
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
        assert_eq!(Limit { limit: 60, burst: 5 }.wait(nothing, 6, MINUTE), None);
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
        assert_eq!(try_take(&word, l, 1, MINUTE), Err(Stop::Short));
    }

    #[test]
    fn a_late_refund_never_overfills() {
        let (word, l) = (AtomicU64::new(0), limit(60));
        try_take(&word, l, 60, MINUTE).expect("fits");
        give(&word, 50);
        assert_eq!(l.remaining(claimed(&word), MINUTE), 50);
        give(&word, 10);
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
        assert_eq!(take(&word, before, old, 1, 7 * MINUTE, || false), Err(Stop::Stale));
    }

    #[test]
    fn the_ring_turns_unnoticed() {
        let most = limit(LIMIT_MAX);
        for start in [0, (1 << 63) / LIMIT_MAX - 5, 86_400_000_000 * 3_650] {
            let word = AtomicU64::new(0);
            change(&word, |c| Limit::UNLIMITED.convert(c, most, start));
            try_take(&word, most, LIMIT_MAX, start).expect("fits");
            assert_eq!(try_take(&word, most, 1, start), Err(Stop::Short));
            assert_eq!(
                most.remaining(claimed(&word), start + 60_000),
                (LIMIT_MAX / 1_000).cast_signed()
            );
        }
    }

    #[test]
    fn an_idle_bucket_is_brought_to_now() {
        let (word, most) = (AtomicU64::new(0), limit(LIMIT_MAX));
        let hour = 60 * MINUTE;
        for i in 0..100 {
            assert_eq!(
                most.remaining(claimed(&word), i * hour / 2),
                LIMIT_MAX.cast_signed(),
                "{i}"
            );
            settle_down(&word, most, i * hour / 2);
        }
    }
}
