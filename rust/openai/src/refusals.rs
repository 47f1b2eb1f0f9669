//! The catalogue of refusals: status, type, code and message of each, its headers, and its body as
//! bytes. The one home of all of them.
//!
//! No answer may tell why a key is invalid.

use std::{borrow::Cow, sync::LazyLock};

use nemorouter_core::{
    calendar::{Duration, date},
    gate::BudgetWindow,
    verdict::{self, Kind, Refusal},
};

use crate::headers::{Headers, Name, Text};

/// Why a request is refused. The numbers are those of `nemorouter.errors.Code`; up to `NotReady`,
/// and from `LeaseWanted` to `TpdLimitExceeded`, they are the gate's.
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
    InvalidJson = 16,
    MissingModel = 17,
    InvalidRequest = 18,
    ModelNotFound = 19,
    UnknownUrl = 20,
    MethodNotAllowed = 21,
    RequestTooLarge = 22,
    UnsupportedMediaType = 23,
    HeadersTooLarge = 24,
    InternalError = 25,
    UpstreamFailed = 26,
    UpstreamTimeout = 27,
    LeaseWanted = 28,
    RpdLimitExceeded = 29,
    TpdLimitExceeded = 30,
    RequestTimeout = 31,
    BackgroundNotSupported = 32,
}

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub of: Code,
    pub status: u16,
    pub kind: &'static str,
    pub code: &'static str,
    /// What is told where the refusal has nothing better to tell.
    pub message: &'static str,
}

const AUTHENTICATION: &str = "authentication_error";
const PERMISSION: &str = "permission_error";
const RATE_LIMIT: &str = "rate_limit_error";
const INVALID: &str = "invalid_request_error";
const NOT_FOUND: &str = "not_found_error";
const SERVER: &str = "server_error";
const UPSTREAM: &str = "upstream_error";

const fn row(
    of: Code,
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: &'static str,
) -> Row {
    Row { of, status, kind, code, message }
}

const fn invalid_key(of: Code) -> Row {
    row(of, 401, AUTHENTICATION, "invalid_api_key", "Invalid API key provided.")
}

const fn not_ready(of: Code) -> Row {
    row(of, 503, SERVER, "not_ready", "The server is not ready. Retry.")
}

/// Every refusal, in the order of its number.
pub const CATALOGUE: [Row; 32] = [
    row(
        Code::MissingApiKey,
        401,
        AUTHENTICATION,
        "missing_api_key",
        "No API key provided. Send it as 'Authorization: Bearer sk-nemo-...'.",
    ),
    invalid_key(Code::KeyMalformed),
    invalid_key(Code::KeyUnknown),
    invalid_key(Code::KeyRevoked),
    invalid_key(Code::KeyExpired),
    invalid_key(Code::KeyWrongIp),
    invalid_key(Code::OwnerDisabled),
    row(
        Code::EndpointNotAllowed,
        403,
        PERMISSION,
        "endpoint_not_allowed",
        "This API key may not call this endpoint.",
    ),
    row(
        Code::ModelNotAllowed,
        403,
        PERMISSION,
        "model_not_allowed",
        "This API key may not use the requested model.",
    ),
    row(
        Code::ModelPriceUnknown,
        403,
        PERMISSION,
        "model_price_unknown",
        "The requested model has no price, and a budget applies to this API key.",
    ),
    row(
        Code::RateLimitExceeded,
        429,
        RATE_LIMIT,
        "rate_limit_exceeded",
        "Rate limit reached: requests per minute.",
    ),
    row(
        Code::TpmLimitExceeded,
        429,
        RATE_LIMIT,
        "tpm_limit_exceeded",
        "Rate limit reached: tokens per minute.",
    ),
    row(Code::BudgetExceeded, 402, "budget_error", "budget_exceeded", "Budget exceeded."),
    row(
        Code::Overloaded,
        503,
        SERVER,
        "overloaded",
        "The server cannot record more requests now. Retry.",
    ),
    not_ready(Code::NotReady),
    row(Code::InvalidJson, 400, INVALID, "invalid_json", "The body is not valid JSON."),
    row(Code::MissingModel, 400, INVALID, "missing_model", "You must provide a model parameter."),
    row(Code::InvalidRequest, 400, INVALID, "invalid_request", "The request is not valid."),
    row(Code::ModelNotFound, 404, NOT_FOUND, "model_not_found", "The model does not exist."),
    row(Code::UnknownUrl, 404, NOT_FOUND, "unknown_url", "Unknown request URL."),
    row(
        Code::MethodNotAllowed,
        405,
        INVALID,
        "method_not_allowed",
        "This method is not allowed for this URL.",
    ),
    row(Code::RequestTooLarge, 413, INVALID, "request_too_large", "The body is too large."),
    row(
        Code::UnsupportedMediaType,
        415,
        INVALID,
        "unsupported_media_type",
        "Send the body as uncompressed application/json.",
    ),
    row(
        Code::HeadersTooLarge,
        431,
        INVALID,
        "headers_too_large",
        "The request's headers are too large.",
    ),
    row(Code::InternalError, 500, SERVER, "internal_error", "Internal error."),
    row(Code::UpstreamFailed, 502, UPSTREAM, "upstream_failed", "The upstream failed to answer."),
    row(
        Code::UpstreamTimeout,
        504,
        UPSTREAM,
        "upstream_timeout",
        "The upstream did not answer in time.",
    ),
    not_ready(Code::LeaseWanted),
    row(
        Code::RpdLimitExceeded,
        429,
        RATE_LIMIT,
        "rpd_limit_exceeded",
        "Rate limit reached: requests per day.",
    ),
    row(
        Code::TpdLimitExceeded,
        429,
        RATE_LIMIT,
        "tpd_limit_exceeded",
        "Rate limit reached: tokens per day.",
    ),
    row(Code::RequestTimeout, 408, INVALID, "request_timeout", "The body did not arrive in time."),
    row(
        Code::BackgroundNotSupported,
        400,
        INVALID,
        "background_not_supported",
        "Work in the background cannot be settled, and a budget or a limit of tokens applies.",
    ),
];

/// The default bodies, in the order of the catalogue.
static BODIES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| CATALOGUE.iter().map(|row| row.body(row.message)).collect());

impl Row {
    fn body(&self, message: &str) -> Vec<u8> {
        let message = serde_json::Value::from(message);
        format!(
            r#"{{"error":{{"message":{message},"type":"{}","code":"{}"}}}}"#,
            self.kind, self.code
        )
        .into_bytes()
    }
}

impl Code {
    /// The code with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        CATALOGUE.get(usize::from(number).checked_sub(1)?).map(|row| row.of)
    }

    /// The code's row of the catalogue.
    #[must_use]
    pub fn row(self) -> &'static Row {
        &CATALOGUE[self as usize - 1]
    }

    /// The body that tells `message`, or the catalogue's.
    #[must_use]
    pub fn body(self, message: Option<&str>) -> Cow<'static, [u8]> {
        match message {
            Some(message) => Cow::Owned(self.row().body(message)),
            None => Cow::Borrowed(&BODIES[self as usize - 1]),
        }
    }

    /// The headers that belong to the code.
    #[must_use]
    pub fn headers(self) -> Headers {
        let mut headers = Headers::with_capacity(16);
        headers.push((Name::ContentType, Text::Static("application/json")));
        match self.row().status {
            401 if self == Self::MissingApiKey => {
                headers.push((Name::WwwAuthenticate, Text::Static(r#"Bearer realm="nemorouter""#)));
            }
            401 => headers.push((
                Name::WwwAuthenticate,
                Text::Static(r#"Bearer realm="nemorouter", error="invalid_token""#),
            )),
            402 => headers.push((Name::XShouldRetry, Text::Static("false"))),
            503 => headers.push((Name::RetryAfter, Text::Static("1"))),
            _ => {}
        }
        headers
    }
}

impl From<verdict::Code> for Code {
    fn from(code: verdict::Code) -> Self {
        Self::from_number(code as u8).unwrap_or(Self::NotReady)
    }
}

/// What a refusal of the gate tells beside its code: the level that refused, its limit, and for a
/// budget its window. `None` where the catalogue's message says all.
#[must_use]
pub fn message(refusal: &Refusal, window: Option<BudgetWindow>) -> Option<String> {
    let level = refusal.kind.map(level)?;
    let code = Code::from(refusal.code);
    match code {
        Code::BudgetExceeded => {
            let (used, limit) = (dollars(refusal.used), dollars(refusal.limit));
            let (name, end) = match window {
                None => ("Budget", String::new()),
                Some(BudgetWindow { duration: Duration::Total, .. }) => {
                    ("Total budget", "; it does not reset".to_owned())
                }
                Some(BudgetWindow { duration, end_day }) => {
                    let name = match duration {
                        Duration::Daily => "Daily budget",
                        Duration::Weekly => "Weekly budget",
                        _ => "Monthly budget",
                    };
                    (name, format!("; it resets on {} at 00:00 UTC", date(end_day)))
                }
            };
            Some(format!(
                "Budget exceeded. Current spend: {used} / {limit} limit. {name} of the {level}{end}."
            ))
        }
        _ if code.row().status == 429 => {
            let plain = code.row().message.trim_end_matches('.');
            Some(format!("{plain}. The {level} has a limit of {}.", refusal.limit))
        }
        _ => None,
    }
}

fn level(kind: Kind) -> &'static str {
    match kind {
        Kind::Key => "API key",
        Kind::Team => "team",
        Kind::User => "user",
        Kind::Org => "organization",
    }
}

/// When to retry what a limit refused.
pub fn retry_headers(headers: &mut Headers, retry_after_us: Option<u64>) {
    match retry_after_us {
        None => headers.push((Name::XShouldRetry, Text::Static("false"))),
        Some(wait) => {
            headers.push((Name::RetryAfter, Text::number(wait.div_ceil(1_000_000).max(1))));
            headers.push((Name::RetryAfterMs, Text::number(wait.div_ceil(1_000).max(1))));
        }
    }
}

/// What to tell of a model that no upstream serves, or that the key may not know of. A key that was
/// sent in the place of a name is not repeated.
#[must_use]
pub fn no_such_model(name: &str) -> String {
    let name: String = name.chars().take(200).collect();
    let name = if name.contains("k-nemo-") { "..." } else { &name };
    format!("The model '{name}' does not exist.")
}

/// `$500.12`: cents from a dollar on, every digit below it.
#[must_use]
pub fn dollars(nano: u64) -> String {
    const CENT: u64 = 10_000_000;
    if nano >= 100 * CENT {
        let cents = (nano + CENT / 2) / CENT;
        return format!("${}.{:02}", cents / 100, cents % 100);
    }
    let digits = format!("{nano:09}");
    format!("$0.{:0<2}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_the_order_of_its_numbers() {
        for (at, row) in CATALOGUE.iter().enumerate() {
            assert_eq!(row.of as usize, at + 1);
            assert_eq!(Code::from_number(row.of as u8), Some(row.of));
        }
        assert_eq!(Code::from_number(0), None);
        assert_eq!(Code::from_number(CATALOGUE.len() as u8 + 1), None);
        for (code, _) in verdict::Code::ALL {
            assert_eq!(Code::from(code) as u8, code as u8);
        }
    }

    #[test]
    fn bodies_are_json_of_the_contract() {
        let text = String::from_utf8(Code::KeyRevoked.body(None).into_owned()).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"error":{"message":"Invalid API key provided.","type":"authentication_error","code":"invalid_api_key"}}"#
        );
        let told = Code::InvalidRequest.body(Some("a\"b\n"));
        assert!(told.starts_with(br#"{"error":{"message":"a\"b\n","#));
    }

    #[test]
    fn a_limit_names_its_level() {
        let mut refusal = Refusal::new(verdict::Code::TpmLimitExceeded, 0);
        assert_eq!(message(&refusal, None), None);
        (refusal.kind, refusal.limit) = (Some(Kind::Team), 60);
        assert_eq!(
            message(&refusal, None).as_deref(),
            Some("Rate limit reached: tokens per minute. The team has a limit of 60.")
        );
        let mut refusal = Refusal::new(verdict::Code::BudgetExceeded, 0);
        (refusal.kind, refusal.limit, refusal.used) =
            (Some(Kind::Org), 500_000_000_000, 500_120_000_000);
        let monthly = BudgetWindow { duration: Duration::Monthly, end_day: 19_723 };
        assert_eq!(
            message(&refusal, Some(monthly)).as_deref(),
            Some(
                "Budget exceeded. Current spend: $500.12 / $500.00 limit. Monthly budget of the organization; it resets on 2024-01-01 at 00:00 UTC."
            )
        );
        let total = BudgetWindow { duration: Duration::Total, end_day: 0 };
        let told = message(&refusal, Some(total)).expect("a message");
        assert!(told.ends_with(" Total budget of the organization; it does not reset."));
    }

    #[test]
    fn money_is_written_in_cents_from_a_dollar_on() {
        for (nano, text) in [
            (0, "$0.00"),
            (1, "$0.000000001"),
            (100_000, "$0.0001"),
            (500_000_000, "$0.50"),
            (500_120_000_000, "$500.12"),
            (500_124_999_999, "$500.12"),
            (500_000_000_000, "$500.00"),
            (10_000_000_000_000_000, "$10000000.00"),
        ] {
            assert_eq!(dollars(nano), text);
        }
    }

    #[test]
    fn retrying_is_told_in_whole_seconds_rounded_up() {
        let mut headers = Headers::new();
        retry_headers(&mut headers, Some(1_000_001));
        retry_headers(&mut headers, Some(0));
        let told: Vec<_> = headers.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(told, ["2", "1001", "1", "1"]);
    }

    #[test]
    fn a_key_in_the_place_of_a_model_is_not_repeated() {
        assert_eq!(no_such_model("sk-nemo-x"), "The model '...' does not exist.");
        assert_eq!(no_such_model("gpt"), "The model 'gpt' does not exist.");
    }
}
