//! A streamed answer on its way to the client, and the usage of whole ones.

use nemorouter_openai::{
    answer,
    charge::Told,
    media,
    sse::{self, Shown},
    usage,
};
use pyo3::{prelude::*, types::PyBytes};

/// A usage, read whole.
#[pyclass(frozen, get_all, module = "nemorouter._core")]
pub struct Usage {
    input: Option<u64>,
    cached: u64,
    cache_write: u64,
    cache_write_1h: u64,
    audio_input: u64,
    image_input: u64,
    output: Option<u64>,
    reasoning: u64,
    audio_output: u64,
    image_output: u64,
    total: Option<u64>,
    searches: u64,
    cost: Option<u64>,
    doubtful: bool,
}

impl From<usage::Usage> for Usage {
    fn from(told: usage::Usage) -> Self {
        Self {
            input: told.input,
            cached: told.cached,
            cache_write: told.cache_write,
            cache_write_1h: told.cache_write_1h,
            audio_input: told.audio_input,
            image_input: told.image_input,
            output: told.output,
            reasoning: told.reasoning,
            audio_output: told.audio_output,
            image_output: told.image_output,
            total: told.total,
            searches: told.searches,
            cost: told.cost,
            doubtful: told.doubtful,
        }
    }
}

/// A stream; `bill` answers the cost of its last usage.
#[pyclass(module = "nemorouter._core")]
pub struct Scanner {
    bill: Py<PyAny>,
    stream: sse::Scanner,
}

#[pymethods]
impl Scanner {
    #[new]
    #[pyo3(signature = (bill, *, strip))]
    fn new(bill: Py<PyAny>, strip: bool) -> Self {
        Self { bill, stream: sse::Scanner::new(strip) }
    }

    fn feed<'py>(&mut self, chunk: Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
        let py = chunk.py();
        let asked = |told: Told| ask(self.bill.bind(py), told);
        Ok(match self.stream.feed(chunk.as_bytes(), asked)? {
            Shown::Same => chunk,
            Shown::Other(bytes) => PyBytes::new(py, &bytes),
        })
    }

    fn flush<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let asked = |told: Told| ask(self.bill.bind(py), told);
        Ok(PyBytes::new(py, &self.stream.flush(asked)?))
    }

    fn abort<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.stream.abort())
    }

    #[getter]
    fn usage(&self) -> Option<Usage> {
        self.stream.told.usage.map(Into::into)
    }

    #[getter]
    fn produced(&self) -> u64 {
        self.stream.told.produced
    }

    #[getter]
    fn outran(&self) -> bool {
        self.stream.told.outran
    }

    #[getter]
    fn done(&self) -> bool {
        self.stream.done
    }

    #[getter]
    fn failed(&self) -> bool {
        self.stream.failed
    }
}

fn ask(bill: &Bound<'_, PyAny>, told: Told) -> PyResult<Option<String>> {
    bill.call1((told.usage.map(Usage::from),))?.extract()
}

#[pyfunction]
pub fn read_answer(body: &[u8]) -> Option<(Option<Usage>, u64, bool)> {
    let answer = answer::read(body)?;
    Some((answer.told.usage.map(Into::into), answer.told.produced, answer.failed))
}

#[pyfunction]
pub fn is_events(content_type: &str) -> bool {
    media::is_events(content_type.as_bytes())
}

#[pyfunction]
pub fn looks_like_events(begin: &[u8]) -> bool {
    media::looks_like_events(begin)
}
