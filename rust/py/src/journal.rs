//! A worker's journal, as its worker makes it and the drainer reads it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use nemorouter_core::{journal, model::ModelName, slot::Slot, units::NONE};
use pyo3::{
    exceptions::PyOSError,
    prelude::*,
    types::{PyInt, PyString, PyTuple},
};

use crate::errors::raise;

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Journal(pub Arc<journal::Journal>);

fn random_boot() -> PyResult<u64> {
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
        journal::Journal::private(slots, &upstreams, random_boot()?)
            .map(|journal| Self(Arc::new(journal)))
            .map_err(raise)
    }

    #[staticmethod]
    fn create(directory: PathBuf, slots: usize, upstreams: Vec<String>) -> PyResult<Self> {
        let boot = random_boot()?;
        journal::Journal::create(&directory, slots, &upstreams, boot)
            .map(|journal| Self(Arc::new(journal)))
            .map_err(raise)
    }

    #[staticmethod]
    fn open(path: PathBuf) -> PyResult<Self> {
        journal::Journal::open(&path).map(|journal| Self(Arc::new(journal))).map_err(raise)
    }

    #[getter]
    fn boot(&self) -> u64 {
        self.0.boot()
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

    fn claim(&self) -> PyResult<bool> {
        self.0.lock_dead().map_err(raise)
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
    fn rows<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let mut rows = Rows::new(py, &self.0);
        let fit = self.0.ended().filter(|(_, _, slot)| slot.fits_ledger());
        fit.take(limit).map(|(at, head, slot)| rows.row(at, head.seq(), slot)).collect()
    }

    #[pyo3(signature = (limit = 1_000))]
    fn unfit<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let mut rows = Rows::new(py, &self.0);
        let unfit = self.0.ended().filter(|(_, _, slot)| !slot.fits_ledger());
        unfit.take(limit).map(|(at, head, slot)| rows.row(at, head.seq(), slot)).collect()
    }

    fn free(&self, slots: Vec<usize>) {
        self.0.free(slots.into_iter());
    }

    fn tallies(&self, before_minute: u64) -> Vec<(u64, u64, u8, u64)> {
        self.0.take_tallies(before_minute)
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        self.0.counters().into_iter().collect()
    }
}

/// Makes rows. What equals the row before, as owners and model mostly do, is that row's object.
struct Rows<'py> {
    py: Python<'py>,
    boot: u64,
    upstreams: Vec<Bound<'py, PyAny>>,
    unknown: Bound<'py, PyAny>,
    model: Option<(ModelName, Bound<'py, PyAny>)>,
    numbers: [Option<(u64, Bound<'py, PyAny>)>; COLUMNS],
}

/// Fields of `_core.Row`.
const COLUMNS: usize = 21;

impl<'py> Rows<'py> {
    fn new(py: Python<'py>, journal: &journal::Journal) -> Self {
        let text = |name: &str| PyString::new(py, name).into_any();
        let upstreams = journal.upstreams().iter().map(|name| text(name)).collect();
        Self {
            py,
            boot: journal.boot(),
            upstreams,
            unknown: text(""),
            model: None,
            numbers: [const { None }; COLUMNS],
        }
    }

    /// The fields of `_core.Row`, in its order.
    fn row(&mut self, at: usize, seq: u64, slot: Slot) -> PyResult<Bound<'py, PyTuple>> {
        let ([key, team, user, org], meta, end) = (slot.ids(), slot.meta(), slot.end());
        let cost = if meta.priced { end.cost } else { NONE };
        let fields = [
            self.number(0, at as u64),
            self.number(1, self.boot),
            self.number(2, seq),
            self.number(3, slot.at_ms()),
            self.number(4, key),
            self.number(5, team),
            self.number(6, user),
            self.number(7, org),
            self.model(slot.model()),
            self.upstreams.get(usize::from(meta.upstream)).unwrap_or(&self.unknown).clone(),
            self.number(10, u64::from(meta.endpoint)),
            self.number(11, u64::from(end.status)),
            self.number(12, u64::from(end.outcome)),
            self.number(13, u64::from(meta.stream)),
            self.number(14, end.input),
            self.number(15, end.cached),
            self.number(16, end.output),
            self.number(17, cost),
            self.number(18, slot.reserved_nano()),
            self.number(19, end.latency_us),
            self.number(20, end.ttft_us),
        ];
        PyTuple::new(self.py, fields)
    }

    /// `NONE` is Python's `None`.
    fn number(&mut self, column: usize, value: u64) -> Bound<'py, PyAny> {
        match &self.numbers[column] {
            Some((last, object)) if *last == value => object.clone(),
            _ => {
                let object = match value {
                    NONE => self.py.None().into_bound(self.py),
                    _ => PyInt::new(self.py, value).into_any(),
                };
                self.numbers[column] = Some((value, object.clone()));
                object
            }
        }
    }

    fn model(&mut self, name: ModelName) -> Bound<'py, PyAny> {
        match &self.model {
            Some((last, object)) if *last == name => object.clone(),
            _ => {
                let object = PyString::new(self.py, &name.text()).into_any();
                self.model = Some((name, object.clone()));
                object
            }
        }
    }
}
