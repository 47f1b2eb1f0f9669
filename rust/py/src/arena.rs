//! The arena, as the control plane and the drainer use it.

use std::{path::PathBuf, sync::Arc};

use nemorouter_core::{
    arena,
    model::ModelName,
    policy,
    price::Known,
    quota::{RATE_COUNT, Resource},
    units::{CAP_MAX, Price},
    verdict::Kind,
};
use pyo3::{exceptions::PyValueError, prelude::*, pybacked::PyBackedBytes, types::PyIterator};

use crate::{
    errors::{busy, no_scope, raise},
    journal::Journal,
    views::{Identity, Lease, Meters},
};

#[pyclass(frozen, module = "nemorouter._core")]
pub struct Arena(pub Arc<arena::Arena>);

/// `nemorouter.types.Policy`, attribute by attribute.
#[derive(FromPyObject)]
struct PyPolicy {
    kind: u8,
    id: u64,
    version: u64,
    status: u8,
    org: u64,
    team: u64,
    user: u64,
    digest: PyBackedBytes,
    limits: [Option<u64>; RATE_COUNT],
    bursts: [Option<u64>; RATE_COUNT],
    cap: Option<u64>,
    duration: u8,
    expires_ms: Option<u64>,
    endpoints: u16,
    models: Vec<String>,
    ips: Vec<String>,
    name: String,
    last4: String,
}

impl From<PyPolicy> for policy::Policy {
    fn from(p: PyPolicy) -> Self {
        Self {
            kind: p.kind,
            id: p.id,
            version: p.version,
            status: p.status,
            org: p.org,
            team: p.team,
            user: p.user,
            digest: p.digest.to_vec(),
            limits: p.limits,
            bursts: p.bursts,
            cap: p.cap,
            duration: p.duration,
            expires_ms: p.expires_ms,
            endpoints: p.endpoints,
            models: p.models,
            ips: p.ips,
            name: p.name,
            last4: p.last4,
        }
    }
}

/// `nemorouter.types.ModelPrice`.
#[derive(FromPyObject)]
struct PyPrice {
    model: String,
    version: u64,
    input: Option<u64>,
    cached: Option<u64>,
    output: u64,
    request: u64,
    max_output: u64,
}

fn identity(bytes: &[u8]) -> PyResult<[u8; 32]> {
    bytes.try_into().map_err(|_| PyValueError::new_err("an arena's identity has 32 bytes"))
}

/// Report a negative number, a missing attribute or a wrong type as a bad value, with the binding's
/// own words as the cause.
fn bad_field(py: Python<'_>, cause: PyErr) -> PyErr {
    let error = PyValueError::new_err(cause.to_string());
    error.set_cause(py, Some(cause));
    error
}

fn resource(number: u8) -> PyResult<Resource> {
    Resource::from_number(number)
        .ok_or_else(|| PyValueError::new_err(format!("{number} is no resource")))
}

#[pymethods]
impl Arena {
    #[staticmethod]
    fn private(capacity: usize) -> PyResult<Self> {
        arena::Arena::private(capacity).map(|arena| Self(Arc::new(arena))).map_err(raise)
    }

    #[staticmethod]
    fn create(path: PathBuf, capacity: usize, identity: &[u8]) -> PyResult<Self> {
        let identity = self::identity(identity)?;
        arena::Arena::create(&path, capacity, &identity)
            .map(|arena| Self(Arc::new(arena)))
            .map_err(raise)
    }

    #[staticmethod]
    fn open(path: PathBuf, identity: &[u8]) -> PyResult<Self> {
        let identity = self::identity(identity)?;
        arena::Arena::open(&path, &identity).map(|arena| Self(Arc::new(arena))).map_err(raise)
    }

    fn publish(&self, path: PathBuf) -> PyResult<()> {
        self.0.publish(&path).map_err(raise)
    }

    #[getter]
    fn applied(&self) -> u64 {
        self.0.applied()
    }

    #[setter]
    fn set_applied(&self, sequence: u64) {
        self.0.set_applied(sequence);
    }

    #[getter]
    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    #[getter]
    fn scopes(&self) -> u32 {
        self.0.scopes()
    }

    fn put(&self, policy: &Bound<'_, PyAny>) -> PyResult<u32> {
        let policy: PyPolicy = policy.extract().map_err(|error| bad_field(policy.py(), error))?;
        self.0.put(&policy.into()).map_err(raise)
    }

    fn put_many(&self, policies: &Bound<'_, PyAny>) -> PyResult<()> {
        for policy in PyIterator::from_object(policies)? {
            self.put(&policy?)?;
        }
        Ok(())
    }

    fn close(&self, index: u32) -> PyResult<()> {
        self.0.close(index).map_err(raise)
    }

    fn remove_price(&self, model: &str) {
        // A name that no price can have has none.
        if let Some(model) = ModelName::new(model) {
            self.0.remove_price(&model);
        }
    }

    fn put_price(&self, price: &Bound<'_, PyAny>) -> PyResult<()> {
        let price: PyPrice = price.extract().map_err(|error| bad_field(price.py(), error))?;
        let model = ModelName::new(&price.model)
            .ok_or_else(|| PyValueError::new_err("a model's name has 1 to 120 bytes"))?;
        let parts = [price.input, price.cached, Some(price.output), Some(price.request)];
        if parts.into_iter().flatten().any(|part| part > CAP_MAX) {
            return Err(PyValueError::new_err(
                "a price of more than 10,000,000 USD cannot be held",
            ));
        }
        let known = Known {
            price: price.input.map(|input| Price {
                input,
                cached: price.cached.unwrap_or(input),
                output: price.output,
                request: price.request,
            }),
            max_output: price.max_output,
        };
        self.0.put_price(&model, price.version, known).map_err(raise)
    }

    #[pyo3(signature = (kind, id, digest = None))]
    fn find(&self, kind: u8, id: u64, digest: Option<&[u8]>) -> PyResult<Option<u32>> {
        let kind = Kind::from_bits(u64::from(kind))
            .ok_or_else(|| PyValueError::new_err(format!("{kind} is no kind of scope")))?;
        if kind != Kind::Key {
            return Ok(self.0.find_scope(kind, id));
        }
        let digest: [u8; 32] = digest
            .unwrap_or_default()
            .try_into()
            .map_err(|_| PyValueError::new_err("a key is found by its digest of 32 bytes"))?;
        Ok(self.0.find(&digest.into()))
    }

    fn identity(&self, index: u32) -> PyResult<Identity> {
        let reuses = self.0.reuses();
        let record = self.0.record(index).ok_or_else(|| no_scope(index))?;
        let view = record.view().ok_or_else(busy)?;
        let id_of =
            |index: u32| self.0.record(index).map_or(0, nemorouter_core::record::Record::id);
        let last4 = record.last4();
        let len = last4.iter().position(|b| *b == 0).unwrap_or(4);
        let name = self.0.block(view.standing.heap()).name();
        if !self.0.is_unused_since(reuses) {
            return Err(busy());
        }
        Ok(Identity {
            kind: view.kind.map_or(0, |kind| kind as u8),
            id: record.id(),
            org: id_of(view.org),
            team: id_of(view.team),
            user: id_of(view.user),
            name,
            last4: String::from_utf8_lossy(&last4[..len]).into_owned(),
            status: view.standing.status(),
        })
    }

    #[pyo3(signature = (index, boot_us = None, wall_ms = None))]
    fn meters(&self, index: u32, boot_us: Option<u64>, wall_ms: Option<u64>) -> PyResult<Meters> {
        let clock = self.0.clock();
        let boot_us = boot_us.unwrap_or_else(|| clock.boot_us());
        let wall_ms = wall_ms.unwrap_or_else(|| clock.wall_ms());
        self.0.meters(index, boot_us, wall_ms).map(Meters).map_err(raise)
    }

    fn frozen(&self) -> Vec<u32> {
        self.0.frozen()
    }

    #[pyo3(signature = (wall_ms = None))]
    fn roll_over(&self, py: Python<'_>, wall_ms: Option<u64>) {
        let wall_ms = wall_ms.unwrap_or_else(|| self.0.clock().wall_ms());
        py.detach(|| self.0.roll_over(wall_ms));
    }

    fn window(&self, index: u32, wall_ms: u64) -> PyResult<(u64, u64)> {
        let window = self.0.window(index, wall_ms).ok_or_else(|| no_scope(index))?;
        Ok((window.first_day(), window.end_day()))
    }

    fn recount(
        &self,
        py: Python<'_>,
        index: u32,
        first_day: u64,
        ledger_nano: u64,
        journals: Vec<PyRef<'_, Journal>>,
    ) -> bool {
        let journals: Vec<_> = journals.iter().map(|journal| journal.0.clone()).collect();
        // Without the GIL: the scan visits every slot of the host, and a settlement may have to
        // pass meanwhile.
        py.detach(|| {
            self.0.recount(
                index,
                first_day,
                ledger_nano,
                journals.iter().flat_map(|journal| journal.each()),
            )
        })
    }

    fn charge_past(&self, index: u32, rate: usize, admitted: u64) -> PyResult<()> {
        self.0.charge_past(index, rate, admitted).map_err(raise)
    }

    #[getter]
    fn clustered(&self) -> bool {
        self.0.clustered()
    }

    #[setter]
    fn set_clustered(&self, clustered: bool) -> PyResult<()> {
        self.0.set_clustered(clustered).map_err(raise)
    }

    #[getter]
    fn admit_until_us(&self) -> u64 {
        self.0.admit_until()
    }

    #[setter]
    fn set_admit_until_us(&self, boot_us: u64) {
        self.0.set_admit_until(boot_us);
    }

    #[getter]
    fn fenced(&self) -> bool {
        self.0.fenced()
    }

    fn lease(&self, index: u32, resource: u8) -> PyResult<Lease> {
        self.0.lease(index, self::resource(resource)?).map(Lease).map_err(raise)
    }

    fn leased(&self, py: Python<'_>) -> Vec<(u32, u8)> {
        let leases = py.detach(|| self.0.leased());
        leases.into_iter().map(|(index, resource)| (index, resource.number())).collect()
    }

    #[pyo3(signature = (index, resource, granted, until_us, first_day = 0, centre = 0))]
    fn grant(
        &self,
        index: u32,
        resource: u8,
        granted: u64,
        until_us: u64,
        first_day: u64,
        centre: u64,
    ) -> PyResult<()> {
        self.0
            .grant(index, self::resource(resource)?, granted, until_us, first_day, centre)
            .map_err(raise)
    }

    fn withdraw(&self, index: u32, resource: u8, most: u64) -> PyResult<u64> {
        self.0.withdraw(index, self::resource(resource)?, most).map_err(raise)
    }

    fn void(&self, index: u32, resource: u8) -> PyResult<u64> {
        self.0.void(index, self::resource(resource)?).map_err(raise)
    }

    #[pyo3(signature = (index, resource, need, until_us, fits_us = 0))]
    fn deny(
        &self,
        index: u32,
        resource: u8,
        need: u64,
        until_us: u64,
        fits_us: u64,
    ) -> PyResult<()> {
        self.0.deny(index, self::resource(resource)?, need, until_us, fits_us).map_err(raise)
    }

    #[pyo3(signature = (limit = 256))]
    fn take_demand(&self, limit: usize) -> Vec<(u32, u8, u64)> {
        self.0
            .take_demand(limit)
            .into_iter()
            .map(|demand| (demand.index, demand.resource.number(), demand.need))
            .collect()
    }
}
