//! A request's head as servers hand it over: Granian's RSGI scope, or ASGI's dictionary.

use std::{borrow::Cow, net::IpAddr};

use nemorouter_openai::{
    headers::TO_UPSTREAM,
    source::{Networks, read_hop},
    worker::Head,
};
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString, PyTuple},
};

/// The parts of a head, with the objects that hold their bytes.
pub struct Request<'py> {
    method: Bound<'py, PyAny>,
    path: Bound<'py, PyAny>,
    root: Option<Bound<'py, PyAny>>,
    query: Bound<'py, PyAny>,
    peer: Option<IpAddr>,
    headers: Vec<Pair<'py>>,
    /// Names of headers whose values the server does not show.
    hidden: Vec<Bound<'py, PyAny>>,
    /// It is ASGI's: its headers are bytes.
    pub asgi: bool,
}

type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);
/// A header; `None` for a value that cannot be read.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

impl<'py> Request<'py> {
    /// Read a scope. Whose address a rewritten peer of ASGI is, is known only where proxies are
    /// `trusted`.
    pub fn read(scope: &Bound<'py, PyAny>, trusted: &Networks) -> PyResult<Self> {
        match scope.cast::<PyDict>() {
            Ok(scope) => Self::asgi(scope, trusted),
            Err(_) => Self::rsgi(scope),
        }
    }

    fn rsgi(scope: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = scope.py();
        // Once, and all headers in one call: each call costs more than a header.
        let given = scope.getattr(intern!(py, "headers"))?;
        let items = given.call_method0(intern!(py, "items"))?;
        let items = items.cast::<PyList>()?;
        let mut headers = Vec::with_capacity(items.len());
        for pair in items.iter() {
            let pair = pair.cast::<PyTuple>()?;
            headers.push((pair.get_item(0)?, pair.get_item(1)?));
        }
        let hidden =
            if given.len()? > distinct(&headers)? { hidden(&given, &headers)? } else { Vec::new() };
        let client = scope.getattr(intern!(py, "client"))?;
        Ok(Self {
            method: scope.getattr(intern!(py, "method"))?,
            path: scope.getattr(intern!(py, "path"))?,
            root: None,
            query: scope.getattr(intern!(py, "query_string"))?,
            peer: read_hop(bytes(&client)?),
            headers,
            hidden,
            asgi: false,
        })
    }

    fn asgi(scope: &Bound<'py, PyDict>, trusted: &Networks) -> PyResult<Self> {
        let py = scope.py();
        let get = |name: &Bound<'py, PyString>| {
            scope.get_item(name).map(|found| found.filter(|value| !value.is_none()))
        };
        let text = |found: Option<Bound<'py, PyAny>>| {
            found.unwrap_or_else(|| intern!(py, "").clone().into_any())
        };
        let mut headers = Vec::new();
        for pair in scope.as_any().get_item(intern!(py, "headers"))?.try_iter()? {
            let pair = pair?;
            headers.push((pair.get_item(0)?, pair.get_item(1)?));
        }
        Ok(Self {
            method: text(get(intern!(py, "method"))?),
            path: scope.as_any().get_item(intern!(py, "path"))?,
            root: get(intern!(py, "root_path"))?,
            query: text(get(intern!(py, "query_string"))?),
            peer: get(intern!(py, "client"))?
                .map(|peer| peer_of(&peer, trusted))
                .transpose()?
                .flatten(),
            headers,
            hidden: Vec::new(),
            asgi: true,
        })
    }

    /// The headers that reach an upstream.
    pub fn passed_on(&self) -> Vec<(Py<PyAny>, Py<PyAny>)> {
        let known = |name: &Bound<'_, PyAny>| {
            bytes(name).is_ok_and(|name| TO_UPSTREAM.iter().any(|known| known.as_bytes() == name))
        };
        let passed = self.headers.iter().filter(|(name, _)| known(name));
        passed.map(|(name, value)| (name.clone().unbind(), value.clone().unbind())).collect()
    }

    /// Hand the head and its headers to `judge`.
    pub fn with<T>(
        &self,
        judge: impl for<'a> FnOnce(&Head<'a>, std::vec::IntoIter<Header<'a>>) -> T,
    ) -> PyResult<T> {
        let path = lossy(&self.path)?;
        let root = self.root.as_ref().map(lossy).transpose()?.unwrap_or_default();
        let head = Head {
            method: text(&self.method)?,
            path: &path,
            root: &root,
            query: bytes(&self.query)?,
            peer: self.peer,
        };
        let mut read = Vec::with_capacity(self.headers.len() + self.hidden.len());
        for (name, value) in &self.headers {
            // A name that is no text is none that we know.
            read.push((str::from_utf8(bytes(name)?).unwrap_or_default(), Some(bytes(value)?)));
        }
        for name in &self.hidden {
            read.push((text(name)?, None));
        }
        Ok(judge(&head, read.into_iter()))
    }
}

/// The number of names. Values of one name stand side by side.
fn distinct(headers: &[Pair]) -> PyResult<usize> {
    let (mut names, mut last) = (0, &[][..]);
    for (name, _) in headers {
        let name = bytes(name)?;
        names += usize::from(name != last);
        last = name;
    }
    Ok(names)
}

/// Values with bytes outside ASCII are not listed by RSGI, but their names are known.
fn hidden<'py>(given: &Bound<'py, PyAny>, listed: &[Pair]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let names = given.call_method0(intern!(given.py(), "keys"))?;
    let mut hidden = Vec::new();
    for name in names.try_iter()? {
        let name = name?;
        if !listed.iter().any(|(known, _)| same(known, &name)) {
            hidden.push(name);
        }
    }
    Ok(hidden)
}

fn same(one: &Bound<'_, PyAny>, other: &Bound<'_, PyAny>) -> bool {
    matches!((bytes(one), bytes(other)), (Ok(one), Ok(other)) if one == other)
}

/// The address in ASGI's pair of address and port. Port 0 marks an address that the server took
/// from a header; without trusted proxies it is nobody's.
fn peer_of(client: &Bound<'_, PyAny>, trusted: &Networks) -> PyResult<Option<IpAddr>> {
    let (address, port) = (client.get_item(0)?, client.get_item(1)?);
    let rewritten = port.extract::<u16>().is_ok_and(|port| port == 0);
    Ok(if rewritten && trusted.is_empty() { None } else { read_hop(bytes(&address)?) })
}

/// The bytes of a str or of bytes.
pub fn bytes<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    if let Ok(text) = value.cast::<PyString>() {
        return text.to_str().map(str::as_bytes);
    }
    let bytes = value.cast::<PyBytes>();
    bytes.map(PyBytesMethods::as_bytes).map_err(|_| PyTypeError::new_err("expected str or bytes"))
}

fn text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    value.cast::<PyString>().map_err(|_| PyTypeError::new_err("expected str"))?.to_str()
}

/// A path may hold what is no Unicode.
fn lossy<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    let text = value.cast::<PyString>().map_err(|_| PyTypeError::new_err("a path is a str"))?;
    Ok(text.to_string_lossy())
}
