//! Two clocks: *boot* for buckets and latencies (it runs on through suspend and is never set),
//! *wall* for budget windows and expiry.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Where a gate reads the time.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    Manual(Arc<Manual>),
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct Manual {
    boot_us: AtomicU64,
    wall_ms: AtomicU64,
    /// Microseconds already advanced that do not yet make a millisecond of wall time.
    rest_us: AtomicU64,
}

impl Clock {
    #[must_use]
    pub fn boot_us(&self) -> u64 {
        match self {
            Self::System => micros(&clock_gettime(ClockId::Boottime)),
            Self::Manual(manual) => manual.boot_us.load(Ordering::Relaxed),
        }
    }

    /// Read the wall clock in Unix milliseconds. The coarse clock (a few milliseconds) costs a
    /// fifth of the fine one, and windows are days.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        match self {
            Self::System => micros(&clock_gettime(ClockId::RealtimeCoarse)) / 1_000,
            Self::Manual(manual) => manual.wall_ms.load(Ordering::Relaxed),
        }
    }
}

impl Manual {
    #[must_use]
    pub fn new(boot_us: u64, wall_ms: u64) -> Self {
        Self {
            boot_us: AtomicU64::new(boot_us),
            wall_ms: AtomicU64::new(wall_ms),
            rest_us: AtomicU64::new(0),
        }
    }

    pub fn advance(&self, us: u64) {
        self.boot_us.fetch_add(us, Ordering::Relaxed);
        let rest = self.rest_us.load(Ordering::Relaxed) + us;
        self.wall_ms.fetch_add(rest / 1_000, Ordering::Relaxed);
        self.rest_us.store(rest % 1_000, Ordering::Relaxed);
    }

    pub fn set_wall(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
        self.rest_us.store(0, Ordering::Relaxed);
    }
}

fn micros(time: &Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}
