//! What a request says before it is decided upon: its headers and its body, in one call each.

use nemorouter_core::peek::{self as core, Fault, Seen};
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyBytes, PyList, PyString, PyTuple},
};

/// `errors.Code` of what is refused before the gate decides.
mod code {
    pub const INVALID_JSON: i64 = 16;
    pub const MISSING_MODEL: i64 = 17;
    pub const INVALID_REQUEST: i64 = 18;
    pub const REQUEST_TOO_LARGE: i64 = 22;
    pub const UNSUPPORTED_MEDIA_TYPE: i64 = 23;
    pub const HEADERS_TOO_LARGE: i64 = 24;
}

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Peek {
    #[pyo3(get)]
    model: Py<PyString>,
    pub seen: Seen,
}

#[pymethods]
impl Peek {
    #[staticmethod]
    fn nothing(py: Python<'_>) -> Self {
        let model = PyString::intern(py, "-").unbind();
        Self { model, seen: Seen { model: "-".to_owned(), choices: 1, ..Seen::default() } }
    }

    #[getter]
    fn stream(&self) -> bool {
        self.seen.stream
    }

    #[getter]
    fn output(&self) -> i64 {
        self.seen.output.map_or(-1, u64::cast_signed)
    }

    #[getter]
    fn choices(&self) -> u64 {
        self.seen.choices
    }

    #[getter]
    fn lacks_usage(&self) -> bool {
        self.seen.lacks_usage
    }
}

/// A `Peek`, or the code and message of what is wrong with the body.
#[pyfunction]
pub fn peek<'py>(py: Python<'py>, body: &Bound<'py, PyBytes>, endpoint: u8) -> PyResult<Bound<'py, PyAny>> {
    let refuse = |code: i64, message: Option<&str>| {
        Ok(PyTuple::new(py, [code.into_pyobject(py)?.into_any(), message.into_pyobject(py)?])?.into_any())
    };
    match core::peek(body.as_bytes(), endpoint) {
        Err(Fault::Json) => refuse(code::INVALID_JSON, None),
        Err(Fault::Depth) => refuse(code::INVALID_JSON, Some("The body is nested too deeply.")),
        Err(Fault::Model) => refuse(code::MISSING_MODEL, None),
        Err(Fault::Field(message)) => refuse(code::INVALID_REQUEST, Some(&message)),
        Ok(seen) => {
            let model = PyString::new(py, &seen.model);
            if is_printable(&model, &seen.model)? {
                Ok(Bound::new(py, Peek { model: model.unbind(), seen })?.into_any())
            } else {
                refuse(code::INVALID_REQUEST, Some("model: no control characters."))
            }
        }
    }
}

/// Python knows Unicode's tables; nearly every name is ASCII and does not need them.
fn is_printable(model: &Bound<'_, PyString>, text: &str) -> PyResult<bool> {
    if text.is_ascii() {
        return Ok(text.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
    }
    model.call_method0(intern!(model.py(), "isprintable"))?.extract()
}

/// Bytes of the body that the headers announce, -1 if they do not say; minus the code of a refusal, less one, otherwise.
#[pyfunction]
pub fn body_size(headers: &Bound<'_, PyAny>, most_headers: usize, most_body: u64) -> PyResult<i64> {
    let refuse = |code: i64| Ok(-1 - code);
    let py = headers.py();
    let values = headers.call_method0(intern!(py, "values"))?;
    let mut total = 0;
    for value in values.cast::<PyList>()?.iter() {
        total += value.len()?;
    }
    if total > most_headers {
        return refuse(code::HEADERS_TOO_LARGE);
    }
    let kind = header(headers, intern!(py, "content-type"))?;
    let coding = header(headers, intern!(py, "content-encoding"))?;
    if !is_json(text(kind.as_ref())?)
        || !matches!(text(coding.as_ref())?.trim().to_ascii_lowercase().as_str(), "" | "identity")
    {
        return refuse(code::UNSUPPORTED_MEDIA_TYPE);
    }
    let length = header(headers, intern!(py, "content-length"))?;
    match text(length.as_ref())? {
        digits if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(-1),
        digits => match digits.parse::<u64>() {
            Ok(length) if length <= most_body => Ok(length.cast_signed()),
            _ => refuse(code::REQUEST_TOO_LARGE),
        },
    }
}

/// The one Authorization header and the peer's address. `Bearer ?` stands for a credential that was sent but cannot be right:
/// two of them, one that is no ASCII, or a key in the query; the gate refuses it as malformed.
#[pyfunction]
pub fn credentials<'py>(
    py: Python<'py>,
    scope: &Bound<'py, PyAny>,
    headers: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let client = scope.getattr(intern!(py, "client"))?;
    let address = match text(Some(&client))? {
        bracketed if bracketed.starts_with('[') => {
            bracketed[1..].rsplit_once(']').map_or(bracketed, |(address, _)| address)
        }
        plain => plain.rsplit_once(':').map_or(plain, |(address, _)| address),
    };
    let address = PyString::new(py, address).into_any();
    let malformed = || intern!(py, "Bearer ?").clone().into_any();
    let query = scope.getattr(intern!(py, "query_string"))?;
    if holds_key(text(Some(&query))?) {
        return Ok((malformed(), address));
    }
    let name = intern!(py, "authorization");
    let values = headers.call_method1(intern!(py, "get_all"), (name,))?;
    let values = values.cast::<PyList>()?;
    Ok(match values.len() {
        1 => (values.get_item(0)?, address),
        0 if !headers.contains(name)? => (py.None().into_bound(py), address),
        _ => (malformed(), address),
    })
}

/// A key in a query would be logged by every proxy on its way.
fn holds_key(query: &str) -> bool {
    if query.is_empty() {
        return false;
    }
    let bytes = query.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let escaped = escaped.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex =
            escaped.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    plain.windows(8).any(|window| window == b"sk-nemo-" || window == b"mk-nemo-")
}

fn header<'py>(headers: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let value = headers.call_method1(intern!(headers.py(), "get"), (name,))?;
    Ok((!value.is_none()).then_some(value))
}

fn text<'a>(value: Option<&'a Bound<'_, PyAny>>) -> PyResult<&'a str> {
    value.map_or(Ok(""), |value| {
        value.cast::<PyString>().map_err(|_| PyTypeError::new_err("a header's value is a str"))?.to_str()
    })
}

/// `application/json` or `…+json`, whatever its parameters; an empty type is taken for JSON.
fn is_json(kind: &str) -> bool {
    if kind.is_empty() || kind == "application/json" {
        return true;
    }
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(kind.as_str(), "" | "application/json") || kind.ends_with("+json")
}
