//! What the kernel is asked to do with this process and its threads.

use std::{io, mem};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::error::{Error, Result};

/// SIGTERM to this process when the thread that started it ends.
pub fn die_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| Error::Io("set the parent-death signal".to_owned(), error.into()))
}

/// Ask for a time slice of this length for the calling thread, and for the threads that it will
/// make.
///
/// Who asks for less than others runs sooner when woken (Linux 6.12; before that nothing changes).
/// Nothing is asked for under another policy than the usual one.
pub fn set_time_slice(nanoseconds: u64) -> Result<()> {
    // SAFETY: all its fields are integers, for which zero is a value.
    let mut asked: libc::sched_attr = unsafe { mem::zeroed() };
    let size = mem::size_of_val(&asked);
    // SAFETY: the kernel writes at most `size` bytes to `asked`.
    kernel(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut asked, size, 0) })?;
    if asked.sched_policy != libc::SCHED_OTHER.cast_unsigned() {
        return Ok(()); // whoever chose another policy knows why
    }
    asked.sched_runtime = nanoseconds;
    // SAFETY: the kernel reads `asked`, whose size stands in it.
    kernel(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const asked, 0) })
}

fn kernel(answer: libc::c_long) -> Result<()> {
    if answer == 0 {
        return Ok(());
    }
    Err(Error::Io("ask the scheduler for a time slice".to_owned(), io::Error::last_os_error()))
}
