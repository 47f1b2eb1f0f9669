//! The gate's methods as Python calls them, once per request each. Nothing here allocates an object it does not return.

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
    errors::raise,
    functions::pepper,
    journal::Journal,
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
    if value.is_none() { Ok(b"") } else { Err(PyTypeError::new_err("authorization must be str, bytes or None")) }
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
        let peppers = peppers.iter().map(|(id, secret)| pepper(*id, secret)).collect::<PyResult<_>>()?;
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

    fn identify(&self, authorization: &Bound<'_, PyAny>, client_ip: &str, endpoint: u8) -> PyResult<i64> {
        Ok(match self.inner.identify(header(authorization)?, client_ip, endpoint) {
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
        let request = gate::Request { index, model, endpoint, upstream, prompt_bytes, max_tokens, choices, stream };
        match self.inner.admit(&request) {
            Ok(ticket) => Ok(PyInt::new(py, ticket).into_any()),
            Err(refusal) => Ok(Bound::new(py, Refusal(refusal))?.into_any()),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn settle(
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
        let [requests, tokens] = self.inner.tightest(index);
        let headers = PyList::empty(py);
        let put = |name: &Bound<'py, PyString>, bucket: Option<Tightest>, value: fn(Tightest) -> Digits| match bucket {
            Some(bucket) => headers.append(PyTuple::new(py, [name, &PyString::new(py, value(bucket).as_str())])?),
            None => Ok(()),
        };
        put(intern!(py, "x-ratelimit-limit-requests"), requests, |b| decimal(b.limit))?;
        put(intern!(py, "x-ratelimit-limit-tokens"), tokens, |b| decimal(b.limit))?;
        put(intern!(py, "x-ratelimit-remaining-requests"), requests, |b| decimal(b.remaining.max(0).unsigned_abs()))?;
        put(intern!(py, "x-ratelimit-remaining-tokens"), tokens, |b| decimal(b.remaining.max(0).unsigned_abs()))?;
        put(intern!(py, "x-ratelimit-reset-requests"), requests, |b| go_duration(b.full_in_us))?;
        put(intern!(py, "x-ratelimit-reset-tokens"), tokens, |b| go_duration(b.full_in_us))?;
        Ok(headers)
    }

    fn answer_headers<'py>(
        &self,
        py: Python<'py>,
        index: u32,
        own: &Bound<'py, PyAny>,
        request_id: &Bound<'py, PyString>,
        started_us: u64,
        cost: i64,
    ) -> PyResult<Bound<'py, PyList>> {
        let headers = self.rate_headers(py, index)?;
        for header in own.try_iter()? {
            headers.append(header?)?;
        }
        let put = |name: &Bound<'py, PyString>, value: &Bound<'py, PyString>| {
            headers.append(PyTuple::new(py, [name, value])?)
        };
        let latency = self.inner.clock().boot_us().saturating_sub(started_us);
        put(intern!(py, "x-nemo-request-id"), request_id)?;
        put(intern!(py, "x-nemo-latency-ms"), &PyString::new(py, fixed(latency, 3).as_str()))?;
        if let Ok(nano) = u64::try_from(cost) {
            put(intern!(py, "x-nemo-request-cost"), &PyString::new(py, fixed(nano, 9).as_str()))?;
        }
        Ok(headers)
    }

    fn request_id(&self, ticket: i64) -> String {
        let journal = &self.inner.journal().0;
        let seq = u64::try_from(ticket).map_or_else(|_| journal.next_stray(), |ticket| ticket >> 16);
        format!("req_{:016x}{seq:016x}", journal.boot())
    }

    fn recorded(&self, ticket: u64) -> bool {
        self.inner.recorded(ticket)
    }

    fn reserved(&self, ticket: i64) -> PyResult<(u64, u64)> {
        let ticket = u64::try_from(ticket).unwrap_or(u64::MAX);
        self.inner.reserved(ticket).ok_or_else(|| raise(Error::Ticket(ticket)))
    }

    fn now_us(&self) -> u64 {
        self.inner.clock().boot_us()
    }
}

const _: () = assert!(verdict::Code::ALL.len() == 16);
