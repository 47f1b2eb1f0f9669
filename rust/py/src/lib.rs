//! `nemorouter._core`: the Python face of `nemorouter-core`. Conversions only; no decision is made
//! here.

// PyO3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod arena;
mod errors;
mod exchange;
mod functions;
mod gate;
mod journal;
mod peek;
mod request;
mod row;
mod sse;
mod views;
mod worker;

use pyo3::{prelude::*, types::PyTuple};

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::arena::Arena;
    #[pymodule_export]
    use super::exchange::{Exchange, Wait};
    #[pymodule_export]
    use super::functions::{
        Bucket, echo_chat, hash_key, parse_key, set_process_name, set_time_slice, watch_for_end,
    };
    #[pymodule_export]
    use super::gate::Gate;
    #[pymodule_export]
    use super::journal::Journal;
    #[pymodule_export]
    use super::peek::{Peek, peek};
    #[pymodule_export]
    use super::sse::{Scanner, Usage, is_events, looks_like_events, read_answer};
    #[pymodule_export]
    use super::views::{Identity, Lease, ManualClock, Meters, Refusal};
    #[pymodule_export]
    use super::worker::{
        Guard, Proxies, Resource, Routes, Worker, catalogue, no_such_model, problem,
    };
    use nemorouter_core::quota::{MONEY, RATES, Rate};
    use nemorouter_openai::headers;

    use super::{Bound, PyModule, PyModuleMethods, PyResult, PyTuple};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("Row", super::row::row_type(module.py())?)?;
        module.add("LAYOUT", nemorouter_core::LAYOUT)?;
        let row = |rate: Rate| {
            let period_s = rate.period_us / 1_000_000;
            (rate.name, rate.counts.name(), period_s, rate.most, rate.code.name())
        };
        module.add("RATES", PyTuple::new(module.py(), RATES.map(row))?)?;
        module.add("CALLS", nemorouter_openai::paths::CALLS)?;
        module.add("CREDENTIAL_HEADERS", nemorouter_openai::credential::HEADERS)?;
        module.add("FROM_UPSTREAM", headers::FROM_UPSTREAM)?;
        module.add("FROM_UPSTREAM_ERROR", headers::FROM_UPSTREAM_ERROR)?;
        module.add("MONEY", MONEY)?;
        module.add("MOST_TOKENS", nemorouter_openai::usage::MOST)?;
        module.add("MAX_PRICES", nemorouter_core::price::PRICES_MAX)
    }
}
