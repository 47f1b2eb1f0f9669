//! The table of rate limits. A limit is a row: its name, what it counts, over which period, its
//! largest value, and the code of its refusal. Everything that handles limits loops over [`RATES`].
//!
//! `nemorouter.types.RATES` is this table in Python; a test compares the two.

use super::{
    units::NONE,
    verdict::Code::{
        self, RateLimitExceeded, RpdLimitExceeded, TpdLimitExceeded, TpmLimitExceeded,
    },
};

const MINUTE_US: u64 = 60_000_000;
const DAY_US: u64 = 86_400_000_000;

/// All kinds of rate limits, in the order in which they are checked. The place of a row is its
/// number in records, leases and the binding: a new row is added at the end, and none is moved.
const TABLE: [Rate; 4] = [
    Rate::new("rpm", Counts::Requests, MINUTE_US, 1_000_000_000, RateLimitExceeded),
    Rate::new("tpm", Counts::Tokens, MINUTE_US, 1_000_000_000, TpmLimitExceeded),
    Rate::new("rpd", Counts::Requests, DAY_US, 100_000_000_000, RpdLimitExceeded),
    Rate::new("tpd", Counts::Tokens, DAY_US, 100_000_000_000, TpdLimitExceeded),
];

/// Number of kinds of rate limits. Loom tries all interleavings of all words, and one more kind
/// makes some tests ten times longer: it sees the first two, a kind of each resource.
pub const RATE_COUNT: usize = if cfg!(loom) { 2 } else { TABLE.len() };

/// The rows of the table, by their numbers.
pub const RATES: [Rate; RATE_COUNT] = {
    let mut rates = [TABLE[0]; RATE_COUNT];
    let mut place = 1;
    while place < RATE_COUNT {
        rates[place] = TABLE[place];
        place += 1;
    }
    rates
};

/// What a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// One for each request.
    Requests,
    /// The tokens of a request: reserved at admission, reconciled at settlement.
    Tokens,
}

impl Counts {
    /// Return `requests` or `tokens`, as in the names of headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }

    /// Return what a request of `tokens` takes from a limit that counts this.
    #[must_use]
    pub fn cost(self, tokens: u64) -> u64 {
        match self {
            Self::Requests => 1,
            Self::Tokens => tokens,
        }
    }
}

/// One kind of rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub name: &'static str,
    pub counts: Counts,
    pub period_us: u64,
    /// Largest limit or burst.
    pub most: u64,
    pub code: Code,
    /// See [`Quota::grain`].
    grain: u32,
}

impl Rate {
    /// Define a kind of rate limit.
    ///
    /// # Panics
    /// At compile time, where a bucket cannot hold `most` tokens in whole units.
    #[must_use]
    pub const fn new(
        name: &'static str,
        counts: Counts,
        period_us: u64,
        most: u64,
        code: Code,
    ) -> Self {
        let mut grain = 0;
        while most as u128 * (period_us >> grain) as u128 > 1 << 60 || most >> grain > 1 << 30 {
            grain += 1;
        }
        assert!(grain <= period_us.trailing_zeros(), "a token is a whole number of units");
        Self { name, counts, period_us, most, code, grain }
    }

    /// Combine a limit with the period of this rate.
    #[must_use]
    pub const fn quota(&self, limit: Limit) -> Quota {
        let Limit { tokens, burst } = limit;
        Quota { tokens, burst, period_us: self.period_us, grain: self.grain }
    }
}

/// A rate limit as a policy states it: tokens a period, and how many at once. A token is one
/// request where the limit counts requests. [`NONE`] as `tokens` = no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub tokens: u64,
    pub burst: u64,
}

impl Limit {
    pub const UNLIMITED: Self = Self { tokens: NONE, burst: NONE };

    #[must_use]
    pub fn is_unlimited(self) -> bool {
        self.tokens == NONE
    }
}

/// A set of rates, by their places in [`RATES`]. Loops over the limits of a policy visit only the
/// rates in its set, so that a rate without a limit costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSet(u32);

const _: () = assert!(RATE_COUNT <= 16);

impl RateSet {
    /// The rates that count tokens.
    pub const TOKENS: Self = Self::counting(Counts::Tokens);
    /// The rates that count requests.
    pub const REQUESTS: Self = Self::counting(Counts::Requests);

    const fn counting(counts: Counts) -> Self {
        let (mut set, mut rate) = (0, 0);
        while rate < RATE_COUNT {
            if RATES[rate].counts as u8 == counts as u8 {
                set |= 1 << rate;
            }
            rate += 1;
        }
        Self(set)
    }

    /// Read the set from the low bits of a word.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits as u32 & ((1 << RATE_COUNT) - 1))
    }

    #[must_use]
    pub fn bits(self) -> u64 {
        u64::from(self.0)
    }

    pub fn insert(&mut self, rate: usize) {
        self.0 |= 1 << rate;
    }

    #[must_use]
    pub fn contains(self, rate: usize) -> bool {
        self.0 >> rate & 1 == 1
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl IntoIterator for RateSet {
    type Item = usize;
    type IntoIter = Places;

    #[inline]
    fn into_iter(self) -> Places {
        Places(self.0)
    }
}

/// The places of a [`RateSet`] that are still to come, lowest first.
pub struct Places(u32);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let rate = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        Some(rate)
    }
}

/// The limits of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    each: [Limit; RATE_COUNT],
    limited: RateSet,
}

impl Limits {
    pub const NONE: Self = Self { each: [Limit::UNLIMITED; RATE_COUNT], limited: RateSet(0) };

    /// Combine limits, in the order of [`RATES`], with the set of those that are not unlimited.
    #[must_use]
    pub fn with(each: [Limit; RATE_COUNT], limited: RateSet) -> Self {
        Self { each, limited }
    }

    /// Collect the limits of some rates, by their places in [`RATES`]. The others have none.
    pub fn new(limits: impl IntoIterator<Item = (usize, Limit)>) -> Self {
        let mut all = Self::NONE;
        for (rate, limit) in limits {
            if !limit.is_unlimited() {
                all.each[rate] = limit;
                all.limited.insert(rate);
            }
        }
        all
    }

    #[must_use]
    pub fn of(&self, rate: usize) -> Limit {
        self.each[rate]
    }

    /// Return the rates that have a limit.
    #[must_use]
    pub fn limited(&self) -> RateSet {
        self.limited
    }
}

/// A limit with its period: rate and size of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub tokens: u64,
    pub burst: u64,
    pub period_us: u64,
    /// A bucket counts `period_us / 2^grain` units in a token, so that the largest burst is at most
    /// 2^60 units, and at most 2^30 units are issued in a microsecond. 0 for limits a minute.
    pub grain: u32,
}

impl Quota {
    #[must_use]
    pub fn is_unlimited(self) -> bool {
        self.tokens == NONE
    }

    /// Return the units in a token.
    #[must_use]
    pub fn unit(self) -> u64 {
        self.period_us >> self.grain
    }
}

/// A meter of a scope that hosts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The rate limit with this place in [`RATES`].
    Rate(u8),
    /// The budget.
    Money,
}

/// Number of the budget among the meters of a scope; rates have their places in [`RATES`].
pub const MONEY: u8 = 15;
const _: () = assert!(RATE_COUNT <= MONEY as usize);

impl Resource {
    /// List the meters of a scope: all rates, then the budget.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..RATE_COUNT as u8).map(Self::Rate).chain([Self::Money])
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            MONEY => Some(Self::Money),
            rate if usize::from(rate) < RATE_COUNT => Some(Self::Rate(rate)),
            _ => None,
        }
    }

    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Rate(rate) => rate,
            Self::Money => MONEY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_as_fine_as_the_ring_has_room_for() {
        let rpm = RATES[0].quota(Limit { tokens: 60, burst: 60 });
        assert_eq!((rpm.grain, rpm.unit()), (0, 60_000_000));
        let day =
            Rate::new("d", Counts::Tokens, 86_400_000_000, 100_000_000_000, RateLimitExceeded);
        assert_eq!((day.grain, day.quota(Limit::UNLIMITED).unit()), (13, 10_546_875));
    }

    #[test]
    fn a_set_of_rates_lists_its_places_in_order() {
        let limit = Limit { tokens: 5, burst: 5 };
        let limits = Limits::new([(1, limit), (0, Limit::UNLIMITED)]);
        assert_eq!(limits.limited().into_iter().collect::<Vec<_>>(), [1]);
        assert_eq!((limits.of(0), limits.of(1)), (Limit::UNLIMITED, limit));
        assert!(limits.limited().contains(1) && !limits.limited().contains(0));
        let all: Vec<_> = RateSet::from_bits(u64::MAX).into_iter().collect();
        assert_eq!(all, (0..RATE_COUNT).collect::<Vec<_>>());
        for (rate, row) in RATES.iter().enumerate() {
            let counted = (RateSet::TOKENS.contains(rate), RateSet::REQUESTS.contains(rate));
            assert_eq!(counted, (row.counts == Counts::Tokens, row.counts == Counts::Requests));
        }
        assert_eq!(RateSet::TOKENS.and(limits.limited()).bits(), 2);
    }

    #[test]
    fn meters_have_stable_numbers() {
        assert!(Resource::all().all(|one| Resource::from_number(one.number()) == Some(one)));
        assert_eq!(Resource::all().count(), RATE_COUNT + 1);
        assert_eq!(Resource::from_number(RATE_COUNT as u8), None);
    }
}
