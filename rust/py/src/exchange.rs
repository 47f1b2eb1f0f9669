//! One request on its way through a driver in Python. Conversions only: the order of the stages is
//! `nemorouter_openai::exchange`.

use std::sync::Mutex;

use nemorouter_openai::{
    exchange::{self, Answer, End, Last, Reply, Step, Theirs},
    headers::{Headers, NAMES, Text},
    sse::Shown,
    usage::Tokens,
};
use pyo3::{
    exceptions::PyValueError,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyList, PyString, PyTuple},
};

use crate::{
    errors::raise,
    request::{Request, bytes},
};

/// A body of at most these bytes is read in one piece: it is there at once, or never.
const SMALL_BODY: u64 = 64 << 10;

/// How a server wants headers: as str, or (ASGI) as bytes.
#[derive(Clone, Copy)]
pub struct Form {
    pub asgi: bool,
}

static TEXT_NAMES: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
static BYTES_NAMES: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();

/// The newest pair of each name. Most values repeat from answer to answer, and to make a pair costs
/// more than to compare its value.
type Recent = Mutex<[Option<(String, Py<PyTuple>)>; NAMES.len()]>;
static RECENT_TEXT: Recent = Mutex::new([const { None }; NAMES.len()]);
static RECENT_BYTES: Recent = Mutex::new([const { None }; NAMES.len()]);

impl Form {
    pub fn of(request: &Request) -> Self {
        Self { asgi: request.asgi }
    }

    fn text<'py>(self, py: Python<'py>, text: &str) -> Bound<'py, PyAny> {
        if self.asgi {
            PyBytes::new(py, text.as_bytes()).into_any()
        } else {
            PyString::new(py, text).into_any()
        }
    }

    fn names(self, py: Python<'_>) -> &[Py<PyAny>] {
        let names = if self.asgi { &BYTES_NAMES } else { &TEXT_NAMES };
        names.get_or_init(py, || NAMES.iter().map(|name| self.text(py, name).unbind()).collect())
    }

    fn push<'py>(
        self,
        py: Python<'py>,
        ours: &Headers,
        into: &mut Vec<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let names = self.names(py);
        let recent = if self.asgi { &RECENT_BYTES } else { &RECENT_TEXT };
        // Where another thread has it, pairs are made.
        let mut recent = recent.try_lock().ok();
        let mut id = None;
        for (name, value) in ours {
            let at = *name as usize;
            let known = recent.as_deref().and_then(|recent| recent[at].as_ref());
            if let Some((text, pair)) = known
                && text == value.as_str()
            {
                into.push(pair.bind(py).clone().into_any());
                continue;
            }
            let object = match value {
                // It stands under two names.
                Text::Id(text) => id.get_or_insert_with(|| self.text(py, text.as_str())).clone(),
                other => self.text(py, other.as_str()),
            };
            let pair = PyTuple::new(py, [names[at].bind(py), &object])?;
            if let Some(recent) = recent.as_deref_mut().filter(|_| name.repeats()) {
                recent[at] = Some((value.as_str().to_owned(), pair.clone().unbind()));
            }
            into.push(pair.into_any());
        }
        Ok(())
    }

    /// Status, headers and body.
    pub fn whole<'py>(
        self,
        py: Python<'py>,
        status: u16,
        ours: &[&Headers],
        body: Bound<'py, PyBytes>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let mut headers = Vec::with_capacity(ours.iter().map(|part| part.len()).sum());
        for part in ours {
            self.push(py, part, &mut headers)?;
        }
        let headers = PyList::new(py, headers)?;
        PyTuple::new(
            py,
            [status.into_pyobject(py)?.into_any(), headers.into_any(), body.into_any()],
        )
    }

    pub fn answer<'py>(self, py: Python<'py>, answer: &Answer) -> PyResult<Bound<'py, PyTuple>> {
        self.whole(py, answer.status, &[&answer.headers], PyBytes::new(py, &answer.body))
    }
}

/// The driver waits before it asks for admission again.
#[pyclass(frozen, get_all, module = "nemorouter._core")]
pub struct Wait {
    seconds: f64,
    /// The host's agent is called first.
    bell: bool,
}

#[pyclass(module = "nemorouter._core")]
pub struct Exchange {
    inner: exchange::Exchange,
    form: Form,
    /// The client's, then what goes upstream.
    #[pyo3(get)]
    body: Option<Py<PyBytes>>,
    passed_on: Vec<(Py<PyAny>, Py<PyAny>)>,
}

impl Exchange {
    pub fn new(
        inner: exchange::Exchange,
        form: Form,
        passed_on: Vec<(Py<PyAny>, Py<PyAny>)>,
    ) -> Self {
        Self { inner, form, body: None, passed_on }
    }

    fn step<'py>(&mut self, py: Python<'py>, step: Step) -> PyResult<Bound<'py, PyAny>> {
        match step {
            Step::Whole(answer) => Ok(self.form.answer(py, &answer)?.into_any()),
            Step::Wait { ms, bell } => {
                Ok(Bound::new(py, Wait { seconds: f64::from(ms) / 1000.0, bell })?.into_any())
            }
            Step::Call { body } => {
                if let Some(body) = body {
                    self.body = Some(PyBytes::new(py, &body).unbind());
                }
                Ok(py.None().into_bound(py))
            }
        }
    }

    /// Status, headers and body of what is sent of an answer that has `own` headers.
    fn reply<'py>(
        &self,
        py: Python<'py>,
        reply: &Reply,
        own: Option<&Bound<'py, PyAny>>,
        body: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let mut headers = Vec::with_capacity(16);
        self.form.push(py, &reply.first, &mut headers)?;
        if let Some(own) = own.filter(|_| reply.keep) {
            for pair in own.try_iter()? {
                let pair = pair?;
                if !is_replaced(reply, &pair)? {
                    headers.push(pair);
                }
            }
        }
        self.form.push(py, &reply.last, &mut headers)?;
        let body = match &reply.body {
            Some(ours) => PyBytes::new(py, ours).into_any(),
            None => body,
        };
        let headers = PyList::new(py, headers)?.into_any();
        PyTuple::new(py, [reply.status.into_pyobject(py)?.into_any(), headers, body])
    }
}

/// True for a header that does not go with what is sent.
fn is_replaced(reply: &Reply, pair: &Bound<'_, PyAny>) -> PyResult<bool> {
    let name = pair.get_item(0)?;
    Ok(reply.replaces(bytes(&name)?))
}

fn theirs(headers: &Bound<'_, PyAny>) -> PyResult<Theirs> {
    let mut pairs = Vec::new();
    for pair in headers.try_iter()? {
        let pair = pair?;
        pairs.push((pair.get_item(0)?, pair.get_item(1)?));
    }
    let mut read = Vec::with_capacity(pairs.len());
    for (name, value) in &pairs {
        read.push((bytes(name)?, bytes(value)?));
    }
    Ok(Theirs::read(read.into_iter()))
}

#[pymethods]
impl Exchange {
    #[getter]
    fn wants_body(&self) -> bool {
        self.inner.wants_body()
    }

    #[getter]
    fn counted(&self) -> bool {
        self.inner.announced().is_none_or(|bytes| bytes > SMALL_BODY)
    }

    #[getter]
    fn passed_on(&self, py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        let text = |value: &Py<PyAny>| {
            PyResult::Ok(String::from_utf8_lossy(bytes(value.bind(py))?).into_owned())
        };
        let read = |(name, value): &(Py<PyAny>, Py<PyAny>)| Ok((text(name)?, text(value)?));
        let all = self.passed_on.iter().map(read).collect::<PyResult<Vec<_>>>()?;
        Ok(all.into_iter().filter(|(_, value)| value.is_ascii()).collect())
    }

    #[getter]
    fn request_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.inner.id().as_str())
    }

    #[getter]
    fn index(&self) -> u32 {
        self.inner.index()
    }

    #[getter]
    fn endpoint(&self) -> u8 {
        self.inner.endpoint()
    }

    #[getter]
    fn route(&self) -> u8 {
        self.inner.route()
    }

    #[getter]
    fn stream(&self) -> bool {
        self.inner.is_stream()
    }

    #[getter]
    fn ended(&self) -> bool {
        self.inner.ended()
    }

    #[getter]
    fn recorded(&self) -> bool {
        self.inner.recorded()
    }

    fn admit<'py>(
        &mut self,
        py: Python<'py>,
        body: Option<Bound<'py, PyBytes>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let step = if let Some(body) = body {
            let step = self.inner.body(body.as_bytes());
            self.body = Some(body.unbind());
            step
        } else {
            let body = self.body.as_ref().map(|body| body.clone_ref(py));
            self.inner.admit(body.as_ref().map_or(&[], |body| body.as_bytes(py)))
        };
        self.step(py, step)
    }

    #[pyo3(signature = (status, headers, body, usage = None))]
    fn whole<'py>(
        &mut self,
        py: Python<'py>,
        status: u16,
        headers: &Bound<'py, PyAny>,
        body: Bound<'py, PyAny>,
        usage: Option<Tokens>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let theirs = theirs(headers)?;
        let reply = self.inner.whole(status, theirs, bytes(&body)?, usage).map_err(raise)?;
        self.reply(py, &reply, Some(headers), body)
    }

    fn begin<'py>(
        &mut self,
        py: Python<'py>,
        status: u16,
        headers: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let reply = self.inner.begin(status, theirs(headers)?);
        self.reply(py, &reply, Some(headers), py.None().into_bound(py))
    }

    fn begin_events<'py>(
        &mut self,
        py: Python<'py>,
        status: u16,
        headers: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let is_stream = theirs(headers)?.is_stream(status);
        is_stream.then(|| self.begin(py, status, headers)).transpose()
    }

    fn chunk<'py>(&mut self, chunk: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = chunk.py();
        let chunk = match chunk.cast_into::<PyBytes>() {
            Ok(bytes) => bytes,
            // Its own method makes bytes at half the cost of the buffer protocol.
            Err(other) => to_bytes(&other.into_inner())?,
        };
        Ok(match self.inner.chunk(chunk.as_bytes()).map_err(raise)? {
            Shown::Same => chunk,
            Shown::Other(bytes) => PyBytes::new(py, &bytes),
        })
    }

    fn end<'py>(&mut self, py: Python<'py>, end: u8) -> PyResult<Bound<'py, PyAny>> {
        let ends = [End::Whole, End::Failed, End::Late, End::Gone, End::Broken];
        let end =
            *ends.get(usize::from(end)).ok_or_else(|| PyValueError::new_err("no such end"))?;
        match self.inner.end(end).map_err(raise)? {
            Last::Whole(reply) => {
                Ok(self.reply(py, &reply, None, py.None().into_bound(py))?.into_any())
            }
            Last::Bytes(left) => Ok(PyBytes::new(py, &left).into_any()),
            Last::Cut => Ok(py.None().into_bound(py)),
        }
    }

    fn report(&mut self, input: u64, cached: u64, output: u64) -> bool {
        self.inner.report(input, cached, output)
    }
}

fn to_bytes<'py>(chunk: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = chunk.py();
    if let Some(method) = chunk.getattr_opt(intern!(py, "to_bytes"))? {
        return Ok(method.call0()?.cast_into::<PyBytes>()?);
    }
    Ok(py.get_type::<PyBytes>().call1((chunk,))?.cast_into::<PyBytes>()?)
}
