//! One request from its head to its end: the order of the stages, without I/O.
//!
//! A driver asks the worker to open an exchange, and does what each [`Step`] says: reads the body,
//! waits, lets an upstream answer, sends an answer. An admitted request settles exactly once,
//! whatever becomes of the driver: the drop of an exchange that did not end is its end.

use std::{borrow::Cow, mem, sync::Arc};

use nemorouter_core::{
    call::{Request, Usage as Used, endpoint},
    error,
    model::ModelName,
    numbers::fixed,
    units::NONE,
    verdict::{self, Refusal},
};

use crate::{
    charge::{Outcome, charge},
    echo,
    headers::{Headers, Name, RequestId, Text, cost, ids, latency, rates},
    media,
    peek::{Fault, Seen, peek},
    refusals::{Code, no_such_model},
    sse::{Scanner, Shown},
    usage::{self, Usage},
    worker::Worker,
};

/// Milliseconds between tries of an admission that may not be refused for long, about a second in
/// all: a policy is written in microseconds, a lease asked for in a millisecond or two, a money word
/// recounted within a drainer's tick.
const PAUSES_MS: [u16; 13] = [1, 1, 2, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256];
/// Bytes of a wrapped app's JSON in pieces that are kept to read its usage.
const LARGEST_KEPT: usize = 8 * 1024 * 1024;

/// A whole answer of ours.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Cow<'static, [u8]>,
}

/// What a driver does next.
pub enum Step {
    /// Send this.
    Whole(Answer),
    /// Resume after `ms`; ring the host's agent first if `bell`.
    Wait { ms: u16, bell: bool },
    /// Let an upstream answer; `body` is what to send in the place of the client's.
    Call { body: Option<Vec<u8>> },
}

/// What to send of an upstream's or an app's answer.
pub struct Reply {
    pub status: u16,
    /// Its own headers go before ours.
    pub keep: bool,
    /// The rate limits, which come before its own headers.
    pub first: Headers,
    pub last: Headers,
    /// What to send in the place of its body.
    pub body: Option<Cow<'static, [u8]>>,
}

/// Why an upstream's answer did not come, or came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer is complete.
    Whole,
    /// The upstream failed, or broke off.
    Failed,
    /// The upstream took too long.
    Late,
    /// The client left.
    Gone,
    /// A fault of ours.
    Broken,
}

/// What a driver still sends when an exchange ends.
pub enum Last {
    /// The whole answer: nothing was sent before.
    Whole(Reply),
    /// The last bytes of the answer; none may be left.
    Bytes(Vec<u8>),
    /// The answer cannot be completed: break the connection off.
    Cut,
}

/// One request.
pub struct Exchange {
    worker: Arc<Worker>,
    started_us: u64,
    index: u32,
    endpoint: u8,
    announced: Option<u64>,
    tries: usize,
    seen: Seen,
    route: u8,
    call: Option<Call>,
    scanner: Option<Scanner>,
    kept: Option<Vec<u8>>,
}

/// An admitted request.
struct Call {
    ticket: u64,
    status: u16,
    usage: Option<Usage>,
    /// Bytes of text.
    produced: u64,
    first_us: Option<u64>,
    ended: bool,
    /// Nano-USD, once it is known.
    cost: Option<u64>,
}

impl Exchange {
    pub(crate) fn new(
        worker: Arc<Worker>,
        started_us: u64,
        index: u32,
        endpoint: u8,
        announced: Option<u64>,
    ) -> Self {
        Self {
            worker,
            started_us,
            index,
            endpoint,
            announced,
            tries: 0,
            seen: Seen { model: "-".to_owned(), choices: 1, ..Seen::default() },
            route: 0,
            call: None,
            scanner: None,
            kept: None,
        }
    }

    /// False for a guarded request that is no model call: its body is the app's.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        self.endpoint != endpoint::OTHER
    }

    /// The bytes that the body announces; `None` if it does not.
    #[must_use]
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Take in the whole body, or more of it than is allowed; admit the request.
    pub fn body(&mut self, body: &[u8]) -> Step {
        let size = body.len() as u64;
        if size > self.worker.max_body {
            return self.refuse(Code::RequestTooLarge, Some(&self.worker.too_large()));
        }
        if self.announced.is_some_and(|announced| announced != size) {
            return self.refuse(Code::InvalidRequest, Some("The body is not complete."));
        }
        match peek(body, self.endpoint) {
            Ok(seen) => self.seen = seen,
            Err(Fault::Json) => return self.refuse(Code::InvalidJson, None),
            Err(Fault::Depth) => {
                return self.refuse(Code::InvalidJson, Some("The body is nested too deeply."));
            }
            Err(Fault::Model) => return self.refuse(Code::MissingModel, None),
            Err(Fault::Field(message)) => return self.refuse(Code::InvalidRequest, Some(&message)),
        }
        match self.worker.routes.resolve(&self.seen.model) {
            Some(route) => self.route = route,
            None => {
                let message = no_such_model(&self.seen.model);
                return self.refuse(Code::ModelNotFound, Some(&message));
            }
        }
        self.admit(body)
    }

    /// Admit the request, for the first time or once more; its body is what [`body`](Self::body)
    /// took in.
    pub fn admit(&mut self, body: &[u8]) -> Step {
        let Some(model) = ModelName::new(&self.seen.model) else {
            return self.refuse(Code::InvalidRequest, None);
        };
        let request = Request {
            index: self.index,
            model,
            endpoint: self.endpoint,
            upstream: self.route,
            prompt_bytes: body.len() as u64,
            max_tokens: self.seen.output,
            choices: self.seen.choices,
            stream: self.seen.stream,
        };
        match self.worker.gate.admit(&request) {
            Err(refusal) => self.refused(&refusal),
            Ok(ticket) => {
                self.call = Some(Call::new(ticket));
                self.echoed(body).map_or_else(
                    || Step::Call {
                        body: self.seen.usage_edit.as_ref().map(|edit| edit.apply(body)),
                    },
                    Step::Whole,
                )
            }
        }
    }

    fn refused(&mut self, refusal: &Refusal) -> Step {
        let waits = matches!(refusal.code, verdict::Code::NotReady | verdict::Code::LeaseWanted);
        if waits && self.worker.gate.is_fenced() {
            return self.refuse(Code::NotReady, None);
        }
        if waits && let Some(ms) = PAUSES_MS.get(self.tries) {
            self.tries += 1;
            return Step::Wait { ms: *ms, bell: refusal.code == verdict::Code::LeaseWanted };
        }
        Step::Whole(self.worker.refused(refusal, self.started_us))
    }

    fn refuse(&self, code: Code, message: Option<&str>) -> Step {
        Step::Whole(self.worker.refuse(code, message, self.started_us))
    }

    /// The built-in upstream's commonest answer. It defines the others outside of here.
    fn echoed(&mut self, body: &[u8]) -> Option<Answer> {
        if self.worker.echo != Some(self.route) || self.endpoint != endpoint::CHAT_COMPLETIONS {
            return None;
        }
        let echoed = echo::chat(str::from_utf8(body).ok()?, self.id().digits())?;
        let usage = Some((echoed.input, 0, echoed.output));
        self.settle(Outcome::Ok, 200, usage).ok()?;
        let mut headers = Headers::with_capacity(12);
        rates(&mut headers, self.worker.gate.tightest(self.index), self.worker.ietf);
        headers.push((Name::ContentType, Text::Static("application/json")));
        self.sign(&mut headers, true);
        Some(Answer { status: 200, headers, body: Cow::Owned(echoed.body) })
    }

    /// Take in an upstream's whole answer. `told` is the usage that it tells beside the body.
    pub fn whole(
        &mut self,
        status: u16,
        theirs: &Theirs,
        body: &[u8],
        told: Option<Usage>,
    ) -> error::Result<Reply> {
        if self.worker.guard.is_none() && !is_good(status) {
            return self.error(status, theirs, body);
        }
        self.learn(status, body, told);
        let outcome = if status < 400 { Outcome::Ok } else { Outcome::UpstreamError };
        self.settle(outcome, status, None)?;
        Ok(self.reply(status, theirs))
    }

    /// An upstream's answer that is no success: its status, and its body if that is a JSON object.
    /// Where it refuses the provider's key, the fault is ours.
    fn error(&mut self, status: u16, theirs: &Theirs, body: &[u8]) -> error::Result<Reply> {
        if !(400..600).contains(&status) || matches!(status, 401 | 403) {
            return self.fail(Code::UpstreamFailed, Outcome::UpstreamError);
        }
        self.settle(Outcome::UpstreamError, status, None)?;
        let mut reply = self.reply(status, theirs);
        if !media::is_object(body) {
            reply.last.push((Name::ContentType, Text::Static("application/json")));
            reply.body = Some(Code::UpstreamFailed.body(None));
        }
        Ok(reply)
    }

    /// An upstream that did not answer.
    fn fail(&mut self, code: Code, outcome: Outcome) -> error::Result<Reply> {
        let status = code.row().status;
        self.settle(outcome, status, None)?;
        Ok(self.own(code, None))
    }

    fn own(&self, code: Code, message: Option<&str>) -> Reply {
        let mut first = Headers::with_capacity(12);
        rates(&mut first, self.worker.gate.tightest(self.index), self.worker.ietf);
        let mut last = code.headers();
        self.sign(&mut last, true);
        Reply {
            status: code.row().status,
            keep: false,
            first,
            last,
            body: Some(code.body(message)),
        }
    }

    /// Usage of a whole answer, where nobody reported any.
    fn learn(&mut self, status: u16, body: &[u8], told: Option<Usage>) {
        let no_call = self.endpoint == endpoint::OTHER;
        let Some(call) = &mut self.call else { return };
        call.usage = call.usage.or(told);
        if call.usage.is_some() || call.ended {
            return;
        }
        if no_call {
            call.usage = Some((0, 0, 0)); // the request alone is counted
        } else if status < 400 {
            call.usage = usage::read(body);
            if call.usage.is_none() {
                call.produced = usage::produced(body);
            }
        }
    }

    /// Take in the head of an answer that comes in pieces.
    pub fn begin(&mut self, status: u16, theirs: &Theirs) -> Reply {
        if let Some(call) = &mut self.call {
            call.status = status;
        }
        let mut reply = self.reply(status, theirs);
        if theirs.events && status < 400 {
            self.scanner =
                Some(Scanner::new(self.worker.guard.is_none() && self.seen.usage_edit.is_some()));
            if !theirs.cache_control {
                reply.last.push((Name::CacheControl, Text::Static("no-cache")));
            }
            reply.last.push((Name::XAccelBuffering, Text::Static("no")));
        } else if theirs.json {
            self.kept = Some(Vec::new());
        }
        reply
    }

    /// What the client gets for a chunk.
    pub fn chunk(&mut self, chunk: &[u8]) -> error::Result<Shown> {
        let age_us = self.age_us();
        let Self { worker, call: Some(call), scanner, kept, .. } = self else {
            return Ok(Shown::Same);
        };
        if call.first_us.is_none() {
            call.first_us = Some(age_us);
        }
        if let Some(scanner) = scanner {
            return scanner.feed(chunk, |usage| call.bill(worker, age_us, usage));
        }
        if let Some(whole) = kept {
            whole.extend_from_slice(chunk);
            if whole.len() > LARGEST_KEPT {
                *kept = None;
            }
        }
        Ok(Shown::Same)
    }

    /// End the exchange, unless it ended before.
    pub fn end(&mut self, end: End) -> error::Result<Last> {
        let begun = self.call.as_ref().map_or(0, |call| call.status);
        match end {
            End::Gone => {
                self.close(Outcome::ClientGone, begun)?;
                Ok(Last::Cut)
            }
            End::Whole if begun > 0 => self.end_whole(begun),
            // An app that never answered.
            End::Whole => {
                self.close(Outcome::UpstreamError, 0)?;
                Ok(Last::Bytes(Vec::new()))
            }
            End::Failed | End::Late => {
                let (code, outcome) = if end == End::Late {
                    (Code::UpstreamTimeout, Outcome::Timeout)
                } else {
                    (Code::UpstreamFailed, Outcome::UpstreamError)
                };
                if begun == 0 {
                    return self.fail(code, outcome).map(Last::Whole);
                }
                self.close(outcome, begun)?;
                Ok(Last::Bytes([b"data: ", &code.body(None)[..], b"\n\n"].concat()))
            }
            End::Broken => {
                let open = self.call.as_ref().is_some_and(|call| !call.ended);
                self.close(Outcome::UpstreamError, 500)?;
                if begun > 0 || (self.call.is_some() && !open) {
                    return Ok(Last::Cut);
                }
                let told = format!("Internal error. Request id: {}.", self.id().as_str());
                Ok(Last::Whole(self.own(Code::InternalError, Some(&told))))
            }
        }
    }

    /// The end of an answer in pieces.
    fn end_whole(&mut self, status: u16) -> error::Result<Last> {
        let age_us = self.age_us();
        let mut left = Vec::new();
        if let (Some(scanner), Some(call)) = (&mut self.scanner, &mut self.call) {
            left = scanner.flush(|usage| call.bill(&self.worker, age_us, usage))?;
        } else {
            let kept = mem::take(&mut self.kept);
            let no_call = self.endpoint == endpoint::OTHER;
            if kept.is_some() || no_call {
                self.learn(status, kept.as_deref().unwrap_or_default(), None);
            }
        }
        let outcome = if status < 400 { Outcome::Ok } else { Outcome::UpstreamError };
        self.close(outcome, status)?;
        Ok(Last::Bytes(left))
    }

    /// Settle with what a stream showed so far.
    fn close(&mut self, outcome: Outcome, status: u16) -> error::Result<()> {
        if let (Some(scanner), Some(call)) = (&self.scanner, &mut self.call) {
            call.usage = call.usage.or(scanner.usage);
            call.produced = scanner.produced;
        }
        self.settle(outcome, status, None)
    }

    fn settle(&mut self, outcome: Outcome, status: u16, told: Option<Usage>) -> error::Result<()> {
        let age_us = self.age_us();
        match &mut self.call {
            Some(call) => call.settle(&self.worker, age_us, outcome, status, told),
            None => Ok(()),
        }
    }

    fn reply(&self, status: u16, theirs: &Theirs) -> Reply {
        let mut first = Headers::with_capacity(8);
        rates(&mut first, self.worker.gate.tightest(self.index), self.worker.ietf);
        let mut last = Headers::with_capacity(6);
        self.sign(&mut last, !theirs.request_id);
        Reply { status, keep: true, first, last, body: None }
    }

    /// Our own headers of every answer; `both` ids where the answer has none of its own.
    fn sign(&self, headers: &mut Headers, both: bool) {
        if both {
            ids(headers, self.id());
        } else {
            headers.push((Name::XNemoRequestId, Text::Id(self.id())));
        }
        latency(headers, self.age_us());
        if let Some(nano) = self.call.as_ref().and_then(|call| call.cost) {
            cost(headers, nano);
        }
    }

    fn age_us(&self) -> u64 {
        self.worker.gate.clock().boot_us().saturating_sub(self.started_us)
    }

    /// Count usage that a wrapped app reports. False if the exchange has ended.
    pub fn report(&mut self, input: u64, cached: u64, output: u64) -> bool {
        match &mut self.call {
            Some(call) if !call.ended => {
                call.usage = Some((input, cached.min(input), output));
                true
            }
            _ => false,
        }
    }

    /// The request's id: the ticket's, or a fresh one.
    #[must_use]
    pub fn id(&self) -> RequestId {
        let number = self
            .call
            .as_ref()
            .map_or_else(|| self.worker.gate.journal().next_stray(), |call| call.ticket >> 16);
        self.worker.id(number)
    }

    /// The key's index in the arena.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    #[must_use]
    pub fn endpoint(&self) -> u8 {
        self.endpoint
    }

    /// The number of the upstream that serves the model.
    #[must_use]
    pub fn route(&self) -> u8 {
        self.route
    }

    /// True if the client asked for a stream.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.seen.stream
    }

    /// True once the request is settled.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.ended)
    }

    /// True once the row of a settled request is in the ledger.
    #[must_use]
    pub fn recorded(&self) -> bool {
        self.call.as_ref().is_none_or(|call| self.worker.gate.recorded(call.ticket))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // The ticket is this exchange's alone, so that settling it cannot fail.
        let begun = self.call.as_ref().map_or(0, |call| call.status);
        let _ = self.close(Outcome::ClientGone, begun);
    }
}

impl Call {
    fn new(ticket: u64) -> Self {
        Self {
            ticket,
            status: 0,
            usage: None,
            produced: 0,
            first_us: None,
            ended: false,
            cost: None,
        }
    }

    fn settle(
        &mut self,
        worker: &Worker,
        age_us: u64,
        outcome: Outcome,
        status: u16,
        told: Option<Usage>,
    ) -> error::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let reserved = worker.gate.reserved(self.ticket).map_or(0, |(input, _)| input);
        let told = told.or(self.usage);
        let (input, cached, output) = charge(told, self.produced, outcome, reserved);
        let used = Used {
            input,
            cached,
            output,
            status,
            outcome: outcome as u8,
            latency_us: age_us,
            ttft_us: self.first_us.unwrap_or(NONE),
        };
        self.cost = worker.gate.settle(self.ticket, &used)?;
        Ok(())
    }

    /// Settle a stream at its last usage chunk; the cost to be written into it, in USD.
    fn bill(
        &mut self,
        worker: &Worker,
        age_us: u64,
        usage: Usage,
    ) -> error::Result<Option<String>> {
        let told = self.usage.or(Some(usage));
        self.settle(worker, age_us, Outcome::Ok, self.status, told)?;
        Ok(self.cost.map(|nano| fixed(nano, 9).as_str().to_owned()))
    }
}

/// What matters of the headers of an upstream's or an app's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Theirs {
    /// It is an event stream.
    pub events: bool,
    /// It is JSON.
    pub json: bool,
    pub cache_control: bool,
    pub request_id: bool,
}

impl Theirs {
    /// Read headers, whose names may have any case.
    pub fn read<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut theirs = Self::default();
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(b"content-type") {
                theirs.events = media::is_events(value);
                theirs.json = media::is_json(value);
            } else if name.eq_ignore_ascii_case(b"cache-control") {
                theirs.cache_control = true;
            } else if name.eq_ignore_ascii_case(b"x-request-id") {
                theirs.request_id = true;
            }
        }
        theirs
    }
}

fn is_good(status: u16) -> bool {
    (200..300).contains(&status)
}
