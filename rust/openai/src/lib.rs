//! What clients and providers of OpenAI's API say: requests, answers, streams and their usage.
//!
//! The crate performs no I/O and knows neither Python nor a runtime, so that every rule in it is
//! reached by `cargo test`.

pub mod echo;
mod members;
pub mod peek;
pub mod sse;
pub mod usage;
