//! What the kernel is asked to do with this process.

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::error::{Error, Result};

/// SIGTERM to this process when the thread that started it ends.
pub fn die_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| Error::Io("set the parent-death signal".to_owned(), error.into()))
}
