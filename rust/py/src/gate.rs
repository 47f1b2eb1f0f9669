//! The gate's methods as Python calls them, once per request each. Nothing here allocates an object
//! it does not return.

use std::sync::Arc;

use nemorouter_core::{
    arena,
    clock::Clock,
    error::Error,
    gate, journal,
    levels::Tightest,
    model::ModelName,
    units::{Digits, NONE, decimal, fixed, go_duration},
    verdict,
};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    intern,
    prelude::*,
    types::{PyBytes, PyInt, PyList, PyString, PyTuple},
};

use crate::{
    arena::Arena,
    call::Call,
    errors::raise,
    functions::pepper,
    journal::Journal,
    peek::{Peek, address},
    views::{ManualClock, Refusal},
};

#[derive(Clone)]
struct SharedArena(Arc<arena::Arena>);

impl AsRef<arena::Arena> for SharedArena {
    fn as_ref(&self) -> &arena::Arena {
        &self.0
    }
}

#[derive(Clone)]
struct SharedJournal(Arc<journal::Journal>);

impl AsRef<journal::Journal> for SharedJournal {
    fn as_ref(&self) -> &journal::Journal {
        &self.0
    }
}

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Gate {
    inner: gate::Gate<SharedArena, SharedJournal>,
    arena: Py<Arena>,
    journal: Py<Journal>,
}

/// The bytes of a header's value, borrowed from the object.
fn header<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    if let Ok(text) = value.cast::<PyString>() {
        return text.to_str().map(str::as_bytes).or(Ok(b"?"));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes());
    }
    if value.is_none() {
        Ok(b"")
    } else {
        Err(PyTypeError::new_err("authorization must be str, bytes or None"))
    }
}

/// The address that a client is known by: itself a string, or what has one as its `client`, port
/// and all.
fn source(client: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(address) = client.cast::<PyString>() {
        return Ok(address.to_str()?.to_owned());
    }
    let client = client.getattr(intern!(client.py(), "client"))?;
    Ok(address(client.cast::<PyString>()?.to_str()?).to_owned())
}

#[pymethods]
impl Gate {
    #[new]
    #[pyo3(signature = (arena, journal, peppers, clock = None))]
    fn new(
        arena: Bound<'_, Arena>,
        journal: Bound<'_, Journal>,
        peppers: Vec<(u8, Vec<u8>)>,
        clock: Option<&ManualClock>,
    ) -> PyResult<Self> {
        let peppers =
            peppers.iter().map(|(id, secret)| pepper(*id, secret)).collect::<PyResult<_>>()?;
        let clock = clock.map_or(Clock::System, ManualClock::clock);
        let shared = (SharedArena(arena.get().0.clone()), SharedJournal(journal.get().0.clone()));
        let gate = gate::Gate::new(shared.0, shared.1, peppers, clock).map_err(raise)?;
        Ok(Self { inner: gate, arena: arena.unbind(), journal: journal.unbind() })
    }

    #[getter]
    fn arena(&self, py: Python<'_>) -> Py<Arena> {
        self.arena.clone_ref(py)
    }

    #[getter]
    fn journal(&self, py: Python<'_>) -> Py<Journal> {
        self.journal.clone_ref(py)
    }

    fn identify(
        &self,
        authorization: &Bound<'_, PyAny>,
        client: &Bound<'_, PyAny>,
        endpoint: u8,
    ) -> PyResult<i64> {
        let mut failed = Ok(());
        let asked = || {
            source(client).unwrap_or_else(|error| {
                failed = Err(error);
                String::new()
            })
        };
        let found = self.inner.identify(header(authorization)?, asked, endpoint);
        failed?;
        Ok(match found {
            Ok(index) => i64::from(index),
            Err(code) => -(code as i64),
        })
    }

    // The request's own parts, each a plain int or str: a struct would cost an object a request.
    #[allow(clippy::too_many_arguments)]
    fn admit<'py>(
        &self,
        py: Python<'py>,
        index: u32,
        model: &str,
        endpoint: u8,
        upstream: u8,
        prompt_bytes: u64,
        max_tokens: i64,
        choices: u64,
        stream: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(model) = ModelName::new(model) else {
            return Err(PyValueError::new_err("a model's name has 1 to 120 bytes and no NUL"));
        };
        let max_tokens = u64::try_from(max_tokens).ok();
        let request = gate::Request {
            index,
            model,
            endpoint,
            upstream,
            prompt_bytes,
            max_tokens,
            choices,
            stream,
        };
        match self.inner.admit(&request) {
            Ok(ticket) => Ok(PyInt::new(py, ticket).into_any()),
            Err(refusal) => Ok(Bound::new(py, Refusal(refusal))?.into_any()),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn begin<'py>(
        this: &Bound<'py, Self>,
        index: u32,
        peek: &Bound<'py, Peek>,
        endpoint: u8,
        upstream: u8,
        body: Bound<'py, PyBytes>,
        started_us: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, gate) = (this.py(), this.get());
        let seen = &peek.get().seen;
        let Some(model) = ModelName::new(&seen.model) else {
            return Err(PyValueError::new_err("a model's name has 1 to 120 bytes and no NUL"));
        };
        let request = gate::Request {
            index,
            model,
            endpoint,
            upstream,
            prompt_bytes: body.as_bytes().len() as u64,
            max_tokens: seen.output,
            choices: seen.choices,
            stream: seen.stream,
        };
        let ticket = match gate.inner.admit(&request) {
            Ok(ticket) => ticket,
            Err(refusal) => return Ok(Bound::new(py, Refusal(refusal))?.into_any()),
        };
        let call = Call {
            code: 0,
            gate: this.clone().unbind(),
            index,
            ticket,
            started_us,
            endpoint,
            body: body.unbind(),
            peek: peek.clone().unbind(),
            request_id: gate.identity(py, ticket >> 16).unbind(),
            status: 0,
            usage: None,
            produced: 0,
            first_us: -1,
            ended: false,
            cost: -1,
        };
        Ok(Bound::new(py, call)?.into_any())
    }

    #[allow(clippy::too_many_arguments)]
    pub fn settle(
        &self,
        ticket: i64,
        input: u64,
        cached: u64,
        output: u64,
        status: u16,
        outcome: u8,
        latency_us: u64,
        ttft_us: i64,
    ) -> PyResult<i64> {
        let ttft_us = u64::try_from(ttft_us).unwrap_or(NONE);
        let usage = gate::Usage { input, cached, output, status, outcome, latency_us, ttft_us };
        // What is no ticket at all is a ticket that never existed.
        let ticket = u64::try_from(ticket).unwrap_or(u64::MAX);
        let cost = self.inner.settle(ticket, &usage).map_err(raise)?;
        Ok(cost.map_or(-1, u64::cast_signed))
    }

    fn may_use(&self, index: u32, model: &str) -> bool {
        ModelName::new(model).is_some_and(|model| self.inner.may_use(index, &model))
    }

    fn rate_headers<'py>(&self, py: Python<'py>, index: u32) -> PyResult<Bound<'py, PyList>> {
        let mut headers = Vec::with_capacity(6);
        self.rates(py, index, &mut headers)?;
        PyList::new(py, headers)
    }

    fn untaken_headers<'py>(
        &self,
        py: Python<'py>,
        own: &Bound<'py, PyList>,
        started_us: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let identity = self.identity(py, self.inner.journal().0.next_stray());
        let latency = self.now_us().saturating_sub(started_us);
        let mut headers = Vec::with_capacity(own.len() + 2);
        headers.extend(own.iter());
        headers.push(PyTuple::new(py, [intern!(py, "x-nemo-request-id"), &identity])?.into_any());
        let latency = PyString::new(py, fixed(latency, 3).as_str());
        headers.push(PyTuple::new(py, [intern!(py, "x-nemo-latency-ms"), &latency])?.into_any());
        PyList::new(py, headers)
    }

    fn request_id<'py>(&self, py: Python<'py>, ticket: i64) -> Bound<'py, PyString> {
        let stray = |_| self.inner.journal().0.next_stray();
        self.identity(py, u64::try_from(ticket).map_or_else(stray, |ticket| ticket >> 16))
    }

    fn recorded(&self, ticket: u64) -> bool {
        self.inner.recorded(ticket)
    }

    pub fn reserved(&self, ticket: i64) -> PyResult<(u64, u64)> {
        let ticket = u64::try_from(ticket).unwrap_or(u64::MAX);
        self.inner.reserved(ticket).ok_or_else(|| raise(Error::Ticket(ticket)))
    }

    pub fn now_us(&self) -> u64 {
        self.inner.clock().boot_us()
    }
}

impl Gate {
    /// `req_`, then boot and seq as 16 hex digits each.
    fn identity<'py>(&self, py: Python<'py>, seq: u64) -> Bound<'py, PyString> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"req_00000000000000000000000000000000";
        let number = u128::from(self.inner.journal().0.boot()) << 64 | u128::from(seq);
        for (at, digit) in text[4..].iter_mut().enumerate() {
            *digit = DIGITS[(number >> (124 - 4 * at) & 15) as usize];
        }
        PyString::new(py, str::from_utf8(&text).unwrap_or_default())
    }

    /// The rate headers, one tuple each.
    pub fn rates<'py>(
        &self,
        py: Python<'py>,
        index: u32,
        headers: &mut Vec<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let [requests, tokens] = self.inner.tightest(index);
        let mut put = |name: &Bound<'py, PyString>,
                       bucket: Option<Tightest>,
                       value: fn(Tightest) -> Digits| {
            if let Some(bucket) = bucket {
                headers.push(
                    PyTuple::new(py, [name, &PyString::new(py, value(bucket).as_str())])?
                        .into_any(),
                );
            }
            PyResult::Ok(())
        };
        put(intern!(py, "x-ratelimit-limit-requests"), requests, |b| decimal(b.limit))?;
        put(intern!(py, "x-ratelimit-limit-tokens"), tokens, |b| decimal(b.limit))?;
        put(intern!(py, "x-ratelimit-remaining-requests"), requests, |b| {
            decimal(b.remaining.max(0).unsigned_abs())
        })?;
        put(intern!(py, "x-ratelimit-remaining-tokens"), tokens, |b| {
            decimal(b.remaining.max(0).unsigned_abs())
        })?;
        put(intern!(py, "x-ratelimit-reset-requests"), requests, |b| go_duration(b.full_in_us))?;
        put(intern!(py, "x-ratelimit-reset-tokens"), tokens, |b| go_duration(b.full_in_us))
    }
}

const _: () = assert!(verdict::Code::ALL.len() == 16);
