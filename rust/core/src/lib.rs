//! The decision of `NemoRouter`: who is asking, may they, and what it costs, on atomic words that
//! all workers of a host share.
//!
//! The way of a request: [`credential`] and [`digest`] name a key, [`arena`] finds its [`record`],
//! [`levels`] takes its cost from every [`bucket`] and [`money`] word or from none, and a [`slot`]
//! of the worker's [`journal`] remembers it until it is in the ledger. [`gate`] is the one place
//! that sees all of them. With many hosts a bucket is a [`lease`], and [`wants`] tell the host's
//! agent what is short.
//!
//! No Python here, and no `unsafe` outside `map` and `process`. Every word in shared memory is
//! atomic, so that neither a race nor a corrupt file is undefined behaviour. `--cfg loom` swaps the
//! atomics and leaves out what needs a mapping.

pub mod bucket;
pub mod calendar;
pub mod credential;
pub mod deny;
pub mod digest;
pub mod granted;
pub mod lease;
pub mod levels;
pub mod model;
pub mod money;
pub mod record;
pub mod recount;
pub mod slot;
pub mod sync;
pub mod units;
pub mod verdict;
pub mod wants;

#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
pub mod gate;
#[cfg(not(loom))]
pub mod heap;
#[cfg(not(loom))]
pub mod journal;
#[cfg(not(loom))]
pub mod map;
#[cfg(not(loom))]
pub mod policy;
#[cfg(not(loom))]
pub mod price;
#[cfg(not(loom))]
pub mod process;
#[cfg(not(loom))]
pub mod table;
#[cfg(not(loom))]
pub mod tally;

/// Version of the arena's and the journal's layout. A file of another layout is refused, never
/// guessed at.
pub const LAYOUT: u64 = 3;
