//! The second half of an exchange: an upstream's or an app's answer, and the end.

use std::borrow::Cow;

use nemorouter_core::{call::endpoint, error};

use super::{End, Exchange, Last, Reply, Theirs};
use crate::{
    answer::{self, Pieces},
    charge::Outcome,
    headers::{Headers, Name, Text, cost, ids, latency, rates},
    media,
    refusals::Code,
    sse::{Scanner, Shown},
    usage::Tokens,
};

impl Exchange {
    /// Take in an upstream's whole answer. `told` is the usage that it tells beside the body.
    pub fn whole(
        &mut self,
        status: u16,
        theirs: Theirs,
        body: &[u8],
        told: Option<Tokens>,
    ) -> error::Result<Reply> {
        if self.worker.guard.is_none() && !is_good(status) {
            return self.error(status, theirs, body);
        }
        if theirs.is_stream(status) {
            return self.whole_stream(status, theirs, body);
        }
        if let (Some(told), Some(call)) = (told, &mut self.call) {
            call.report(told);
        }
        if !self.learn(status, || answer::read(body)) && self.worker.guard.is_none() {
            return self.fail(Code::UpstreamFailed, Outcome::UpstreamError);
        }
        self.settle(self.outcome(status), status)?;
        Ok(self.reply(status, theirs))
    }

    /// An event stream that came in one piece.
    fn whole_stream(&mut self, status: u16, theirs: Theirs, body: &[u8]) -> error::Result<Reply> {
        let mut reply = self.begin(status, theirs);
        let mut shown = match self.chunk(body)? {
            Shown::Same => body.to_vec(),
            Shown::Other(bytes) => bytes,
        };
        if let Last::Bytes(left) = self.end(End::Whole)? {
            shown.extend_from_slice(&left);
        }
        reply.body = Some(Cow::Owned(shown));
        Ok(reply)
    }

    /// An upstream's answer that is no success: its status, and its body if that is a JSON object.
    /// Where it refuses the provider's key, the fault is ours.
    fn error(&mut self, status: u16, theirs: Theirs, body: &[u8]) -> error::Result<Reply> {
        if !(400..600).contains(&status) || matches!(status, 401 | 403) {
            return self.fail(Code::UpstreamFailed, Outcome::UpstreamError);
        }
        self.settle(Outcome::UpstreamError, status)?;
        let mut reply = self.reply(status, theirs);
        if !media::is_object(body) {
            reply.last.push((Name::ContentType, Text::Static("application/json")));
            reply.body = Some(Code::UpstreamFailed.body(None));
            reply.resized = true;
        }
        Ok(reply)
    }

    /// An upstream that did not answer.
    fn fail(&mut self, code: Code, outcome: Outcome) -> error::Result<Reply> {
        let status = code.row().status;
        self.settle(outcome, status)?;
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
            resized: true,
            first,
            last,
            body: Some(code.body(message)),
        }
    }

    /// Take in what a whole answer tells, where nobody reported any usage. False if it can tell
    /// nothing: it is no JSON object.
    fn learn(&mut self, status: u16, read: impl FnOnce() -> Option<answer::Answer>) -> bool {
        let no_call = self.endpoint == endpoint::OTHER;
        let Some(call) = &mut self.call else { return true };
        if call.reported || call.ended || status >= 400 {
            return true;
        }
        if no_call {
            call.report((0, 0, 0)); // the request alone is counted
            return true;
        }
        let Some(answer) = read() else { return false };
        call.told = answer.told;
        call.failed = answer.failed;
        true
    }

    /// How an answer ended that is complete.
    fn outcome(&self, status: u16) -> Outcome {
        let failed = self.call.as_ref().is_some_and(|call| call.failed);
        if status < 400 && !failed { Outcome::Ok } else { Outcome::UpstreamError }
    }

    /// Take in the head of an answer that comes in pieces.
    pub fn begin(&mut self, status: u16, theirs: Theirs) -> Reply {
        if let Some(call) = &mut self.call {
            call.status = status;
        }
        let mut reply = self.reply(status, theirs);
        if theirs.is_stream(status) {
            self.scanner =
                Some(Scanner::new(self.worker.guard.is_none() && self.seen.usage_edit.is_some()));
            if !theirs.cache_control {
                reply.last.push((Name::CacheControl, Text::Static("no-cache")));
            }
            reply.last.push((Name::XAccelBuffering, Text::Static("no")));
            reply.resized = true;
        } else if theirs.json {
            self.pieces = Some(Pieces::default());
        }
        reply
    }

    /// What the client gets for a chunk.
    pub fn chunk(&mut self, chunk: &[u8]) -> error::Result<Shown> {
        let age_us = self.age_us();
        let Self { worker, call: Some(call), scanner, pieces, .. } = self else {
            return Ok(Shown::Same);
        };
        if call.first_us.is_none() {
            call.first_us = Some(age_us);
        }
        if let Some(scanner) = scanner {
            return scanner.feed(chunk, |told| call.bill(worker, age_us, told));
        }
        if let Some(pieces) = pieces {
            pieces.push(chunk);
        }
        Ok(Shown::Same)
    }

    /// End the exchange, unless it ended before. An answer ends with its last event, whatever
    /// becomes of the connection after it.
    pub fn end(&mut self, end: End) -> error::Result<Last> {
        let begun = self.call.as_ref().map_or(0, |call| call.status);
        let done = self.scanner.as_ref().is_some_and(|scanner| scanner.done);
        let end = if done && end != End::Broken { End::Whole } else { end };
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
                let held = self.scanner.as_mut().map(Scanner::abort).unwrap_or_default();
                Ok(Last::Bytes([&held[..], b"data: ", &code.body(None), b"\n\n"].concat()))
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
            left = scanner.flush(|told| call.bill(&self.worker, age_us, told))?;
        } else {
            let pieces = self.pieces.take();
            self.learn(status, || pieces.and_then(|pieces| pieces.read()));
        }
        self.take_told();
        self.settle(self.outcome(status), status)?;
        Ok(Last::Bytes(left))
    }

    /// Settle with what a stream showed so far.
    pub(super) fn close(&mut self, outcome: Outcome, status: u16) -> error::Result<()> {
        self.take_told();
        self.settle(outcome, status)
    }

    fn take_told(&mut self) {
        let (Some(scanner), Some(call)) = (&self.scanner, &mut self.call) else { return };
        call.failed = scanner.failed;
        if !call.reported {
            call.told = scanner.told;
        }
    }

    pub(super) fn settle(&mut self, outcome: Outcome, status: u16) -> error::Result<()> {
        if self.call.as_ref().is_none_or(|call| call.ended) {
            return Ok(());
        }
        let age_us = self.age_us();
        match &mut self.call {
            Some(call) => call.settle(&self.worker, age_us, outcome, status),
            None => Ok(()),
        }
    }

    fn reply(&self, status: u16, theirs: Theirs) -> Reply {
        let mut first = Headers::with_capacity(8);
        rates(&mut first, self.worker.gate.tightest(self.index), self.worker.ietf);
        let mut last = Headers::with_capacity(6);
        self.sign(&mut last, !theirs.request_id);
        Reply { status, keep: true, resized: false, first, last, body: None }
    }

    /// Our own headers of every answer; `both` ids where the answer has none of its own.
    pub(super) fn sign(&self, headers: &mut Headers, both: bool) {
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
}

fn is_good(status: u16) -> bool {
    (200..300).contains(&status)
}
