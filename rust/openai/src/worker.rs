//! What all exchanges of a worker share, and the first stage of each: the head of a request.
//!
//! The head decides where a request belongs, whose key it carries and whether its body may be read.
//! Nothing of a body is read for a credential that is refused.

use std::{net::IpAddr, sync::Arc};

use nemorouter_core::{
    arena::Arena, call::endpoint, gate, journal::Journal, verdict, verdict::Refusal,
};

use crate::{
    credential::Offered,
    exchange::{Answer, Exchange},
    headers::{Headers, Name, RequestId, Text, ids, latency, rates},
    media,
    paths::{Guard, Place, locate},
    refusals::{Code, message, retry_headers},
    routes::Routes,
    source::{Networks, source},
};

/// The gate of a worker.
pub type Gate = gate::Gate<Arc<Arena>, Arc<Journal>>;

/// One worker's gate and what its settings say of the request path.
pub struct Worker {
    pub gate: Arc<Gate>,
    pub routes: Routes,
    /// The number of the built-in upstream, if it serves anything.
    pub echo: Option<u8>,
    /// What needs a key, in front of a wrapped app; `None` for the whole gateway.
    pub guard: Option<Guard>,
    pub trusted: Networks,
    /// Largest body, in bytes.
    pub max_body: u64,
    /// Largest sum of the headers' names and values, in bytes.
    pub max_headers: usize,
    /// Tell rate limits in the IETF's headers, too.
    pub ietf: bool,
}

/// A request's head, but for its headers.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    /// Percent-decoded once, with the root path or without it.
    pub path: &'a str,
    /// The path below which the app is mounted.
    pub root: &'a str,
    pub query: &'a [u8],
    /// The address that connected, if the server knows it.
    pub peer: Option<IpAddr>,
}

/// What becomes of a request by its head.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation a request")]
pub enum Opened<'a> {
    /// Not a model call: the driver serves it.
    Place(Place<'a>),
    /// Nobody guards it: the wrapped app serves it.
    Unguarded,
    Refused(Answer),
    /// The body comes next; under `endpoint::OTHER` admission does.
    Exchange(Exchange),
}

/// What the headers of a request say.
#[derive(Default)]
struct Said<'a> {
    credentials: Offered<'a>,
    /// Bytes of all names and values.
    total: usize,
    kind: Header<'a>,
    coding: Header<'a>,
    length: Header<'a>,
    transfer: Header<'a>,
    forwarded: Vec<Option<&'a [u8]>>,
}

/// A header that must be given once at most.
#[derive(Clone, Copy, Default)]
enum Header<'a> {
    #[default]
    Missing,
    Once(&'a [u8]),
    /// Twice, or in a way that the server could not read.
    Faulty,
}

impl<'a> Header<'a> {
    fn take(&mut self, value: Option<&'a [u8]>) {
        *self = match (&self, value) {
            (Self::Missing, Some(value)) => Self::Once(value),
            _ => Self::Faulty,
        };
    }
}

impl<'a> Said<'a> {
    fn read(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>, proxied: bool) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            said.total += name.len() + value.map_or(0, <[u8]>::len);
            match name {
                "content-type" => said.kind.take(value),
                "content-encoding" => said.coding.take(value),
                "content-length" => said.length.take(value),
                "transfer-encoding" => said.transfer.take(value),
                "x-forwarded-for" if proxied => said.forwarded.push(value),
                _ => said.credentials.take(name, value),
            }
        }
        said
    }

    /// The bytes that a body announces, `None` if it is counted; or why it is not read.
    fn length(&self, worker: &Worker) -> Result<Option<u64>, (Code, Option<String>)> {
        if self.total > worker.max_headers {
            return Err((Code::HeadersTooLarge, None));
        }
        let fits = |header: Header, fits: fn(&[u8]) -> bool| match header {
            Header::Missing => true,
            Header::Once(value) => fits(value),
            Header::Faulty => false,
        };
        if !fits(self.kind, media::is_request) || !fits(self.coding, media::is_identity) {
            return Err((Code::UnsupportedMediaType, None));
        }
        let invalid = |message: &str| Err((Code::InvalidRequest, Some(message.to_owned())));
        match (self.length, self.transfer) {
            (Header::Missing, _) => Ok(None),
            (Header::Faulty, _) => invalid("content-length: expected one number."),
            (Header::Once(_), Header::Once(_) | Header::Faulty) => {
                invalid("content-length: not beside transfer-encoding.")
            }
            (Header::Once(length), Header::Missing) => match parse_length(length) {
                None => invalid("content-length: expected one number."),
                Some(length) if length > worker.max_body => {
                    Err((Code::RequestTooLarge, Some(worker.too_large())))
                }
                Some(length) => Ok(Some(length)),
            },
        }
    }
}

/// Digits alone; more of them than a number holds are the largest.
fn parse_length(value: &[u8]) -> Option<u64> {
    let value = str::from_utf8(value).ok()?;
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

impl Worker {
    /// Judge a request by its head.
    pub fn open<'a>(
        self: &Arc<Self>,
        head: &Head<'a>,
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Opened<'a> {
        let started_us = self.gate.clock().boot_us();
        let refuse =
            |code, message: Option<&str>| Opened::Refused(self.refuse(code, message, started_us));
        let endpoint = match &self.guard {
            Some(guard) => match guard.judge(head.method, head.path, head.root) {
                Some(endpoint) => endpoint,
                None => return Opened::Unguarded,
            },
            None => match locate(head.path, head.root) {
                Place::Call(endpoint) if head.method == "POST" => endpoint,
                Place::Unknown => return refuse(Code::UnknownUrl, None),
                Place::WithoutRoot => return refuse(Code::UnknownUrl, Some(BASE_URL)),
                Place::Elsewhere => return Opened::Place(Place::Elsewhere),
                place if !place.allow().split(", ").any(|method| method == head.method) => {
                    let mut answer = self.refuse(Code::MethodNotAllowed, None, started_us);
                    answer.headers.push((Name::Allow, Text::Static(place.allow())));
                    return Opened::Refused(answer);
                }
                place => return Opened::Place(place),
            },
        };
        let said = Said::read(headers, !self.trusted.is_empty());
        let index = match self.identify(head, &said, endpoint) {
            Ok(index) => index,
            Err(code) => return refuse(code.into(), None),
        };
        let announced = match said.length(self) {
            _ if endpoint == endpoint::OTHER => None,
            Ok(announced) => announced,
            Err((code, message)) => return refuse(code, message.as_deref()),
        };
        Opened::Exchange(Exchange::new(self.clone(), started_us, index, endpoint, announced))
    }

    /// The live key that a request carries, for a resource that costs nothing; or the refusal.
    pub fn admit_free<'a>(
        &self,
        head: &Head<'a>,
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<u32, Answer> {
        let started_us = self.gate.clock().boot_us();
        let said = Said::read(headers, !self.trusted.is_empty());
        self.identify(head, &said, endpoint::MODELS)
            .map_err(|code| self.refuse(code.into(), None, started_us))
    }

    /// The source is found for every request, so that its time tells nothing of a key.
    fn identify(&self, head: &Head, said: &Said, endpoint: u8) -> Result<u32, verdict::Code> {
        let source = source(head.peer, &self.trusted, said.forwarded.iter().copied());
        let address = || source.map_or_else(String::new, |address| address.to_string());
        self.gate.identify_key(said.credentials.choose(head.query), address, endpoint)
    }

    /// An error that cost nothing.
    #[must_use]
    pub fn refuse(&self, code: Code, message: Option<&str>, started_us: u64) -> Answer {
        let fenced = code == Code::NotReady && self.gate.is_fenced();
        let body = code.body(if fenced { Some(FENCED) } else { message });
        let mut headers = code.headers();
        self.sign(&mut headers, code, started_us);
        Answer { status: code.row().status, headers, body }
    }

    /// Answer what the gate refused; `why` says why a budget needed so much.
    pub(crate) fn refused(&self, refusal: &Refusal, why: Option<&str>, started_us: u64) -> Answer {
        let code = Code::from(refusal.code);
        let window = (code == Code::BudgetExceeded).then(|| self.gate.budget_window(refusal));
        let mut headers = code.headers();
        if code.row().status == 429 {
            retry_headers(&mut headers, refusal.retry_after_us);
            rates(&mut headers, self.gate.tightest(refusal.index), self.ietf);
        }
        self.sign(&mut headers, code, started_us);
        let mut told = message(refusal, window.flatten());
        if let (Code::BudgetExceeded, Some(told), Some(why)) = (code, &mut told, why) {
            told.push_str(why);
        }
        let body = code.body(told.as_deref());
        Answer { status: code.row().status, headers, body }
    }

    fn sign(&self, headers: &mut Headers, code: Code, started_us: u64) {
        ids(headers, self.id(self.gate.journal().next_request_number()));
        if code.row().status != 401 {
            latency(headers, self.gate.clock().boot_us().saturating_sub(started_us));
        }
    }

    /// The headers of an answer that took no ticket and is no refusal.
    #[must_use]
    pub fn free_headers(&self, started_us: u64) -> Headers {
        let mut headers = vec![(Name::ContentType, Text::Static("application/json"))];
        ids(&mut headers, self.id(self.gate.journal().next_request_number()));
        latency(&mut headers, self.gate.clock().boot_us().saturating_sub(started_us));
        headers
    }

    #[must_use]
    pub fn id(&self, number: u64) -> RequestId {
        RequestId::new(self.gate.journal().id(), number)
    }

    pub(crate) fn too_large(&self) -> String {
        format!("The body is too large: at most {} bytes.", self.max_body)
    }
}

const FENCED: &str = "This server has lost touch with its cluster. Retry.";
const BASE_URL: &str = "Unknown request URL. The base URL of this API ends with /v1.";
