//! What ends this process, and what the kernel is asked to do with its threads.

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, write},
    pipe::{PipeFlags, pipe_with},
    process::{
        Pid, PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open, test_kill_process,
    },
    thread::set_name,
};

use crate::error::{Error, Result};

/// What [`watch_for_end`] writes when SIGTERM was received.
pub const ASKED: u8 = b'T';
/// What [`watch_for_end`] writes when one of the masters has ended.
pub const ORPHANED: u8 = b'P';

/// How often a master is looked for where the kernel has no descriptors of processes (Linux 5.3),
/// or a sandbox forbids them.
const LOOK: Duration = Duration::from_millis(500);

/// Bound the life of this process: `limit` after the first SIGTERM, or `grace` after the end of
/// one of `masters`, it is killed, whatever it is doing.
///
/// The process reads [`ASKED`] and [`ORPHANED`], each at most once, from the descriptor that comes
/// back, and should end by itself before. A thread of its own waits for both causes. It needs
/// neither the interpreter's lock nor a signal handler, so that nothing in the process can delay
/// the end, and further signals do nothing.
///
/// SIGTERM must be blocked in the calling thread, and in every other thread of the process.
pub fn watch_for_end(masters: &[i32], limit: Duration, grace: Duration) -> Result<OwnedFd> {
    let io = |what: &'static str| move |error: Errno| Error::Io(what.to_owned(), error.into());
    let (reader, writer) =
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(io("open a pipe"))?;
    let masters = masters.iter().map(|pid| Master::of(*pid)).collect::<Result<Vec<_>>>()?;
    let watch = Watch { signals: terminations()?, masters, writer, limit, grace };
    thread::Builder::new()
        .name("nemorouter-end".to_owned())
        .spawn(move || watch.run())
        .map_err(|error| Error::Io("start a thread".to_owned(), error))?;
    Ok(reader)
}

/// A process whose end is the end of this one.
enum Master {
    /// Readable once the process has ended.
    Descriptor(OwnedFd),
    /// To be looked for, as the parent of this process or by its number.
    Number(Pid),
    Gone,
}

impl Master {
    fn of(number: i32) -> Result<Self> {
        let pid = Pid::from_raw(number).filter(|pid| pid.as_raw_nonzero().get() > 0);
        let pid = pid.ok_or_else(|| Error::Value(format!("no process has the number {number}")))?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Ok(Self::Descriptor(descriptor)),
            Err(Errno::SRCH) => Ok(Self::Gone),
            Err(_) => Ok(Self::Number(pid)),
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            Self::Descriptor(descriptor) => readable(descriptor.as_fd()),
            Self::Number(pid) => {
                getppid() != Some(*pid) && test_kill_process(*pid) == Err(Errno::SRCH)
            }
            Self::Gone => true,
        }
    }
}

struct Watch {
    signals: OwnedFd,
    masters: Vec<Master>,
    writer: OwnedFd,
    limit: Duration,
    grace: Duration,
}

impl Watch {
    fn run(&self) {
        let (mut asked, mut orphaned) = (None, None);
        loop {
            let now = Instant::now();
            if asked.is_none() && self.is_asked() {
                asked = Some(now + self.limit);
                self.tell(ASKED);
            }
            if orphaned.is_none() && self.masters.iter().any(Master::is_gone) {
                orphaned = Some(now + self.grace);
                self.tell(ORPHANED);
            }
            let end = [asked, orphaned].into_iter().flatten().min();
            if end.is_some_and(|end| end <= now) {
                let _ = kill_process(getpid(), Signal::KILL);
            }
            self.sleep(end.map(|end| end - now), asked.is_none(), orphaned.is_none());
        }
    }

    /// Wait for a cause that has not come yet, at most until the end is due.
    fn sleep(&self, left: Option<Duration>, ask: bool, orphan: bool) {
        let mut sources = Vec::new();
        if ask {
            sources.push(self.signals.as_fd());
        }
        let mut longest = left;
        for master in self.masters.iter().filter(|_| orphan) {
            match master {
                Master::Descriptor(descriptor) => sources.push(descriptor.as_fd()),
                Master::Number(_) => longest = Some(left.map_or(LOOK, |left| left.min(LOOK))),
                Master::Gone => {}
            }
        }
        let mut polled: Vec<_> =
            sources.iter().map(|source| PollFd::new(source, PollFlags::IN)).collect();
        // A millisecond more, so that the time is over when it returns.
        let timeout =
            longest.and_then(|left| Timespec::try_from(left + Duration::from_millis(1)).ok());
        let _ = poll(&mut polled, timeout.as_ref());
    }

    fn is_asked(&self) -> bool {
        let mut info = [0; mem::size_of::<libc::signalfd_siginfo>()];
        read(&self.signals, &mut info).is_ok()
    }

    fn tell(&self, cause: u8) {
        let _ = write(&self.writer, &[cause]); // nobody reads any more: the end comes without
    }
}

/// A descriptor from which SIGTERM is read in place of being delivered.
fn terminations() -> Result<OwnedFd> {
    // SAFETY: `set` is initialised by `sigemptyset` before it is read, and signalfd makes a new
    // descriptor, which nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(Error::Io("listen for SIGTERM".to_owned(), io::Error::last_os_error())),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

fn readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Set the name of the calling thread, of at most 15 bytes; of the first thread it is the name of
/// the process in `ps` and `/proc/PID/comm`.
pub fn set_process_name(name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|_| Error::Value("a name without NUL".to_owned()))?;
    set_name(&name).map_err(|error| Error::Io("set the process's name".to_owned(), error.into()))
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
