//! The one door to atomics: std's in the product, loom's under `--cfg loom`.
//!
//! Orderings: a load or swap stronger than `Relaxed` names its partner where it stands.

#[cfg(loom)]
pub use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering, fence},
};

/// How often a reader looks again at a word that somebody is changing before it gives up.
/// A writer holds such a word for well under a microsecond; a stopped one is not waited for.
#[cfg(not(loom))]
pub const SPINS: usize = 2_000;
#[cfg(loom)]
pub const SPINS: usize = 2;
