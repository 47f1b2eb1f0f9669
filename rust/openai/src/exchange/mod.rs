//! One request from its head to its end: the order of the stages, without I/O.
//!
//! A driver asks the worker to open an exchange, and does what each [`Step`] says: reads the body,
//! waits, lets an upstream answer, sends an answer. An admitted request settles exactly once,
//! whatever becomes of the driver: the drop of an exchange that did not end is its end.

mod answering;
mod call;
mod parts;

use std::{borrow::Cow, sync::Arc};

use call::Call;
use nemorouter_core::{
    call::{Request, endpoint},
    model::ModelName,
    verdict::{self, Refusal},
};
pub use parts::{Answer, End, Last, Reply, Theirs};

use crate::{
    answer::Pieces,
    charge::{Outcome, Source},
    echo,
    headers::{Headers, Name, RequestId, Text, rates},
    peek::{Fault, Seen, peek},
    refusals::{Code, no_such_model},
    sse::Scanner,
    worker::Worker,
};

/// Milliseconds between tries of an admission that may not be refused for long, about a second in
/// all: a policy is written in microseconds, a lease asked for in a millisecond or two, a money word
/// recounted within a drainer's tick.
const PAUSES_MS: [u16; 13] = [1, 1, 2, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256];

/// Tokens of input that are reserved where the provider adds input that it keeps: as many as the
/// largest window of a model holds.
const STORED_INPUT: u64 = 1_000_000;
const STORED_WHY: &str = " The request refers to input that the provider keeps or fetches, for \
                          which 1000000 tokens are reserved.";

/// What a driver does next.
pub enum Step {
    /// Send this.
    Whole(Answer),
    /// Resume after `ms`; ring the host's agent first if `bell`.
    Wait { ms: u16, bell: bool },
    /// Let an upstream answer; `body` is what to send in the place of the client's.
    Call { body: Option<Vec<u8>> },
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
    /// A wrapped app's JSON.
    pieces: Option<Pieces>,
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
            pieces: None,
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
        if let Some(route) = self.worker.routes.resolve(&self.seen.model) {
            self.route = route;
        } else {
            let message = no_such_model(&self.seen.model);
            return self.refuse(Code::ModelNotFound, Some(&message));
        }
        if let Some(refusal) = self.unbounded() {
            return refusal;
        }
        self.admit(body)
    }

    /// Refuse what no reservation bounds, where something is to be kept within bounds.
    fn unbounded(&self) -> Option<Step> {
        if !self.seen.background && self.seen.other_model.is_none() {
            return None;
        }
        let bounds = self.worker.gate.bounds(self.index);
        if self.seen.background && (bounds.money || bounds.tokens) {
            return Some(self.refuse(Code::BackgroundNotSupported, None));
        }
        let name = self.seen.other_model.filter(|_| bounds.money || bounds.models)?;
        let told = format!("{name}: not where a budget or a list of models applies.");
        Some(self.refuse(Code::InvalidRequest, Some(&told)))
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
            prompt_bytes: self.seen.prompt_bytes,
            stored_input: if self.seen.stored { STORED_INPUT } else { 0 },
            max_tokens: self.seen.output,
            choices: self.seen.choices,
            stream: self.seen.stream,
        };
        match self.worker.gate.admit(&request) {
            Err(refusal) => self.refused(&refusal),
            Ok(ticket) => {
                self.call = Some(Call::new(ticket, self.seen.background));
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
        let why = self.seen.stored.then_some(STORED_WHY);
        Step::Whole(self.worker.refused(refusal, why, self.started_us))
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
        self.call.as_mut()?.report((echoed.input, 0, echoed.output));
        self.settle(Outcome::Ok, 200).ok()?;
        let mut headers = Headers::with_capacity(12);
        rates(&mut headers, self.worker.gate.tightest(self.index), self.worker.ietf);
        headers.push((Name::ContentType, Text::Static("application/json")));
        self.sign(&mut headers, true);
        Some(Answer { status: 200, headers, body: Cow::Owned(echoed.body) })
    }

    fn age_us(&self) -> u64 {
        self.worker.gate.clock().boot_us().saturating_sub(self.started_us)
    }

    /// Count usage that a wrapped app reports. False if the exchange has ended.
    pub fn report(&mut self, input: u64, cached: u64, output: u64) -> bool {
        match &mut self.call {
            Some(call) if !call.ended => {
                call.report((input, cached, output));
                true
            }
            _ => false,
        }
    }

    /// The request's id: the ticket's, or a fresh one.
    #[must_use]
    pub fn id(&self) -> RequestId {
        let number = self.call.as_ref().map_or_else(
            || self.worker.gate.journal().next_request_number(),
            |call| call.ticket >> 16,
        );
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

    /// Who says how many tokens the request used, once it is settled.
    #[must_use]
    pub fn usage_source(&self) -> Option<Source> {
        self.call.as_ref().and_then(|call| call.source)
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
        let _ = self.end(End::Gone);
    }
}
