//! The one match between the core's errors and Python's exceptions.

use nemorouter_core::error::Error;
use pyo3::{
    PyErr, PyTypeInfo, Python,
    exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError},
    import_exception,
};

import_exception!(nemorouter.errors, TicketError);

/// Make the exception for an error. An `io::Error` keeps its errno, so that Python makes it the
/// right subclass of `OSError`.
pub fn raise(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Io(_, io) => match io.raw_os_error() {
            Some(errno) => PyOSError::new_err((errno, text)),
            None => PyErr::from(io),
        },
        Error::Foreign(_) | Error::Value(_) => PyValueError::new_err(text),
        Error::Busy(_) => PyRuntimeError::new_err(text),
        Error::Full(_) => PyMemoryError::new_err(text),
        Error::Ticket(_) => Python::attach(|py| {
            let _ = TicketError::type_object(py);
            TicketError::new_err(text)
        }),
    }
}

/// Make the error of an index that names no scope.
pub fn no_scope(index: u32) -> PyErr {
    PyValueError::new_err(format!("no scope has index {index}"))
}

/// Make the error of a record that is being written for longer than a writer takes.
pub fn busy() -> PyErr {
    PyRuntimeError::new_err("the record is being written; try again")
}
