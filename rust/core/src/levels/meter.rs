//! How the words of a scope are counted: in buckets of this host, or in leases of limits that many
//! hosts share. An admission chooses its meter once.

use super::{Level, Levels, reserve::Seen};
use crate::{
    bucket,
    calendar::Tag,
    lease::Answer,
    quota::{Quota, Resource},
    record::Record,
    slot::SCOPES,
    verdict::Deny,
};

/// A rate limit of one level: its words, and what its policy allows.
#[derive(Clone, Copy)]
pub struct Metered<'a> {
    pub record: Record<'a>,
    /// Index of the scope.
    pub index: u32,
    /// The sequence under which the policy was read.
    pub seq: u64,
    /// Place in [`RATES`](crate::quota::RATES).
    pub rate: usize,
    pub quota: Quota,
}

impl Metered<'_> {
    /// Return the meter's number among those of its scope.
    pub(super) fn resource(self) -> Resource {
        Resource::Rate(self.rate as u8)
    }
}

/// A way of counting.
pub trait Meter: Copy {
    /// The words of a rate as they were seen: what is taken later is decided on them.
    type Look: Copy + Default;

    /// Check that the host may admit anything at this time.
    fn is_open(self, now_us: u64) -> bool;

    /// Decide whether `n` tokens fit, without taking them.
    fn check(self, metered: Metered, n: u64, now_us: u64) -> (Self::Look, Answer);

    /// Take `n` tokens or none. Fails where what was seen no longer stands: read everything again.
    fn take<T>(
        self,
        metered: Metered,
        look: Self::Look,
        n: u64,
        now_us: u64,
    ) -> Result<(), Deny<T>>;

    /// Give back in full what [`Self::take`] took from `look`.
    fn undo(self, metered: Metered, look: Self::Look, n: u64, now_us: impl Fn() -> u64);

    /// Return the microseconds until nothing that is known stands against `n` tokens; `None` if
    /// they can never fit.
    fn wait(self, metered: Metered, n: u64, now_us: u64) -> Option<u64>;

    /// Give back `n` tokens of a settled request.
    fn give(self, record: Record, rate: usize, n: u64);

    /// Take `n` tokens unconditionally.
    fn owe(self, record: Record, rate: usize, n: u64, now_us: impl Fn() -> u64);

    /// Return the whole tokens left (negative in debt), and the microseconds until all are there.
    fn left(self, metered: Metered, now_us: u64) -> (i64, u64);

    /// Return the nano-USD up to which the budget of a level may be committed in the window `tag`.
    fn cap(self, level: &Level, tag: Tag) -> u64;

    /// Decide whether more of a budget is to be asked for, when `used` and `nano` together are
    /// above [`Self::cap`]. `Some`: no; the budget is exceeded, and this much is used.
    fn exceeded(self, level: &Level, tag: Tag, used: u64, nano: u64, now_us: u64) -> Option<u64>;

    /// Check, after everything was taken, that all of it could still be taken.
    fn confirm(
        self,
        levels: &Levels,
        seen: &Seen<Self::Look>,
        tags: [Tag; SCOPES],
        now_us: impl Fn() -> u64,
    ) -> bool;

    /// Report that a meter of a scope is short of `need`.
    fn demand(self, index: u32, resource: Resource, need: u64);
}

/// Buckets and budgets of this host alone.
#[derive(Clone, Copy)]
pub struct Local;

impl Meter for Local {
    type Look = u64;

    fn is_open(self, _: u64) -> bool {
        true
    }

    fn check(self, metered: Metered, n: u64, now_us: u64) -> (u64, Answer) {
        let seen = bucket::look(metered.record.meter(metered.rate));
        let fits = metered.quota.decide(seen.into(), n, now_us).is_some();
        (seen, if fits { Answer::Fits } else { Answer::Denied(None) })
    }

    fn take<T>(self, metered: Metered, look: u64, n: u64, now_us: u64) -> Result<(), Deny<T>> {
        let Metered { record, seq, rate, quota, .. } = metered;
        bucket::take(record.meter(rate), look, quota, n, now_us, || record.is_current(seq))
            .map_err(|_| Deny::Retry)
    }

    fn undo(self, metered: Metered, _: u64, n: u64, _: impl Fn() -> u64) {
        bucket::give(metered.record.meter(metered.rate), metered.quota, n);
    }

    fn wait(self, metered: Metered, n: u64, now_us: u64) -> Option<u64> {
        metered.quota.wait(bucket::claimed(metered.record.meter(metered.rate)), n, now_us)
    }

    fn give(self, record: Record, rate: usize, n: u64) {
        bucket::give(record.meter(rate), record.quota(rate), n);
    }

    fn owe(self, record: Record, rate: usize, n: u64, now_us: impl Fn() -> u64) {
        bucket::owe(record.meter(rate), record.quota(rate), n, now_us());
    }

    fn left(self, metered: Metered, now_us: u64) -> (i64, u64) {
        let claimed = bucket::claimed(metered.record.meter(metered.rate));
        (metered.quota.remaining(claimed, now_us), metered.quota.full_in(claimed, now_us))
    }

    fn cap(self, level: &Level, _: Tag) -> u64 {
        level.view.cap
    }

    fn exceeded(self, _: &Level, _: Tag, used: u64, _: u64, _: u64) -> Option<u64> {
        Some(used)
    }

    fn confirm(self, _: &Levels, _: &Seen<u64>, _: [Tag; SCOPES], _: impl Fn() -> u64) -> bool {
        true
    }

    fn demand(self, _: u32, _: Resource, _: u64) {}
}
