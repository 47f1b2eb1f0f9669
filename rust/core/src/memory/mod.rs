//! The layout of the mapped files: the records and tables of an arena, the slots of a journal.

pub mod demand;
pub mod record;
pub mod slot;

#[cfg(not(loom))]
pub mod heap;
#[cfg(not(loom))]
pub mod journal;
#[cfg(not(loom))]
pub mod map;
#[cfg(not(loom))]
pub mod price;
#[cfg(not(loom))]
pub mod refusal_count;
#[cfg(not(loom))]
pub mod table;
