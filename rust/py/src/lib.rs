//! `nemorouter._core`: the Python face of `nemorouter-core`. Conversions only; no decision is made
//! here.

// PyO3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod arena;
mod call;
mod errors;
mod functions;
mod gate;
mod journal;
mod peek;
mod sse;
mod views;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::arena::Arena;
    #[pymodule_export]
    use super::call::Call;
    #[pymodule_export]
    use super::functions::{
        Bucket, die_with_parent, echo_chat, hash_key, parse_key, set_time_slice,
    };
    #[pymodule_export]
    use super::gate::Gate;
    #[pymodule_export]
    use super::journal::Journal;
    #[pymodule_export]
    use super::peek::{Peek, head, peek};
    #[pymodule_export]
    use super::sse::{Scanner, produced, read_usage};
    #[pymodule_export]
    use super::views::{Identity, Lease, ManualClock, Meters, Refusal};
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("LAYOUT", nemorouter_core::LAYOUT)?;
        module.add("MOST_TOKENS", nemorouter_openai::usage::MOST)?;
        module.add("MAX_PRICES", nemorouter_core::price::PRICES_MAX)
    }
}
