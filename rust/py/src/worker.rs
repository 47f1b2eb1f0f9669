//! The request path of one worker: its settings, and the head of each request.

use std::sync::Arc;

use nemorouter_openai::{
    exchange::Answer,
    paths::{self, Place},
    refusals::{self, CATALOGUE, Code},
    routes::Routes as Table,
    source::{self, Networks},
    worker::{self, Opened},
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyTuple},
};

use crate::{
    errors::raise,
    exchange::{Exchange, Form},
    gate::Gate,
    request::{Request, bytes},
};

/// Which paths of a wrapped app need a key.
#[pyclass(frozen, module = "nemorouter._core")]
pub struct Guard(paths::Guard);

#[pymethods]
impl Guard {
    #[new]
    fn new(roots: Vec<String>) -> PyResult<Self> {
        let wrong = |root| PyValueError::new_err(format!("{root:?} must start with a slash"));
        paths::Guard::new(&roots).map(Self).map_err(wrong)
    }

    /// True if the request of a scope needs a key.
    fn __call__(&self, scope: &Bound<'_, PyAny>) -> PyResult<bool> {
        let request = Request::read(scope, &Networks::default())?;
        request.with(|head, _| self.0.judge(head.method, head.path, head.root).is_some())
    }
}

/// Blocks of addresses whose `X-Forwarded-For` is believed.
#[pyclass(frozen, module = "nemorouter._core")]
pub struct Proxies(Networks);

#[pymethods]
impl Proxies {
    #[new]
    fn new(blocks: Vec<String>) -> PyResult<Self> {
        Networks::parse(&blocks).map(Self).map_err(raise)
    }

    /// True if the address is a trusted proxy's.
    fn __contains__(&self, address: &str) -> bool {
        source::read_hop(address.as_bytes()).is_some_and(|address| self.0.contains(address))
    }

    /// The address that a request comes from, `None` where it cannot be known.
    fn source(&self, peer: &str, forwarded: Vec<Bound<'_, PyAny>>) -> PyResult<Option<String>> {
        let forwarded = forwarded.iter().map(bytes).collect::<PyResult<Vec<_>>>()?;
        let found = source::source_of(peer.as_bytes(), &self.0, &forwarded);
        Ok(found.map(|address| address.to_string()))
    }
}

/// Which upstream serves a model.
#[pyclass(frozen, module = "nemorouter._core")]
pub struct Routes(Table);

#[pymethods]
impl Routes {
    #[new]
    fn new(table: Vec<Vec<String>>) -> Self {
        Self(Table::new(&table))
    }

    fn resolve(&self, model: &str) -> Option<u8> {
        self.0.resolve(model)
    }
}

/// A resource of the gateway that is no model call.
#[pyclass(frozen, get_all, module = "nemorouter._core")]
pub struct Resource {
    pub name: &'static str,
    /// The id of the model, for `model`.
    pub model: Option<String>,
}

impl From<Place<'_>> for Resource {
    fn from(place: Place<'_>) -> Self {
        let model = if let Place::Model(id) = place { Some(id.to_owned()) } else { None };
        Self { name: place.name(), model }
    }
}

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Worker {
    inner: Arc<worker::Worker>,
}

#[pymethods]
impl Worker {
    #[new]
    #[pyo3(signature = (gate, *, routes, echo, guard, trusted_proxies, max_body, max_headers, ietf))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        gate: &Bound<'_, Gate>,
        routes: &Bound<'_, Routes>,
        echo: Option<u8>,
        guard: Option<&Bound<'_, Guard>>,
        trusted_proxies: Vec<String>,
        max_body: u64,
        max_headers: usize,
        ietf: bool,
    ) -> PyResult<Self> {
        let inner = worker::Worker {
            gate: gate.get().shared(),
            routes: routes.get().0.clone(),
            echo,
            guard: guard.map(|guard| guard.get().0.clone()),
            trusted: Networks::parse(&trusted_proxies).map_err(raise)?,
            max_body,
            max_headers,
            ietf,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn open<'py>(&self, scope: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = scope.py();
        let request = Request::read(scope, &self.inner.trusted)?;
        let form = Form::of(&request);
        request.with(|head, headers| match self.inner.open(head, headers) {
            Opened::Unguarded => Ok(py.None().into_bound(py)),
            Opened::Place(place) => Ok(Bound::new(py, Resource::from(place))?.into_any()),
            Opened::Refused(answer) => Ok(form.answer(py, &answer)?.into_any()),
            Opened::Exchange(exchange) => {
                Ok(Bound::new(py, Exchange::new(exchange, form, request.passed_on()))?.into_any())
            }
        })?
    }

    fn identify<'py>(&self, scope: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = scope.py();
        let request = Request::read(scope, &self.inner.trusted)?;
        request.with(|head, headers| match self.inner.admit_free(head, headers) {
            Ok(index) => Ok(index.into_pyobject(py)?.into_any()),
            Err(answer) => Ok(Form::of(&request).answer(py, &answer)?.into_any()),
        })?
    }

    #[pyo3(signature = (code, message = None, *, asgi = false))]
    fn refuse<'py>(
        &self,
        py: Python<'py>,
        code: u8,
        message: Option<&str>,
        asgi: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let now = self.inner.gate.clock().boot_us();
        Form { asgi }.answer(py, &self.inner.refuse(code_of(code)?, message, now))
    }

    /// An answer that took no ticket and is no refusal.
    #[pyo3(signature = (body, *, asgi))]
    fn free<'py>(
        &self,
        py: Python<'py>,
        body: Bound<'py, PyBytes>,
        asgi: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let headers = self.inner.free_headers(self.inner.gate.clock().boot_us());
        Form { asgi }.whole(py, 200, &[&headers], body)
    }
}

fn code_of(number: u8) -> PyResult<Code> {
    Code::from_number(number).ok_or_else(|| PyValueError::new_err("no such code"))
}

/// An answer of the catalogue without a request's id: status, headers and body.
#[pyfunction]
#[pyo3(signature = (code, message = None, *, asgi = false))]
pub fn problem<'py>(
    py: Python<'py>,
    code: u8,
    message: Option<&str>,
    asgi: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    let code = code_of(code)?;
    let answer =
        Answer { status: code.row().status, headers: code.headers(), body: code.body(message) };
    Form { asgi }.answer(py, &answer)
}

/// The catalogue of refusals: number, status, type, code and message of each.
#[pyfunction]
pub fn catalogue() -> Vec<(u8, u16, &'static str, &'static str, &'static str)> {
    CATALOGUE
        .iter()
        .map(|row| (row.of as u8, row.status, row.kind, row.code, row.message))
        .collect()
}

/// What to tell of a model that nobody serves.
#[pyfunction]
pub fn no_such_model(name: &str) -> String {
    refusals::no_such_model(name)
}
