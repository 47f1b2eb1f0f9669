//! Why a request was refused. The numbers are those of `nemorouter.errors.Code`.

/// A refusal's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    MissingApiKey = 1,
    KeyMalformed = 2,
    KeyUnknown = 3,
    KeyRevoked = 4,
    KeyExpired = 5,
    KeyWrongIp = 6,
    OwnerDisabled = 7,
    EndpointNotAllowed = 8,
    ModelNotAllowed = 9,
    ModelPriceUnknown = 10,
    RateLimitExceeded = 11,
    TpmLimitExceeded = 12,
    BudgetExceeded = 13,
    Overloaded = 14,
    NotReady = 15,
    /// A lease is short: the agent was asked, and the answer is known in a moment.
    LeaseWanted = 28,
    RpdLimitExceeded = 29,
    TpdLimitExceeded = 30,
}

impl Code {
    /// All codes with the names their counters carry.
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::MissingApiKey, "missing_api_key"),
        (Self::KeyMalformed, "key_malformed"),
        (Self::KeyUnknown, "key_unknown"),
        (Self::KeyRevoked, "key_revoked"),
        (Self::KeyExpired, "key_expired"),
        (Self::KeyWrongIp, "key_wrong_ip"),
        (Self::OwnerDisabled, "owner_disabled"),
        (Self::EndpointNotAllowed, "endpoint_not_allowed"),
        (Self::ModelNotAllowed, "model_not_allowed"),
        (Self::ModelPriceUnknown, "model_price_unknown"),
        (Self::RateLimitExceeded, "rate_limit_exceeded"),
        (Self::TpmLimitExceeded, "tpm_limit_exceeded"),
        (Self::BudgetExceeded, "budget_exceeded"),
        (Self::Overloaded, "overloaded"),
        (Self::NotReady, "not_ready"),
        (Self::LeaseWanted, "lease_wanted"),
        (Self::RpdLimitExceeded, "rpd_limit_exceeded"),
        (Self::TpdLimitExceeded, "tpd_limit_exceeded"),
    ];

    /// Return the name of the counter of this code, which is its member of `nemorouter.errors.Code`
    /// in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("", |(_, name)| name)
    }
}

/// Why nothing was taken.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deny<T> {
    /// What was asked for is not there.
    Insufficient(T),
    /// A policy, a window or a word changed meanwhile, or a money word waits for its recount: read
    /// everything again.
    Retry,
}

/// What a scope stands for. The discriminants are those of `nemorouter.types.Kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Org = 1,
    Team = 2,
    User = 3,
    Key = 4,
}

impl Kind {
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        match bits & 255 {
            1 => Some(Self::Org),
            2 => Some(Self::Team),
            3 => Some(Self::User),
            4 => Some(Self::Key),
            _ => None,
        }
    }
}

/// A refusal with what its answer needs. Nothing was consumed at any level.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// Index of the key.
    pub index: u32,
    /// The scope that refused, where one did.
    pub kind: Option<Kind>,
    /// The rate limit that refused: its place in [`RATES`](super::quota::RATES).
    pub rate: Option<u8>,
    /// Limit or cap of that scope.
    pub limit: u64,
    /// Nano-USD committed in that scope, for a budget.
    pub used: u64,
    /// Until the same request fits if nobody else spends; `None` = never.
    pub retry_after_us: Option<u64>,
}

impl Refusal {
    pub fn new(code: Code, index: u32) -> Self {
        Self { code, index, kind: None, rate: None, limit: 0, used: 0, retry_after_us: None }
    }
}
