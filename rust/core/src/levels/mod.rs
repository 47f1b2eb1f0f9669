//! All levels or none: key, team, user and org give what a request costs, or nobody gives anything.
//!
//! Words are taken in one fixed order and given back when a later one refuses, so nothing is ever
//! over-admitted; a plain look at all of them first ([`Levels::check`]) keeps refusals from
//! touching any.

mod leased;

use crate::{
    bucket,
    calendar::{Relation, Tag, Windows},
    lease::Resource,
    money::{self, Corrected, Money},
    record::{Record, View},
    slot::{SCOPES, Slot},
    units::NONE,
    verdict::{Code, Kind, Refusal},
};

pub use leased::{Leased, Seen as SeenLeases, Terms};

/// Position of the user among the scopes: it has budgets only.
const USER: usize = 2;

/// One scope of a request, with the policy read for it.
#[derive(Clone, Copy)]
pub struct Level<'a> {
    pub record: Record<'a>,
    pub view: View,
    pub index: u32,
}

/// What a request costs at every level.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub tokens: u64,
    pub nano: u64,
}

/// Why nothing was taken.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Refused(Refusal),
    /// A policy or a window changed under us, or a word waits for its recount: read everything
    /// again.
    Again,
}

/// The scopes of a request, in the order of the checks: key, team, user, org.
pub struct Levels<'a> {
    pub scopes: [Option<Level<'a>>; SCOPES],
    /// The boot clock.
    pub now_us: u64,
}

/// The words of all scopes as [`Levels::check`] saw them.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    rpm: [u64; SCOPES],
    tpm: [u64; SCOPES],
    money: [u64; SCOPES],
}

/// Which words have given, a bit per scope.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    rpm: u8,
    tpm: u8,
    money: u8,
}

impl<'a> Levels<'a> {
    fn each(&self) -> impl Iterator<Item = (usize, &Level<'a>)> {
        self.scopes
            .iter()
            .enumerate()
            .filter_map(|(i, level)| level.as_ref().map(|level| (i, level)))
    }

    /// The levels that have buckets.
    fn rated(&self) -> impl Iterator<Item = (usize, &Level<'a>)> {
        self.each().filter(|(i, _)| *i != USER)
    }

    /// Bit per scope whose TPM bucket is charged.
    #[must_use]
    pub fn tpm_mask(&self) -> u8 {
        self.rated()
            .filter(|(_, l)| !l.view.tpm.is_unlimited())
            .fold(0, |mask, (i, _)| mask | 1 << i)
    }

    #[must_use]
    pub fn any_cap(&self) -> bool {
        self.each().any(|(_, level)| level.view.cap != NONE)
    }

    /// The windows in which the request is booked: those of now, or of the start of a later window
    /// that a word is in already. One time decides all windows of a row.
    #[must_use]
    pub fn book(&self, now: Windows) -> Windows {
        let mut windows = now;
        for _ in 0..=SCOPES {
            let later = self.each().filter_map(|(_, level)| level.window_start(&windows)).max();
            match later {
                Some(start) if start > windows.at_ms => windows = Windows::at(start),
                _ => break,
            }
        }
        windows
    }

    /// The window of each scope.
    #[must_use]
    pub fn tags(&self, windows: &Windows) -> [Tag; SCOPES] {
        std::array::from_fn(|i| {
            self.scopes[i].as_ref().map_or(Tag(0), |level| windows.tag(level.view.duration))
        })
    }

    /// Look, without taking: the first level that cannot give, in the order of the contract.
    pub fn check(&self, cost: Cost, tags: [Tag; SCOPES]) -> Result<Seen, Stop> {
        let mut seen = Seen::default();
        for (i, level) in self.rated() {
            let Level { record, view, .. } = level;
            if !view.rpm.is_unlimited() {
                seen.rpm[i] = bucket::look(record.rpm());
                if view.rpm.decide(seen.rpm[i].into(), 1, self.now_us).is_none() {
                    return Err(self.short(level, Code::RateLimitExceeded, cost));
                }
            }
            if !view.tpm.is_unlimited() {
                seen.tpm[i] = bucket::look(record.tpm());
                if view.tpm.decide(seen.tpm[i].into(), cost.tokens, self.now_us).is_none() {
                    return Err(self.short(level, Code::TpmLimitExceeded, cost));
                }
            }
        }
        for (i, level) in self.each() {
            seen.money[i] = money::look(level.record.money());
            money::decide(Money(seen.money[i]), tags[i], cost.nano, level.view.cap)
                .map_err(|stop| level.money_stop(stop, self.key()))?;
        }
        Ok(seen)
    }

    /// Take from every word, or give back what was taken.
    pub fn take(&self, cost: Cost, tags: [Tag; SCOPES], seen: &Seen) -> Result<(), Stop> {
        let mut taken = Taken::default();
        let all = self
            .take_rates(cost, seen, &mut taken)
            .and_then(|()| self.take_money(cost, tags, seen, &mut taken));
        all.inspect_err(|_| self.undo(cost, tags, taken))
    }

    fn take_rates(&self, cost: Cost, seen: &Seen, taken: &mut Taken) -> Result<(), Stop> {
        for (i, level) in self.rated() {
            let Level { record, view, .. } = level;
            let current = || record.is_current(view.seq);
            if !view.rpm.is_unlimited() {
                bucket::take(record.rpm(), seen.rpm[i], view.rpm, 1, self.now_us, current)
                    .map_err(|stop| self.bucket_stop(stop, level, Code::RateLimitExceeded, cost))?;
                taken.rpm |= 1 << i;
            }
            if !view.tpm.is_unlimited() {
                bucket::take(
                    record.tpm(),
                    seen.tpm[i],
                    view.tpm,
                    cost.tokens,
                    self.now_us,
                    current,
                )
                .map_err(|stop| self.bucket_stop(stop, level, Code::TpmLimitExceeded, cost))?;
                taken.tpm |= 1 << i;
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
        for (i, level) in self.each() {
            let Level { record, view, .. } = level;
            money::commit(record.money(), seen.money[i], tags[i], cost.nano, view.cap, || {
                record.is_current(view.seq)
            })
            .map_err(|stop| level.money_stop(stop, self.key()))?;
            taken.money |= 1 << i;
        }
        Ok(())
    }

    /// Give back in full. A frozen money word is left alone: its recount waits until our slot is no
    /// longer an intent, and then does not count it.
    fn undo(&self, cost: Cost, tags: [Tag; SCOPES], taken: Taken) {
        for (i, level) in self.each() {
            if taken.rpm >> i & 1 == 1 {
                bucket::give(level.record.rpm(), 1);
            }
            if taken.tpm >> i & 1 == 1 {
                bucket::give(level.record.tpm(), cost.tokens);
            }
            if taken.money >> i & 1 == 1 {
                let _ = money::correct(level.record.money(), || tags[i], 0, cost.nano);
            }
        }
    }

    fn key(&self) -> u32 {
        self.scopes[0].as_ref().map_or(0, |level| level.index)
    }

    fn bucket_stop(&self, stop: bucket::Stop, level: &Level, code: Code, cost: Cost) -> Stop {
        match stop {
            bucket::Stop::Stale => Stop::Again,
            bucket::Stop::Short => self.short(level, code, cost),
        }
    }

    #[cold]
    fn short(&self, level: &Level, code: Code, cost: Cost) -> Stop {
        let (rate, limit) =
            if code == Code::RateLimitExceeded { (0, level.view.rpm) } else { (1, level.view.tpm) };
        Stop::Refused(Refusal {
            kind: level.view.kind,
            rate: Some(rate),
            limit: limit.limit,
            retry_after_us: self.wait(cost),
            ..Refusal::new(code, self.key())
        })
    }

    /// Until the request fits every bucket; `None` if one can never hold it.
    fn wait(&self, cost: Cost) -> Option<u64> {
        let mut longest = 0;
        for (_, Level { record, view, .. }) in self.rated() {
            let rpm = view.rpm.wait(bucket::claimed(record.rpm()), 1, self.now_us)?;
            let tpm = view.tpm.wait(bucket::claimed(record.tpm()), cost.tokens, self.now_us)?;
            longest = longest.max(rpm).max(tpm);
        }
        Some(longest)
    }
}

impl Level<'_> {
    /// Start of the word's window (Unix ms) if it is ahead of `now`.
    fn window_start(&self, now: &Windows) -> Option<u64> {
        let duration = self.view.duration;
        let Relation::Ahead(by) =
            Money(money::look(self.record.money())).tag().relation(now.tag(duration))
        else {
            return None;
        };
        Some(duration.first_day(duration.ordinal(now.at_ms) + by) * crate::calendar::DAY_MS)
    }

    #[cold]
    fn money_stop(&self, stop: money::Stop, key: u32) -> Stop {
        match stop {
            money::Stop::Frozen | money::Stop::Stale => Stop::Again,
            money::Stop::Exceeded(used) => Stop::Refused(Refusal {
                kind: self.view.kind,
                limit: self.view.cap,
                used,
                ..Refusal::new(Code::BudgetExceeded, key)
            }),
        }
    }
}

/// Correct the meters of a settled ticket: unused tokens and money go back, what was used beyond
/// the reservation is owed. `records` in the order of the scopes; `LEASED`: their buckets are
/// leases; the boot clock is only read for debt. False: a money word was frozen, the slot is to be
/// *deferred*.
#[must_use]
pub fn correct<const LEASED: bool>(
    slot: Slot,
    records: [Option<Record>; SCOPES],
    tokens: u64,
    cost: u64,
    now_us: impl Fn() -> u64,
) -> bool {
    let reserved = slot.reserved_input().saturating_add(slot.reserved_output());
    let nano = slot.reserved_nano();
    let charged = slot.meta().tpm;
    let mut done = true;
    for (i, record) in
        records.iter().enumerate().filter_map(|(i, record)| record.map(|record| (i, record)))
    {
        if charged >> i & 1 == 1 {
            match tokens.cmp(&reserved) {
                std::cmp::Ordering::Less if LEASED => record.tpm_lease().give(reserved - tokens),
                std::cmp::Ordering::Greater if LEASED => record.tpm_lease().owe(tokens - reserved),
                std::cmp::Ordering::Less => bucket::give(record.tpm(), reserved - tokens),
                std::cmp::Ordering::Greater => {
                    bucket::owe(record.tpm(), record.tpm_limit(), tokens - reserved, now_us());
                }
                std::cmp::Ordering::Equal => {}
            }
        }
        if cost != nano {
            done &= money::correct(record.money(), || slot.tag(i), cost, nano) != Corrected::Frozen;
        }
    }
    done
}

/// Tightest bucket of a resource: its limit, what is left (negative in debt), and the microseconds
/// until it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tightest {
    pub limit: u64,
    pub remaining: i64,
    pub full_in_us: u64,
}

/// A resource of one scope, as of now; `None` = no limit.
#[must_use]
pub fn measure(
    record: Record,
    view: &View,
    resource: Resource,
    leased: bool,
    now_us: u64,
) -> Option<Tightest> {
    let (limit, lease) = match resource {
        Resource::Rpm => (view.rpm, record.rpm_lease()),
        _ => (view.tpm, record.tpm_lease()),
    };
    if limit.is_unlimited() {
        return None;
    }
    let claimed = bucket::claimed(lease.claimed);
    let (remaining, full_in_us) = if leased {
        let remaining = lease.remaining(limit, now_us);
        (remaining, limit.refill_in(remaining))
    } else {
        (limit.remaining(claimed, now_us), limit.full_in(claimed, now_us))
    };
    Some(Tightest { limit: limit.limit, remaining, full_in_us })
}

/// The level with the least remaining, of those that have a limit.
pub fn tightest(levels: impl Iterator<Item = Option<Tightest>>) -> Option<Tightest> {
    levels.flatten().min_by_key(|level| level.remaining)
}

/// The position of a kind among the scopes of a request.
#[must_use]
pub fn position(kind: Kind) -> usize {
    match kind {
        Kind::Key => 0,
        Kind::Team => 1,
        Kind::User => USER,
        Kind::Org => 3,
    }
}
