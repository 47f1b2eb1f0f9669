//! What a request says before it is decided upon: its headers and its body, in one call each.

use nemorouter_openai::peek::{self as core, Fault, Seen};
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
        self.seen.usage_edit.is_some()
    }
}

/// A `Peek`, or the code and message of what is wrong with the body.
#[pyfunction]
pub fn peek<'py>(
    py: Python<'py>,
    body: &Bound<'py, PyBytes>,
    endpoint: u8,
) -> PyResult<Bound<'py, PyAny>> {
    let refuse = |code: i64, message: Option<&str>| {
        Ok(PyTuple::new(py, [code.into_pyobject(py)?.into_any(), message.into_pyobject(py)?])?
            .into_any())
    };
    match core::peek(body.as_bytes(), endpoint) {
        Err(Fault::Json) => refuse(code::INVALID_JSON, None),
        Err(Fault::Depth) => refuse(code::INVALID_JSON, Some("The body is nested too deeply.")),
        Err(Fault::Model) => refuse(code::MISSING_MODEL, None),
        Err(Fault::Field(message)) => refuse(code::INVALID_REQUEST, Some(&message)),
        Ok(seen) => {
            let model = PyString::new(py, &seen.model).unbind();
            Ok(Bound::new(py, Peek { model, seen })?.into_any())
        }
    }
}

/// The one Authorization value, and the bytes of the body that the headers announce: -1 if they do
/// not say; minus the code of a refusal, less one, where they are at fault.
///
/// `Bearer ?` stands for a credential that was sent but cannot be right: two of them, one that is
/// no ASCII, or a key in the query; the gate refuses it as malformed.
#[pyfunction]
pub fn head<'py>(
    py: Python<'py>,
    scope: &Bound<'py, PyAny>,
    headers: &Bound<'py, PyAny>,
    most_headers: usize,
    most_body: u64,
) -> PyResult<(Bound<'py, PyAny>, i64)> {
    // All of them in one call: each call costs more than a header.
    let pairs = headers.call_method0(intern!(py, "items"))?;
    let (mut kind, mut coding, mut length) = (None, None, None);
    let (mut authorization, mut credentials, mut total) = (None, 0, 0);
    for pair in pairs.cast::<PyList>()?.iter() {
        let pair = pair.cast::<PyTuple>()?;
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        let name = text(&name)?;
        total += name.len() + value.len()?;
        match name {
            "authorization" => {
                credentials += 1;
                authorization = Some(value.to_owned());
            }
            "content-type" => _ = kind.get_or_insert_with(|| value.to_owned()),
            "content-encoding" => _ = coding.get_or_insert_with(|| value.to_owned()),
            "content-length" => _ = length.get_or_insert_with(|| value.to_owned()),
            _ => {}
        }
    }
    let query = scope.getattr(intern!(py, "query_string"))?;
    let authorization = match authorization {
        Some(one) if credentials == 1 && !holds_key(text(&query)?) => one,
        // A value that is no ASCII is not listed, but its name is known.
        None if !holds_key(text(&query)?) && !headers.contains(intern!(py, "authorization"))? => {
            py.None().into_bound(py)
        }
        _ => intern!(py, "Bearer ?").clone().into_any(),
    };
    let size = if total > most_headers {
        -1 - code::HEADERS_TOO_LARGE
    } else if !is_json(word(kind.as_ref())?) || !is_plain(word(coding.as_ref())?) {
        -1 - code::UNSUPPORTED_MEDIA_TYPE
    } else {
        announced(word(length.as_ref())?, most_body)
    };
    Ok((authorization, size))
}

fn announced(length: &str, most: u64) -> i64 {
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return -1;
    }
    match length.parse::<u64>() {
        Ok(length) if length <= most => length.cast_signed(),
        _ => -1 - code::REQUEST_TOO_LARGE,
    }
}

/// The address in `ip:port`.
pub fn address(client: &str) -> &str {
    client
        .rsplit_once(':')
        .map_or("", |(address, _)| address)
        .trim_start_matches('[')
        .trim_end_matches(']')
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
        let hex = escaped
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    plain.windows(8).any(|window| window == b"sk-nemo-" || window == b"mk-nemo-")
}

fn text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    value.cast::<PyString>().map_err(|_| PyTypeError::new_err("a header is made of str"))?.to_str()
}

fn word<'a>(value: Option<&'a Bound<'_, PyAny>>) -> PyResult<&'a str> {
    value.map_or(Ok(""), text)
}

fn is_plain(coding: &str) -> bool {
    coding.is_empty() || matches!(coding.trim().to_ascii_lowercase().as_str(), "" | "identity")
}

/// `application/json` or `…+json`, whatever its parameters; an empty type is taken for JSON.
fn is_json(kind: &str) -> bool {
    if kind.is_empty() || kind == "application/json" {
        return true;
    }
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(kind.as_str(), "" | "application/json") || kind.ends_with("+json")
}
