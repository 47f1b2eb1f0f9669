//! An admitted request from its ticket to its end. However often it is ended, it settles once.

use nemorouter_core::units::fixed;
use pyo3::{
    intern,
    prelude::*,
    types::{PyBytes, PyList, PyString, PyTuple},
};

use crate::{gate::Gate, peek::Peek};

/// `types.Outcome`, as far as a charge depends on it.
mod outcome {
    pub const OK: u8 = 1;
    pub const UPSTREAM_ERROR: u8 = 2;
    pub const TIMEOUT: u8 = 4;
}

/// Bytes of text that one token stands for.
const TOKEN_BYTES: u64 = 4;

#[pyclass(module = "nemorouter._core")]
pub struct Call {
    /// A refusal has one; here it is 0.
    #[pyo3(get)]
    pub code: u8,
    #[pyo3(get)]
    pub gate: Py<Gate>,
    #[pyo3(get)]
    pub index: u32,
    #[pyo3(get)]
    pub ticket: u64,
    #[pyo3(get)]
    pub started_us: u64,
    #[pyo3(get)]
    pub endpoint: u8,
    #[pyo3(get)]
    pub body: Py<PyBytes>,
    #[pyo3(get)]
    pub peek: Py<Peek>,
    #[pyo3(get)]
    pub request_id: Py<PyString>,
    #[pyo3(get, set)]
    pub status: u16,
    #[pyo3(get, set)]
    pub usage: Option<(u64, u64, u64)>,
    #[pyo3(get, set)]
    pub produced: u64,
    #[pyo3(get)]
    pub first_us: i64,
    #[pyo3(get)]
    pub ended: bool,
    #[pyo3(get)]
    pub cost: i64,
}

#[pymethods]
impl Call {
    fn begun(&mut self) {
        if self.first_us < 0 {
            self.first_us = self.age_us().cast_signed();
        }
    }

    #[pyo3(signature = (outcome, status, usage = None))]
    fn end(&mut self, outcome: u8, status: u16, usage: Option<(u64, u64, u64)>) -> PyResult<i64> {
        if !self.ended {
            self.ended = true;
            self.usage = usage.or(self.usage);
            let gate = self.gate.get();
            let (input, cached, output) = match self.usage {
                Some(usage) => usage,
                None if self.produced == 0
                    && matches!(outcome, outcome::UPSTREAM_ERROR | outcome::TIMEOUT) =>
                {
                    (0, 0, 0)
                }
                // What was produced, and the input wherever an upstream has read it.
                None => (
                    gate.reserved(self.ticket.cast_signed())?.0,
                    0,
                    self.produced.div_ceil(TOKEN_BYTES),
                ),
            };
            let (ticket, latency_us) = (self.ticket.cast_signed(), self.age_us());
            self.cost = gate.settle(
                ticket,
                input,
                cached,
                output,
                status,
                outcome,
                latency_us,
                self.first_us,
            )?;
        }
        Ok(self.cost)
    }

    fn bill(&mut self, usage: (u64, u64, u64)) -> PyResult<Option<String>> {
        let cost = self.end(outcome::OK, self.status, self.usage.or(Some(usage)))?;
        Ok(u64::try_from(cost).ok().map(|nano| fixed(nano, 9).as_str().to_owned()))
    }

    fn headers<'py>(
        &self,
        py: Python<'py>,
        own: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut headers = Vec::with_capacity(own.len() + 9);
        self.gate.get().rates(py, self.index, &mut headers)?;
        headers.extend(own.iter());
        let mut put = |name: &Bound<'py, PyString>, value: &Bound<'py, PyString>| {
            headers.push(PyTuple::new(py, [name, value])?.into_any());
            PyResult::Ok(())
        };
        put(intern!(py, "x-nemo-request-id"), self.request_id.bind(py))?;
        put(
            intern!(py, "x-nemo-latency-ms"),
            &PyString::new(py, fixed(self.age_us(), 3).as_str()),
        )?;
        if let Ok(nano) = u64::try_from(self.cost) {
            put(intern!(py, "x-nemo-request-cost"), &PyString::new(py, fixed(nano, 9).as_str()))?;
        }
        PyList::new(py, headers)
    }
}

impl Call {
    fn age_us(&self) -> u64 {
        self.gate.get().now_us().saturating_sub(self.started_us)
    }
}
