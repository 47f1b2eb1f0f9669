//! The gate's methods as Python calls them, once per request each. Nothing here allocates an object
//! it does not return.

use std::sync::Arc;

use nemorouter_core::{clock::Clock, error::Error, gate, model::ModelName, units::NONE};
use nemorouter_openai::{
    headers::{Headers, NAMES, RequestId, rates},
    source::read_hop,
    worker::Gate as Shared,
};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    intern,
    prelude::*,
    types::{PyBytes, PyInt, PyList, PyString},
};

use crate::{
    arena::Arena,
    errors::raise,
    functions::pepper,
    journal::Journal,
    views::{ManualClock, Refusal},
};

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Gate {
    inner: Arc<Shared>,
    arena: Py<Arena>,
    journal: Py<Journal>,
}

/// Borrow the bytes of a header's value from the object.
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

/// Return the address that a client is known by: a string itself, or the `client` of a scope
/// without its port.
fn source(client: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(address) = client.cast::<PyString>() {
        return Ok(address.to_str()?.to_owned());
    }
    let client = client.getattr(intern!(client.py(), "client"))?;
    let address = read_hop(client.cast::<PyString>()?.to_str()?.as_bytes());
    Ok(address.map_or_else(String::new, |address| address.to_string()))
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
        let shared = (arena.get().0.clone(), journal.get().0.clone());
        let gate = gate::Gate::new(shared.0, shared.1, peppers, clock).map_err(raise)?;
        Ok(Self { inner: Arc::new(gate), arena: arena.unbind(), journal: journal.unbind() })
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
    #[pyo3(signature = (index, model, endpoint, upstream, prompt_bytes, max_tokens, choices, stream, stored_input = 0))]
    fn admit<'py>(
        &self,
        py: Python<'py>,
        index: u32,
        model: &str,
        endpoint: u8,
        upstream: u8,
        prompt_bytes: u64,
        max_tokens: Option<u64>,
        choices: u64,
        stream: bool,
        stored_input: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(model) = ModelName::new(model) else {
            return Err(PyValueError::new_err("a model's name has 1 to 120 bytes and no NUL"));
        };
        let request = gate::Request {
            index,
            model,
            endpoint,
            upstream,
            prompt_bytes,
            stored_input,
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
    #[pyo3(signature = (ticket, input, cached, output, status, outcome, latency_us, ttft_us))]
    pub fn settle(
        &self,
        ticket: i64,
        input: u64,
        cached: u64,
        output: u64,
        status: u16,
        outcome: u8,
        latency_us: u64,
        ttft_us: Option<u64>,
    ) -> PyResult<Option<u64>> {
        let ttft_us = ttft_us.unwrap_or(NONE);
        let usage = gate::Usage { input, cached, output, status, outcome, latency_us, ttft_us };
        // What is no ticket at all is a ticket that never existed.
        let ticket = u64::try_from(ticket).unwrap_or(u64::MAX);
        self.inner.settle(ticket, &usage).map_err(raise)
    }

    fn may_use(&self, index: u32, model: &str) -> bool {
        ModelName::new(model).is_some_and(|model| self.inner.may_use(index, &model))
    }

    fn rate_headers<'py>(&self, py: Python<'py>, index: u32) -> PyResult<Bound<'py, PyList>> {
        let mut headers = Headers::with_capacity(6);
        rates(&mut headers, self.inner.tightest(index), false);
        let pairs = headers.iter().map(|(name, value)| (NAMES[*name as usize], value.as_str()));
        PyList::new(py, pairs)
    }

    #[pyo3(signature = (ticket))]
    fn request_id<'py>(&self, py: Python<'py>, ticket: Option<u64>) -> Bound<'py, PyString> {
        let fresh = || self.inner.journal().next_request_number();
        self.identity(py, ticket.map_or_else(fresh, |ticket| ticket >> 16))
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
    /// Return the gate of the core, for the exchanges of a worker.
    pub fn shared(&self) -> Arc<Shared> {
        self.inner.clone()
    }

    fn identity<'py>(&self, py: Python<'py>, seq: u64) -> Bound<'py, PyString> {
        let id = RequestId::new(self.inner.journal().id(), seq);
        PyString::new(py, id.as_str())
    }
}
