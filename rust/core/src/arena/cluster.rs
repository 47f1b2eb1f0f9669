//! The arena of a host that shares its limits with others: the host's own lease, and what its agent
//! does to the leases of scopes.

use super::{Arena, H_ADMIT_UNTIL, H_CLUSTERED};
use crate::{
    calendar::{DAY_MS, Tag},
    demand::{self, Demand, DemandRing},
    denial,
    error::{Error, Result},
    lease::Lease,
    levels::Terms,
    money::Money,
    money_grant,
    quota::Resource,
    record::{Record, View},
    recount::Window,
    sync::Ordering,
    units::NONE,
};

/// A lease, as the host's agent sees it. For money: of the window that begins on `first_day`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseView {
    pub claimed: u64,
    pub returned: u64,
    pub granted: u64,
    pub until_us: u64,
    pub first_day: u64,
    /// Limit and burst of the policy, or its cap; [`NONE`] = no limit.
    pub limit: u64,
    pub burst: u64,
    pub version: u64,
}

fn rate(record: Record<'_>, resource: Resource) -> Option<Lease<'_>> {
    match resource {
        Resource::Rate(rate) => Some(record.lease(usize::from(rate))),
        Resource::Money => None,
    }
}

impl Arena {
    #[must_use]
    pub fn clustered(&self) -> bool {
        self.clustered.load(Ordering::Relaxed) != 0
    }

    /// Share limits with other hosts, or not. Only while there is no scope: a word counts leased
    /// tokens or a bucket's units, not both. A host that begins to share admits nothing until
    /// [`Self::set_admit_until`] says how long it may.
    pub fn set_clustered(&self, clustered: bool) -> Result<()> {
        if self.scopes() > 0 {
            return Err(Error::Value(
                "an arena that holds scopes cannot begin or cease to share its limits".to_owned(),
            ));
        }
        self.set_admit_until(u64::from(clustered));
        self.set(H_CLUSTERED, u64::from(clustered));
        self.clustered.store(u64::from(clustered), Ordering::Relaxed);
        Ok(())
    }

    /// Return the boot clock (microseconds) until which this host may admit; 0 = for ever. It only
    /// counts while the arena is clustered.
    #[must_use]
    pub fn admit_until(&self) -> u64 {
        self.word(H_ADMIT_UNTIL).load(Ordering::Acquire)
    }

    pub fn set_admit_until(&self, boot_us: u64) {
        // Release: a thread that sees the new time sees every policy that was applied before it.
        self.word(H_ADMIT_UNTIL).store(boot_us, Ordering::Release);
    }

    /// Return the terms of an admission; `None` on one machine.
    #[must_use]
    pub fn terms(&self) -> Option<Terms<'_>> {
        self.clustered().then(|| Terms { demand: self.demand(), admit_until: self.admit_until() })
    }

    #[must_use]
    pub fn fenced(&self) -> bool {
        self.terms().is_some_and(|terms| terms.is_over(self.clock().boot_us()))
    }

    #[must_use]
    pub fn demand(&self) -> DemandRing<'_> {
        DemandRing(&self.map.words()[self.plan.demand..self.plan.demand + demand::WORDS])
    }

    pub(super) fn record_and_view(&self, index: u32) -> Result<(Record<'_>, View)> {
        let record = self
            .record(index)
            .ok_or_else(|| Error::Value(format!("no scope has index {index}")))?;
        let view = record
            .view()
            .ok_or_else(|| Error::Busy("the record is being written; try again".to_owned()))?;
        Ok((record, view))
    }

    /// Read a lease. Claimed is read before returned: what is rolled back in between counts as
    /// claimed, never the other way round.
    pub fn lease(&self, index: u32, resource: Resource) -> Result<LeaseView> {
        let (record, view) = self.record_and_view(index)?;
        let version = record.version();
        let Resource::Rate(rate) = resource else {
            let window = Window::of(record, view.duration, self.clock().wall_ms());
            let granted = Money(record.money_granted().load(Ordering::Acquire));
            return Ok(LeaseView {
                claimed: Money(record.money().load(Ordering::Acquire)).committed(window.tag()),
                returned: 0,
                granted: if granted.tag() == window.tag() { granted.amount() } else { 0 },
                until_us: 0,
                first_day: window.first_day(),
                limit: view.cap,
                burst: NONE,
                version,
            });
        };
        let (lease, limit) = (record.lease(usize::from(rate)), view.limits.of(usize::from(rate)));
        let seen = lease.look();
        let returned = lease.returned.load(Ordering::Acquire);
        Ok(LeaseView {
            claimed: seen.claimed,
            returned,
            granted: seen.granted,
            until_us: seen.until,
            first_day: 0,
            limit: limit.tokens,
            burst: limit.burst,
            version,
        })
    }

    /// List the leases that were granted and not voided since, for an agent that takes over.
    #[must_use]
    pub fn leased(&self) -> Vec<(u32, Resource)> {
        let granted = |record: Record, resource| match rate(record, resource) {
            Some(lease) => lease.until.load(Ordering::Relaxed) != 0,
            None => Money(record.money_granted().load(Ordering::Relaxed)).amount() != 0,
        };
        let of = |index| {
            let record = self.record(index)?;
            Some(Resource::all().filter(move |r| granted(record, *r)).map(move |r| (index, r)))
        };
        (0..self.scopes()).filter_map(of).flatten().collect()
    }

    /// Grant a lease (see [`Lease::grant`]) or an amount of a budget (see [`money_grant::grant`]).
    pub fn grant(
        &self,
        index: u32,
        resource: Resource,
        to: u64,
        until: u64,
        first_day: u64,
        centre: u64,
    ) -> Result<()> {
        let (record, view) = self.record_and_view(index)?;
        if let Some(lease) = rate(record, resource) {
            lease.grant(to, until, centre);
        } else {
            money_grant::grant(
                record.money_granted(),
                Tag::at(view.duration, first_day * DAY_MS),
                to,
            );
            denial::deny(record.denial(resource), 0, 0, 0);
        }
        Ok(())
    }

    /// Take back unspent tokens (see [`Lease::withdraw`]) or money (see [`money_grant::withdraw`]).
    pub fn withdraw(&self, index: u32, resource: Resource, most: u64) -> Result<u64> {
        let (record, _) = self.record_and_view(index)?;
        Ok(match rate(record, resource) {
            Some(lease) => lease.withdraw(most),
            None => money_grant::withdraw(record.money_granted(), record.money(), most),
        })
    }

    /// End a lease (see [`Lease::void`]). Money does not run out within its window.
    pub fn void(&self, index: u32, resource: Resource) -> Result<u64> {
        let (record, _) = self.record_and_view(index)?;
        Ok(rate(record, resource).map_or(0, Lease::void))
    }

    /// Remember a denial of the bank (see [`denial::deny`]).
    pub fn deny(
        &self,
        index: u32,
        resource: Resource,
        need: u64,
        until_us: u64,
        fits_us: u64,
    ) -> Result<()> {
        let (record, _) = self.record_and_view(index)?;
        denial::deny(record.denial(resource), need, until_us, fits_us);
        Ok(())
    }

    /// Take out what is short (see [`DemandRing::drain`]).
    #[must_use]
    pub fn take_demand(&self, limit: usize) -> Vec<Demand> {
        self.demand().drain(limit)
    }
}
