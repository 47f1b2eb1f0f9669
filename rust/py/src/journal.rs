//! A worker's journal, as its worker makes it and the drainer reads it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use nemorouter_core::journal;
use pyo3::{exceptions::PyOSError, prelude::*};

use crate::{errors::raise, row::Rows};

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Journal(pub Arc<journal::Journal>);

fn random_id() -> PyResult<u64> {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes).map_err(
        |error| PyOSError::new_err(format!("read the system's random generator: {error}")),
    )?;
    Ok(u64::from_le_bytes(bytes) >> 1 | 1)
}

#[pymethods]
impl Journal {
    #[staticmethod]
    #[pyo3(signature = (slots = 1_024, upstreams = vec![]))]
    fn private(slots: usize, upstreams: Vec<String>) -> PyResult<Self> {
        journal::Journal::private(slots, &upstreams, random_id()?)
            .map(|journal| Self(Arc::new(journal)))
            .map_err(raise)
    }

    #[staticmethod]
    fn create(directory: PathBuf, slots: usize, upstreams: Vec<String>) -> PyResult<Self> {
        let id = random_id()?;
        journal::Journal::create(&directory, slots, &upstreams, id)
            .map(|journal| Self(Arc::new(journal)))
            .map_err(raise)
    }

    #[staticmethod]
    fn open(path: PathBuf) -> PyResult<Self> {
        journal::Journal::open(&path).map(|journal| Self(Arc::new(journal))).map_err(raise)
    }

    #[getter]
    fn journal_id(&self) -> u64 {
        self.0.id()
    }

    #[getter]
    fn path(&self) -> Option<String> {
        self.0.path().map(|path| path.to_string_lossy().into_owned())
    }

    #[getter]
    fn upstreams(&self) -> Vec<String> {
        self.0.upstreams()
    }

    #[getter]
    fn slots(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn free_slots(&self) -> usize {
        self.0.free_slots()
    }

    fn lock_if_dead(&self) -> PyResult<bool> {
        self.0.lock_if_dead().map_err(raise)
    }

    fn recover(&self) -> Vec<u32> {
        self.0.recover()
    }

    fn deferred(&self) -> Vec<u32> {
        self.0.deferred()
    }

    fn finish_deferred(&self) {
        self.0.finish_deferred();
    }

    #[pyo3(signature = (limit = 1_000))]
    fn rows<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.ended(py, limit, true)
    }

    #[pyo3(signature = (limit = 1_000))]
    fn unfit<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.ended(py, limit, false)
    }

    fn free(&self, slots: Vec<usize>) {
        self.0.free(slots.into_iter());
    }

    fn take_refusal_counts(&self, before_minute: u64) -> Vec<(u64, u64, u8, u64)> {
        self.0.take_refusal_counts(before_minute)
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        self.0.counters().into_iter().collect()
    }
}

impl Journal {
    /// Make the rows of up to `limit` ended tickets: those that fit the ledger's columns, or the
    /// others.
    fn ended<'py>(
        &self,
        py: Python<'py>,
        limit: usize,
        fit: bool,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut rows = Rows::new(py, &self.0)?;
        let chosen = self.0.ended().filter(|(_, _, slot)| slot.fits_ledger() == fit);
        chosen.take(limit).map(|(at, head, slot)| rows.make(at, head.seq(), slot)).collect()
    }
}
