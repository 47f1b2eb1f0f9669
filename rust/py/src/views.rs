//! Frozen values that leave the core: refusals, meters, identities, and the clock of tests.

use std::sync::Arc;

use nemorouter_core::{
    arena::{self, LeaseView},
    clock::{Clock, Manual},
    units::NONE,
    verdict,
};
use pyo3::{prelude::*, types::PyTuple};

/// Convert [`NONE`] to Python's `None`.
pub fn optional(value: u64) -> Option<u64> {
    (value != NONE).then_some(value)
}

#[pyclass(frozen, module = "nemorouter._core")]
pub struct ManualClock(pub Arc<Manual>);

#[pymethods]
impl ManualClock {
    #[new]
    #[pyo3(signature = (boot_us = 1_000_000, wall_ms = 1_767_225_600_000))]
    fn new(boot_us: u64, wall_ms: u64) -> Self {
        Self(Arc::new(Manual::new(boot_us, wall_ms)))
    }

    fn advance(&self, us: u64) {
        self.0.advance(us);
    }

    fn set_wall(&self, wall_ms: u64) {
        self.0.set_wall(wall_ms);
    }
}

impl ManualClock {
    pub fn clock(&self) -> Clock {
        Clock::Manual(self.0.clone())
    }
}

#[pyclass(frozen, get_all, module = "nemorouter._core")]
pub struct Identity {
    pub kind: u8,
    pub id: u64,
    pub org: u64,
    pub team: u64,
    pub user: u64,
    pub name: String,
    pub last4: String,
    pub status: u8,
}

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Meters(pub arena::Meters);

#[pymethods]
impl Meters {
    #[getter]
    fn remaining<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.remaining)
    }

    #[getter]
    fn committed(&self) -> u64 {
        self.0.committed
    }

    #[getter]
    fn cap(&self) -> Option<u64> {
        optional(self.0.cap)
    }

    #[getter]
    fn duration(&self) -> u8 {
        self.0.duration as u8
    }

    #[getter]
    fn frozen(&self) -> bool {
        self.0.frozen
    }
}

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Lease(pub LeaseView);

#[pymethods]
impl Lease {
    #[getter]
    fn claimed(&self) -> u64 {
        self.0.claimed
    }

    #[getter]
    fn returned(&self) -> u64 {
        self.0.returned
    }

    #[getter]
    fn granted(&self) -> u64 {
        self.0.granted
    }

    #[getter]
    fn until_us(&self) -> u64 {
        self.0.until_us
    }

    #[getter]
    fn first_day(&self) -> u64 {
        self.0.first_day
    }

    #[getter]
    fn limit(&self) -> Option<u64> {
        optional(self.0.limit)
    }

    #[getter]
    fn burst(&self) -> Option<u64> {
        optional(self.0.burst)
    }

    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    fn __repr__(&self) -> String {
        let LeaseView { claimed, returned, granted, until_us, .. } = self.0;
        format!(
            "Lease(claimed={claimed}, returned={returned}, granted={granted}, until_us={until_us})"
        )
    }
}

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Refusal(pub verdict::Refusal);

#[pymethods]
impl Refusal {
    #[getter]
    fn code(&self) -> u8 {
        self.0.code as u8
    }

    #[getter]
    fn index(&self) -> u32 {
        self.0.index
    }

    #[getter]
    fn kind(&self) -> u8 {
        self.0.kind.map_or(0, |kind| kind as u8)
    }

    #[getter]
    fn rate(&self) -> Option<u8> {
        self.0.rate
    }

    #[getter]
    fn limit(&self) -> u64 {
        self.0.limit
    }

    #[getter]
    fn used(&self) -> u64 {
        self.0.used
    }

    #[getter]
    fn retry_after_us(&self) -> Option<u64> {
        self.0.retry_after_us
    }

    fn __repr__(&self) -> String {
        let verdict::Refusal { code, index, limit, used, .. } = self.0;
        format!(
            "Refusal(code={}, index={index}, kind={}, limit={limit}, used={used})",
            code as u8,
            self.kind()
        )
    }
}
