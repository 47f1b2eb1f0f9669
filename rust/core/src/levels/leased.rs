//! All levels or none where limits are shared by many hosts: the same order and roll-back, with
//! [`crate::lease`] for buckets and the granted amount for a cap. What does not fit is asked of the
//! bank, unless the bank has just said no.

use super::{Cost, Level, Levels, Stop, Taken};
use crate::{
    bucket::Limit,
    calendar::Tag,
    demand::{Want, Wants},
    denial::{denied, denied_from},
    lease::{Answer, Lease, Look, Resource},
    money::{self, Corrected, Money},
    money_grant,
    slot::SCOPES,
    sync::{Ordering, fence},
    units::NONE,
    verdict::{Code, Refusal},
};

/// Under what an admission stands while the host belongs to a cluster.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub wants: Wants<'a>,
    /// Boot clock after which the host admits nothing; 0 = no end.
    pub admit_until: u64,
}

impl Terms<'_> {
    #[must_use]
    pub fn is_over(&self, now_us: u64) -> bool {
        self.admit_until != 0 && now_us >= self.admit_until
    }
}

/// The words of all scopes as [`Leased::check`] saw them.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    rpm: [Look; SCOPES],
    tpm: [Look; SCOPES],
    money: [u64; SCOPES],
    caps: [u64; SCOPES],
    /// The first end of a lease that is needed, or of the host's own.
    until: u64,
}

/// Bit per scope and resource that is short.
#[derive(Clone, Copy, Default)]
struct Short(u16);

/// The scopes of a request, under [`Terms`].
pub struct Leased<'l, 'a> {
    pub levels: &'l Levels<'a>,
    pub terms: Terms<'a>,
}

impl Short {
    fn add(&mut self, scope: usize, resource: Resource) {
        self.0 |= 1 << (scope * 3 + resource as usize);
    }

    fn has(self, scope: usize, resource: Resource) -> bool {
        self.0 >> (scope * 3 + resource as usize) & 1 == 1
    }
}

/// The rate leases of a level that its policy has a limit for, with what a request needs of each.
fn rates<'a>(
    level: &Level<'a>,
    cost: Cost,
) -> impl Iterator<Item = (Resource, Lease<'a>, Limit, u64)> {
    let Level { record, view, .. } = level;
    [
        (Resource::Rpm, record.rpm_lease(), view.rpm, 1),
        (Resource::Tpm, record.tpm_lease(), view.tpm, cost.tokens),
    ]
    .into_iter()
    .filter(|(_, _, limit, _)| !limit.is_unlimited())
}

impl Seen {
    fn look(&mut self, scope: usize, resource: Resource) -> &mut Look {
        let looks = if resource == Resource::Rpm { &mut self.rpm } else { &mut self.tpm };
        &mut looks[scope]
    }
}

impl Leased<'_, '_> {
    /// Look, without taking: the first level that cannot give, in the order of the contract. If
    /// none is refused but some are short, the agent is told of all of them, so that one round to
    /// the bank is enough.
    pub fn check(&self, cost: Cost, tags: [Tag; SCOPES]) -> Result<Seen, Stop> {
        let levels = self.levels;
        if self.terms.is_over(levels.now_us) {
            return Err(self.refused(Code::NotReady));
        }
        let until = if self.terms.admit_until == 0 { u64::MAX } else { self.terms.admit_until };
        let (mut seen, mut short) = (Seen { until, ..Seen::default() }, Short::default());
        for (i, level) in levels.rated() {
            for (resource, lease, limit, n) in rates(level, cost) {
                let look = lease.look();
                *seen.look(i, resource) = look;
                seen.until = seen.until.min(look.until);
                match lease.answer(look, limit, n, levels.now_us) {
                    Answer::Fits => {}
                    Answer::Short => short.add(i, resource),
                    Answer::Denied(_) => return Err(self.denied(level, resource, limit, cost)),
                }
            }
        }
        for (i, level) in levels.each() {
            if self.check_money(i, level, cost, tags, &mut seen)? {
                short.add(i, Resource::Money);
            }
        }
        if short.0 == 0 { Ok(seen) } else { Err(self.ask(short, cost)) }
    }

    /// True if the grant of this window is short.
    fn check_money(
        &self,
        i: usize,
        level: &Level,
        cost: Cost,
        tags: [Tag; SCOPES],
        seen: &mut Seen,
    ) -> Result<bool, Stop> {
        let Level { record, view, .. } = level;
        seen.money[i] = money::look(record.money());
        seen.caps[i] =
            money_grant::cap(record.money_granted().load(Ordering::Acquire), tags[i], view.cap);
        match money::decide(Money(seen.money[i]), tags[i], cost.nano, seen.caps[i]) {
            Ok(_) => Ok(false),
            Err(money::Stop::Exceeded(used)) => {
                let stop =
                    |used| Err(level.money_stop(money::Stop::Exceeded(used), self.levels.key()));
                if used.saturating_add(cost.nano) > view.cap {
                    return stop(used);
                }
                let deny = record.deny(Resource::Money);
                let left = seen.caps[i].saturating_sub(used);
                if denied(deny, cost.nano.saturating_sub(left), 0, self.levels.now_us).is_some() {
                    // All hosts together: what was denied is the first amount that the bank has not
                    // left.
                    let all = (view.cap + 1).saturating_sub(denied_from(deny)).saturating_sub(left);
                    return stop(used.max(all));
                }
                Ok(true)
            }
            Err(stop) => Err(level.money_stop(stop, self.levels.key())),
        }
    }

    /// Take from every word, or give back what was taken. `now_us` is read again once all is taken:
    /// what ran out meanwhile is void.
    pub fn take(
        &self,
        cost: Cost,
        tags: [Tag; SCOPES],
        seen: &Seen,
        now_us: impl Fn() -> u64,
    ) -> Result<(), Stop> {
        let mut taken = Taken::default();
        let all = self
            .take_rates(cost, *seen, &mut taken)
            .and_then(|()| self.take_money(cost, tags, seen, &mut taken))
            .and_then(|()| self.confirm(tags, seen, now_us()));
        all.inspect_err(|_| self.undo(cost, tags, *seen, taken, now_us()))
    }

    fn take_rates(&self, cost: Cost, mut seen: Seen, taken: &mut Taken) -> Result<(), Stop> {
        for (i, level) in self.levels.rated() {
            for (resource, lease, _, n) in rates(level, cost) {
                let low = lease
                    .take(*seen.look(i, resource), n, self.levels.now_us)
                    .ok_or(Stop::Again)?;
                if low {
                    self.terms.wants.push(Want { index: level.index, resource, need: 0 });
                }
                let bits = if resource == Resource::Rpm { &mut taken.rpm } else { &mut taken.tpm };
                *bits |= 1 << i;
            }
        }
        Ok(())
    }

    fn take_money(
        &self,
        cost: Cost,
        tags: [Tag; SCOPES],
        seen: &Seen,
        taken: &mut Taken,
    ) -> Result<(), Stop> {
        for (i, level) in self.levels.each() {
            let Level { record, view, .. } = level;
            let current = || record.is_current(view.seq);
            // Any refusal here came after the check: look again.
            money::commit(record.money(), seen.money[i], tags[i], cost.nano, seen.caps[i], current)
                .map_err(|_| Stop::Again)?;
            taken.money |= 1 << i;
        }
        Ok(())
    }

    /// Is all that was taken still ours to take?
    fn confirm(&self, tags: [Tag; SCOPES], seen: &Seen, now_us: u64) -> Result<(), Stop> {
        // Partner of the fence in `money_grant::withdraw`.
        fence(Ordering::SeqCst);
        let covered = |(i, level): (usize, &Level)| {
            let Level { record, view, .. } = level;
            view.cap == NONE
                || money_grant::confirm(record.money_granted(), record.money(), tags[i], view.cap)
        };
        if now_us < seen.until && self.levels.each().all(covered) {
            Ok(())
        } else {
            Err(Stop::Again)
        }
    }

    /// Give back in full, but for what ran out: that is void, and the bank counts it as lost.
    fn undo(&self, cost: Cost, tags: [Tag; SCOPES], mut seen: Seen, taken: Taken, now_us: u64) {
        for (i, level) in self.levels.each() {
            for (resource, lease, _, n) in rates(level, cost) {
                let bits = if resource == Resource::Rpm { taken.rpm } else { taken.tpm };
                if bits >> i & 1 == 1 && now_us < seen.look(i, resource).until {
                    lease.give(n);
                }
            }
            if taken.money >> i & 1 == 1 {
                let _: Corrected = money::correct(level.record.money(), || tags[i], 0, cost.nano);
            }
        }
    }

    fn refused(&self, code: Code) -> Stop {
        Stop::Refused(Refusal::new(code, self.levels.key()))
    }

    #[cold]
    fn ask(&self, short: Short, cost: Cost) -> Stop {
        for (i, level) in self.levels.each() {
            let needs =
                [(Resource::Rpm, 1), (Resource::Tpm, cost.tokens), (Resource::Money, cost.nano)];
            for (resource, need) in
                needs.into_iter().filter(|(resource, _)| short.has(i, *resource))
            {
                self.terms.wants.push(Want { index: level.index, resource, need });
            }
        }
        self.refused(Code::LeaseWanted)
    }

    #[cold]
    fn denied(&self, level: &Level, resource: Resource, limit: Limit, cost: Cost) -> Stop {
        let code = if resource == Resource::Rpm {
            Code::RateLimitExceeded
        } else {
            Code::TpmLimitExceeded
        };
        Stop::Refused(Refusal {
            kind: level.view.kind,
            rate: Some(resource as u8),
            limit: limit.limit,
            retry_after_us: self.wait(cost),
            ..Refusal::new(code, self.levels.key())
        })
    }

    /// Until nothing that is known stands against the request; `None` if it can never fit.
    fn wait(&self, cost: Cost) -> Option<u64> {
        let mut longest = 0;
        for (_, level) in self.levels.rated() {
            for (_, lease, limit, n) in rates(level, cost) {
                if let Answer::Denied(wait) =
                    lease.answer(lease.look(), limit, n, self.levels.now_us)
                {
                    longest = longest.max(wait?);
                }
            }
        }
        Some(longest)
    }
}
