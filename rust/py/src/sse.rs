//! A streamed answer on its way to the client, and the usage of whole ones.

use nemorouter_openai::{
    media,
    sse::{self, Shown},
    usage::{self, Usage},
};
use pyo3::{intern, prelude::*, types::PyBytes};

/// A stream with the call that it answers: `nemorouter._core.Call`, or the reference's.
#[pyclass(module = "nemorouter._core")]
pub struct Scanner {
    call: Py<PyAny>,
    begun: bool,
    stream: sse::Scanner,
}

#[pymethods]
impl Scanner {
    #[new]
    #[pyo3(signature = (call, *, strip))]
    fn new(call: Py<PyAny>, strip: bool) -> Self {
        Self { call, begun: false, stream: sse::Scanner::new(strip) }
    }

    fn feed<'py>(&mut self, chunk: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = chunk.py();
        let chunk = match chunk.cast_into::<PyBytes>() {
            Ok(bytes) => bytes,
            // Its own method makes bytes at half the cost of the buffer protocol.
            Err(other) => {
                other.into_inner().call_method0(intern!(py, "to_bytes"))?.cast_into::<PyBytes>()?
            }
        };
        let call = self.call.bind(py);
        if !self.begun {
            call.call_method0(intern!(py, "begun"))?;
            self.begun = true;
        }
        Ok(match self.stream.feed(chunk.as_bytes(), |usage| bill(call, usage))? {
            Shown::Same => chunk,
            Shown::Other(bytes) => PyBytes::new(py, &bytes),
        })
    }

    fn flush<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let call = self.call.bind(py);
        Ok(PyBytes::new(py, &self.stream.flush(|usage| bill(call, usage))?))
    }

    #[getter]
    fn usage(&self) -> Option<Usage> {
        self.stream.usage
    }

    #[getter]
    fn produced(&self) -> u64 {
        self.stream.produced
    }
}

fn bill(call: &Bound<'_, PyAny>, usage: Usage) -> PyResult<Option<String>> {
    call.call_method1(intern!(call.py(), "bill"), (usage,))?.extract()
}

#[pyfunction]
pub fn read_usage(body: &[u8]) -> Option<Usage> {
    usage::read(body)
}

#[pyfunction]
pub fn produced(body: &[u8]) -> u64 {
    usage::produced(body)
}

#[pyfunction]
pub fn is_events(content_type: &str) -> bool {
    media::is_events(content_type.as_bytes())
}

#[pyfunction]
pub fn looks_like_events(begin: &[u8]) -> bool {
    media::looks_like_events(begin)
}
