//! The decision of `NemoRouter`: who is asking, may they, and what it costs, on atomic words that
//! all workers of a host share.
//!
//! The way of a request: [`credential`] and [`digest`] name a key, [`arena`] finds its [`record`],
//! [`levels`] takes its cost from every [`bucket`] and [`money`] word or from none, and a [`slot`]
//! of the worker's [`journal`] remembers it until it is in the ledger. [`gate`] is the one place
//! that sees all of them. With many hosts a bucket is a [`lease`], and the ring of [`demand`] tells
//! the host's agent what is short.
//!
//! No Python here, and no `unsafe` outside `map` and `process`. Every word in shared memory is
//! atomic, so that neither a race nor a corrupt file is undefined behaviour. `--cfg loom` swaps the
//! atomics and leaves out what needs a mapping.
//!
//! | Folder | Holds |
//! |---|---|
//! | `values` | units, numbers, times, names and errors: no shared word |
//! | `meters` | the words that a request is charged to |
//! | `memory` | the layout of the mapped files |
//! | `arena` | every scope of a host, in one mapping |

pub mod call;
pub mod levels;
mod memory;
mod meters;
pub mod sync;
mod values;

#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
pub mod gate;
#[cfg(not(loom))]
pub mod policy;
#[cfg(not(loom))]
pub mod process;
#[cfg(not(loom))]
mod standing;

pub use memory::{demand, record, slot};
#[cfg(not(loom))]
pub use memory::{heap, journal, map, price, refusal_count, table};
pub use meters::{bucket, denial, lease, money, money_grant, recount};
pub use values::{calendar, credential, digest, model, numbers, quota, units, verdict};
#[cfg(not(loom))]
pub use values::{clock, error};

/// Version of the arena's and the journal's layout, and the number of rates that records and slots
/// have words for. A file of another layout is refused, never guessed at.
pub const LAYOUT: u64 = 6 << 8 | quota::RATE_COUNT as u64;
