//! What clients and providers of `OpenAI`'s API say, and the order in which a request is answered.
//!
//! [`exchange`] knows the order: a head is located ([`paths`]), its credential chosen
//! ([`credential`]) and its source found ([`source`]); the body is looked at ([`peek`]) and
//! admitted; an upstream's answer passes by ([`sse`], [`answer`]), tells its [`usage`] and is charged
//! ([`charge`]). [`refusals`] and [`headers`] are what the client gets.
//!
//! The crate performs no I/O and knows neither Python nor a runtime, so that every rule in it is
//! reached by `cargo test`.

pub mod answer;
pub mod charge;
pub mod credential;
pub mod echo;
pub mod exchange;
pub mod headers;
mod json;
mod lines;
pub mod media;
pub mod paths;
pub mod peek;
pub mod refusals;
pub mod routes;
mod skeleton;
pub mod source;
pub mod sse;
mod text;
pub mod usage;
pub mod worker;
