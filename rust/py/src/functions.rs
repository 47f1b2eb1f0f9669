//! Pure functions of the core, for the control plane, tests and benchmarks.

use std::{os::fd::IntoRawFd, sync::Once, time::Duration};

use nemorouter_core::{
    bucket,
    credential::{Credential, parse},
    digest::Pepper,
    quota::{Limit, Quota, RATES},
    sync::AtomicU64,
    units::NONE,
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    pybacked::{PyBackedBytes, PyBackedStr},
    types::PyBytes,
};

use crate::errors::raise;

/// Bytes, or the UTF-8 of a string: what servers give as a header's value.
#[derive(FromPyObject)]
pub enum Text {
    Str(PyBackedStr),
    Bytes(PyBackedBytes),
}

impl Text {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Str(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

pub fn pepper(id: u8, secret: &[u8]) -> PyResult<Pepper> {
    let secret = secret.try_into().map_err(|_| PyValueError::new_err("a pepper has 32 bytes"))?;
    Ok(Pepper::new(id, secret))
}

#[pyfunction]
pub fn hash_key(key: Text, pepper: &[u8]) -> PyResult<[u8; 32]> {
    Ok(*crate::functions::pepper(0, pepper)?.hash(key.bytes()).as_bytes())
}

#[pyfunction]
pub fn parse_key(authorization: Text) -> Option<String> {
    match parse(authorization.bytes()) {
        Credential::Key(key) => Some(String::from_utf8_lossy(key).into_owned()),
        Credential::Missing | Credential::Malformed => None,
    }
}

#[pyfunction]
pub fn echo_chat<'py>(
    py: Python<'py>,
    body: &[u8],
    identity: &str,
) -> Option<(Bound<'py, PyBytes>, u64, u64)> {
    let echoed = nemorouter_openai::echo::chat(str::from_utf8(body).ok()?, identity)?;
    Some((PyBytes::new(py, &echoed.body), echoed.input, echoed.output))
}

#[pyfunction]
pub fn watch_for_end(masters: Vec<i32>, limit_s: f64, grace_s: f64) -> PyResult<i32> {
    let seconds = |value| {
        Duration::try_from_secs_f64(value).map_err(|error| PyValueError::new_err(error.to_string()))
    };
    let (limit, grace) = (seconds(limit_s)?, seconds(grace_s)?);
    let told = nemorouter_core::process::watch_for_end(&masters, limit, grace).map_err(raise)?;
    Ok(told.into_raw_fd())
}

#[pyfunction]
pub fn set_process_name(name: &str) -> PyResult<()> {
    nemorouter_core::process::set_process_name(name).map_err(raise)
}

#[pyfunction]
pub fn set_time_slice(microseconds: u32) -> PyResult<()> {
    nemorouter_core::process::set_time_slice(u64::from(microseconds) * 1_000).map_err(raise)
}

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Bucket {
    word: AtomicU64,
    quota: Quota,
    begun: Once,
}

#[pymethods]
impl Bucket {
    #[new]
    #[pyo3(signature = (limit, burst = None, rate = 0))]
    fn new(limit: u64, burst: Option<u64>, rate: usize) -> PyResult<Self> {
        let rate = RATES
            .get(rate)
            .ok_or_else(|| PyValueError::new_err(format!("{rate} is no rate of the table")))?;
        let limit = Limit { tokens: limit, burst: burst.unwrap_or(limit) };
        if limit.tokens.max(limit.burst) > rate.most {
            return Err(PyValueError::new_err("the limit is too large"));
        }
        Ok(Self { word: AtomicU64::new(0), quota: rate.quota(limit), begun: Once::new() })
    }

    fn take(&self, n: u64, now_us: u64) -> bool {
        let word = self.word(now_us);
        bucket::take(word, bucket::look(word), self.quota, n, now_us, || true).is_ok()
    }

    fn give(&self, n: u64) {
        bucket::give(&self.word, self.quota, n);
    }

    fn owe(&self, n: u64, now_us: u64) {
        bucket::owe(self.word(now_us), self.quota, n, now_us);
    }

    fn remaining(&self, now_us: u64) -> i64 {
        self.quota.remaining(bucket::claimed(self.word(now_us)), now_us)
    }

    fn wait_us(&self, n: u64, now_us: u64) -> Option<u64> {
        self.quota.wait(bucket::claimed(self.word(now_us)), n, now_us)
    }

    fn full_us(&self, now_us: u64) -> u64 {
        self.quota.full_in(bucket::claimed(self.word(now_us)), now_us)
    }
}

impl Bucket {
    /// Return the word. The first look at it fills it, as `Arena::put` does: a place of zero on the
    /// ring looks indebted after some uptime.
    fn word(&self, now_us: u64) -> &AtomicU64 {
        let none = Quota { tokens: NONE, ..self.quota };
        self.begun.call_once(|| {
            bucket::change(&self.word, |claimed| none.convert(claimed, self.quota, now_us));
        });
        &self.word
    }
}
