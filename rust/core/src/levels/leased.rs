//! Leases of limits that many hosts share, as a [`Meter`]: [`crate::lease`] for rates, and the
//! granted amount for a cap. What does not fit is asked of the bank, unless the bank has just
//! denied it.

use super::{Level, Levels, Meter, Metered, reserve::Seen};
use crate::{
    calendar::Tag,
    demand::{Demand, DemandRing},
    denial::{denied, denied_from},
    lease::{Answer, Look},
    money_grant,
    quota::Resource,
    record::Record,
    slot::SCOPES,
    sync::{Ordering, fence},
    units::NONE,
    verdict::Deny,
};

/// The terms under which a host of a cluster admits.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub demand: DemandRing<'a>,
    /// Boot clock after which the host admits nothing; 0 = no end.
    pub admit_until: u64,
}

impl Terms<'_> {
    #[must_use]
    pub fn is_over(&self, now_us: u64) -> bool {
        self.admit_until != 0 && now_us >= self.admit_until
    }
}

/// Leases, under [`Terms`].
#[derive(Clone, Copy)]
pub struct Leased<'a>(pub Terms<'a>);

impl Meter for Leased<'_> {
    type Look = Look;

    fn is_open(self, now_us: u64) -> bool {
        !self.0.is_over(now_us)
    }

    fn check(self, metered: Metered, n: u64, now_us: u64) -> (Look, Answer) {
        let lease = metered.record.lease(metered.rate);
        let look = lease.look();
        (look, lease.answer(look, metered.quota, n, now_us))
    }

    fn take<T>(self, metered: Metered, look: Look, n: u64, now_us: u64) -> Result<(), Deny<T>> {
        let low = metered.record.lease(metered.rate).take(look, n, now_us).ok_or(Deny::Retry)?;
        if low {
            self.demand(metered.index, metered.resource(), 0);
        }
        Ok(())
    }

    /// Give back in full, unless the lease ran out meanwhile: then the tokens are void, and the
    /// bank counts them as lost.
    fn undo(self, metered: Metered, look: Look, n: u64, now_us: impl Fn() -> u64) {
        if now_us() < look.until {
            metered.record.lease(metered.rate).give(n);
        }
    }

    fn wait(self, metered: Metered, n: u64, now_us: u64) -> Option<u64> {
        let lease = metered.record.lease(metered.rate);
        match lease.answer(lease.look(), metered.quota, n, now_us) {
            Answer::Denied(wait) => wait,
            Answer::Fits | Answer::Short => Some(0),
        }
    }

    fn give(self, record: Record, rate: usize, n: u64) {
        record.lease(rate).give(n);
    }

    fn owe(self, record: Record, rate: usize, n: u64, _: impl Fn() -> u64) {
        record.lease(rate).owe(n);
    }

    fn left(self, metered: Metered, now_us: u64) -> (i64, u64) {
        let remaining = metered.record.lease(metered.rate).remaining(metered.quota, now_us);
        (remaining, metered.quota.refill_in(remaining))
    }

    fn cap(self, level: &Level, tag: Tag) -> u64 {
        let granted = level.record.money_granted().load(Ordering::Acquire);
        money_grant::cap(granted, tag, level.view.cap)
    }

    fn exceeded(self, level: &Level, tag: Tag, used: u64, nano: u64, now_us: u64) -> Option<u64> {
        let cap = level.view.cap;
        if used.saturating_add(nano) > cap {
            return Some(used);
        }
        let denial = level.record.denial(Resource::Money);
        let left = self.cap(level, tag).saturating_sub(used);
        denied(denial, nano.saturating_sub(left), now_us, |_| 0)?;
        // All hosts together: what was denied is the first amount that the bank has not left.
        let all = (cap + 1).saturating_sub(denied_from(denial)).saturating_sub(left);
        Some(used.max(all))
    }

    fn confirm(
        self,
        levels: &Levels,
        seen: &Seen<Look>,
        tags: [Tag; SCOPES],
        now_us: impl Fn() -> u64,
    ) -> bool {
        // Partner of the fence in `money_grant::withdraw`.
        fence(Ordering::SeqCst);
        let now_us = now_us();
        let covered = |(i, level): (usize, &Level)| {
            let Level { record, view, .. } = level;
            view.cap == NONE
                || money_grant::confirm(record.money_granted(), record.money(), tags[i], view.cap)
        };
        let lasts = levels.try_each_limit(|i, metered| {
            if now_us < seen.rate(i, metered.rate).until { Ok(()) } else { Err(()) }
        });
        !self.0.is_over(now_us) && lasts.is_ok() && levels.each().all(covered)
    }

    fn demand(self, index: u32, resource: Resource, need: u64) {
        self.0.demand.push(Demand { index, resource, need });
    }
}
