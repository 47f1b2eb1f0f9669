//! The headers that answers carry: names, values, and which of another server's are passed on.

use nemorouter_core::{
    levels::Tightest,
    numbers::{Digits, decimal, fixed, go_duration},
};

/// Names of the headers that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Name {
    Allow,
    CacheControl,
    Connection,
    ContentType,
    RateLimit,
    RateLimitPolicy,
    RetryAfter,
    RetryAfterMs,
    WwwAuthenticate,
    XAccelBuffering,
    XNemoLatencyMs,
    XNemoRequestCost,
    XNemoRequestId,
    XRateLimitLimitRequests,
    XRateLimitLimitTokens,
    XRateLimitRemainingRequests,
    XRateLimitRemainingTokens,
    XRateLimitResetRequests,
    XRateLimitResetTokens,
    XRequestId,
    XShouldRetry,
}

impl Name {
    /// True if the value is often that of the answer before.
    #[must_use]
    pub fn repeats(self) -> bool {
        !matches!(
            self,
            Self::XNemoLatencyMs
                | Self::XNemoRequestId
                | Self::XRequestId
                | Self::XRateLimitRemainingRequests
                | Self::XRateLimitRemainingTokens
                | Self::RateLimit
        )
    }
}

/// The text of each [`Name`], in its order.
pub const NAMES: [&str; 21] = [
    "allow",
    "cache-control",
    "connection",
    "content-type",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "retry-after-ms",
    "www-authenticate",
    "x-accel-buffering",
    "x-nemo-latency-ms",
    "x-nemo-request-cost",
    "x-nemo-request-id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
    "x-should-retry",
];

/// The only request headers that reach an upstream. Credentials are not among them.
pub const TO_UPSTREAM: [&str; 2] = ["openai-beta", "user-agent"];
/// Beside its content type, the only headers of an upstream's answer that reach the client: no
/// cookies, no organization, no limits of the provider's account.
pub const FROM_UPSTREAM: [&str; 2] = ["openai-processing-ms", "openai-version"];
/// What an error of an upstream carries beside [`FROM_UPSTREAM`].
pub const FROM_UPSTREAM_ERROR: [&str; 3] = ["retry-after", "retry-after-ms", "x-should-retry"];

/// The value of a header.
#[derive(Clone)]
pub enum Text {
    Static(&'static str),
    Digits(Digits),
    Id(RequestId),
    Owned(String),
}

impl Text {
    /// A number in decimal.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self::Digits(decimal(number))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Digits(digits) => digits.as_str(),
            Self::Id(id) => id.as_str(),
            Self::Owned(text) => text,
        }
    }
}

/// Headers of ours, in the order in which they are sent.
pub type Headers = Vec<(Name, Text)>;

/// `req_`, then the journal's id and the request's number as sixteen hex digits each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 36]);

impl RequestId {
    #[must_use]
    pub fn new(journal: u64, number: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"req_00000000000000000000000000000000";
        let bytes = journal.to_be_bytes().into_iter().chain(number.to_be_bytes());
        for (pair, byte) in text[4..].chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(text)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The 32 digits alone.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.as_str()[4..]
    }
}

/// `OpenAI`'s six headers of the tightest requests and tokens; with `ietf` the IETF draft's two.
pub fn rates(headers: &mut Headers, tightest: [Option<Tightest>; 2], ietf: bool) {
    const NAMES: [[Name; 2]; 3] = [
        [Name::XRateLimitLimitRequests, Name::XRateLimitLimitTokens],
        [Name::XRateLimitRemainingRequests, Name::XRateLimitRemainingTokens],
        [Name::XRateLimitResetRequests, Name::XRateLimitResetTokens],
    ];
    let values: [fn(Tightest) -> Digits; 3] = [
        |bucket| decimal(bucket.limit),
        |bucket| decimal(remaining(bucket)),
        |bucket| go_duration(bucket.full_in_us),
    ];
    for (names, value) in NAMES.into_iter().zip(values) {
        for (name, bucket) in names.into_iter().zip(tightest) {
            if let Some(bucket) = bucket {
                headers.push((name, Text::Digits(value(bucket))));
            }
        }
    }
    if ietf {
        rates_of_ietf(headers, tightest);
    }
}

fn rates_of_ietf(headers: &mut Headers, tightest: [Option<Tightest>; 2]) {
    let told = |tell: fn(&str, Tightest) -> String| {
        let told = ["requests", "tokens"].into_iter().zip(tightest);
        told.filter_map(|(name, bucket)| Some(tell(name, bucket?))).collect::<Vec<_>>().join(", ")
    };
    if tightest.iter().any(Option::is_some) {
        let policy = told(|name, bucket| {
            format!(r#""{name}";q={};w={}"#, bucket.limit, bucket.period_us / 1_000_000)
        });
        headers.push((Name::RateLimitPolicy, Text::Owned(policy)));
        let state = told(|name, bucket| format!(r#""{name}";r={}"#, remaining(bucket)));
        headers.push((Name::RateLimit, Text::Owned(state)));
    }
}

fn remaining(bucket: Tightest) -> u64 {
    bucket.remaining.max(0).unsigned_abs()
}

/// The request's id under both of its names.
pub fn ids(headers: &mut Headers, id: RequestId) {
    headers.push((Name::XNemoRequestId, Text::Id(id)));
    headers.push((Name::XRequestId, Text::Id(id)));
}

/// The time since the request came, in milliseconds.
pub fn latency(headers: &mut Headers, microseconds: u64) {
    headers.push((Name::XNemoLatencyMs, Text::Digits(fixed(microseconds, 3))));
}

/// The cost in USD, never in exponent form.
pub fn cost(headers: &mut Headers, nano: u64) {
    headers.push((Name::XNemoRequestCost, Text::Digits(fixed(nano, 9))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(headers: &Headers) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (NAMES[*name as usize], value.as_str())).collect()
    }

    #[test]
    fn names_stand_in_order() {
        assert!(NAMES.is_sorted());
        assert_eq!(NAMES[Name::Allow as usize], "allow");
        assert_eq!(NAMES[Name::XShouldRetry as usize], "x-should-retry");
        assert_eq!(Name::XShouldRetry as usize, NAMES.len() - 1);
    }

    #[test]
    fn rates_of_the_tightest_level() {
        let bucket =
            Tightest { limit: 60, period_us: 60_000_000, remaining: -1, full_in_us: 1_500_000 };
        let mut headers = Headers::new();
        rates(&mut headers, [Some(bucket), None], true);
        assert_eq!(
            text(&headers),
            [
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1.5s"),
                ("ratelimit-policy", r#""requests";q=60;w=60"#),
                ("ratelimit", r#""requests";r=0"#),
            ]
        );
        let mut headers = Headers::new();
        rates(&mut headers, [None, None], true);
        assert!(headers.is_empty());
    }

    #[test]
    fn ids_and_numbers() {
        let id = RequestId::new(0xab, 0x10);
        assert_eq!(id.as_str(), "req_00000000000000ab0000000000000010");
        assert_eq!(id.digits().len(), 32);
        let mut headers = Headers::new();
        ids(&mut headers, id);
        latency(&mut headers, 1_500);
        cost(&mut headers, 6_000);
        assert_eq!(
            text(&headers),
            [
                ("x-nemo-request-id", id.as_str()),
                ("x-request-id", id.as_str()),
                ("x-nemo-latency-ms", "1.500"),
                ("x-nemo-request-cost", "0.000006000"),
            ]
        );
    }
}
