//! The table of rate limits. A limit is a row: its name, what it counts, over which period, and the
//! code of its refusal. Everything that loops over limits loops over [`RATES`].
//!
//! `nemorouter.types.RATES` is this table in Python; a test compares the two.

use super::verdict::Code;

/// What a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// One for each request.
    Requests,
    /// The tokens of a request: reserved at admission, reconciled at settlement.
    Tokens,
}

impl Counts {
    /// `requests` or `tokens`, as in the names of headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
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
}

const MINUTE_US: u64 = 60_000_000;

/// Number of kinds of rate limits.
pub const RATE_COUNT: usize = 2;

/// All kinds of rate limits, in the order in which they are checked. The place of a row is its
/// number in records, leases and the binding: rows are added at the end, and none is ever moved.
pub const RATES: [Rate; RATE_COUNT] = [
    Rate {
        name: "rpm",
        counts: Counts::Requests,
        period_us: MINUTE_US,
        most: 1_000_000_000,
        code: Code::RateLimitExceeded,
    },
    Rate {
        name: "tpm",
        counts: Counts::Tokens,
        period_us: MINUTE_US,
        most: 1_000_000_000,
        code: Code::TpmLimitExceeded,
    },
];
