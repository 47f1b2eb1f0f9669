//! What a body says before it is decided upon.

use nemorouter_openai::{
    peek::{self as core, Fault, Seen},
    refusals::Code,
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyString, PyTuple},
};

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Peek {
    #[pyo3(get)]
    model: Py<PyString>,
    pub seen: Seen,
}

#[pymethods]
impl Peek {
    #[getter]
    fn stream(&self) -> bool {
        self.seen.stream
    }

    #[getter]
    fn output(&self) -> Option<u64> {
        self.seen.output
    }

    #[getter]
    fn choices(&self) -> u64 {
        self.seen.choices
    }

    /// Return the body that asks for a usage chunk; `None` where the stream ends with one.
    fn with_usage<'py>(&self, body: &Bound<'py, PyBytes>) -> Option<Bound<'py, PyBytes>> {
        let edit = self.seen.usage_edit.as_ref()?;
        Some(PyBytes::new(body.py(), &edit.apply(body.as_bytes())))
    }
}

/// Make a `Peek`, or the code and message of what is wrong with the body.
#[pyfunction]
pub fn peek<'py>(
    py: Python<'py>,
    body: &Bound<'py, PyBytes>,
    endpoint: u8,
) -> PyResult<Bound<'py, PyAny>> {
    let refuse = |code: Code, message: Option<&str>| {
        Ok(PyTuple::new(
            py,
            [(code as u8).into_pyobject(py)?.into_any(), message.into_pyobject(py)?],
        )?
        .into_any())
    };
    match core::peek(body.as_bytes(), endpoint) {
        Err(Fault::Json) => refuse(Code::InvalidJson, None),
        Err(Fault::Depth) => refuse(Code::InvalidJson, Some("The body is nested too deeply.")),
        Err(Fault::Model) => refuse(Code::MissingModel, None),
        Err(Fault::Field(message)) => refuse(Code::InvalidRequest, Some(&message)),
        Ok(seen) => {
            let model = PyString::new(py, &seen.model).unbind();
            Ok(Bound::new(py, Peek { model, seen })?.into_any())
        }
    }
}
