//! All levels or none: key, team, user and org give what a request costs, or nothing is taken.
//!
//! Words are taken in one fixed order and given back when a later one lacks room, so nothing is
//! ever over-admitted; a plain look at all of them first keeps refusals from touching any. What a
//! word says is up to its [`Meter`]: a bucket of this host ([`Local`]), or a lease of a limit that
//! many hosts share ([`Leased`]). [`reserve`] is the one algorithm over both.

mod leased;
mod meter;
mod reserve;

use crate::{
    calendar::{Relation, Tag, Windows},
    money::{self, Money, Reconciled},
    quota::{Counts, Quota, RATES, RateSet},
    record::{Record, View},
    slot::{Charged, SCOPES, Slot},
    units::NONE,
};

pub use leased::{Leased, Terms};
pub use meter::{Local, Meter, Metered};
pub use reserve::{Reservation, Tickets};

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

impl Cost {
    /// Return what the request takes from a rate limit.
    fn of(self, rate: usize) -> u64 {
        RATES[rate].counts.cost(self.tokens)
    }
}

/// The scopes of a request, in the order of the checks: key, team, user, org.
pub struct Levels<'a> {
    pub scopes: [Option<Level<'a>>; SCOPES],
    /// The boot clock.
    pub now_us: u64,
}

impl<'a> Levels<'a> {
    fn each(&self) -> impl Iterator<Item = (usize, &Level<'a>)> {
        self.scopes
            .iter()
            .enumerate()
            .filter_map(|(i, level)| level.as_ref().map(|level| (i, level)))
    }

    /// List the limits that count tokens and are charged by a request.
    #[must_use]
    pub fn charged(&self) -> Charged {
        let mut charged = Charged::default();
        for (i, level) in self.each() {
            charged.add(i, level.view.limits.limited().and(RateSet::TOKENS));
        }
        charged
    }

    #[must_use]
    pub fn any_cap(&self) -> bool {
        self.each().any(|(_, level)| level.view.cap != NONE)
    }

    /// Check whether a limit of any scope counts tokens.
    #[must_use]
    pub fn any_token_limit(&self) -> bool {
        let tokens = |view: &View| view.limits.limited().and(RateSet::TOKENS);
        self.each().any(|(_, level)| tokens(&level.view).into_iter().next().is_some())
    }

    /// Check whether any scope has a list of models.
    #[must_use]
    pub fn any_models(&self) -> bool {
        self.each().any(|(_, level)| level.view.standing.has_models())
    }

    /// Return the windows in which the request is booked: those of now, or of the start of a later
    /// window that a word is in already. One time decides all windows of a row.
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

    /// Return the window of each scope.
    #[must_use]
    pub fn tags(&self, windows: &Windows) -> [Tag; SCOPES] {
        std::array::from_fn(|i| {
            self.scopes[i].as_ref().map_or(Tag(0), |level| windows.tag(level.view.duration))
        })
    }

    /// Return the index of the key.
    fn key(&self) -> u32 {
        self.scopes[0].as_ref().map_or(0, |level| level.index)
    }

    /// Return the bucket of a resource with the least remaining, of all levels and rates that have
    /// a limit.
    #[must_use]
    pub fn tightest(&self, counts: Counts, meter: impl Meter) -> Option<Tightest> {
        let counting = match counts {
            Counts::Requests => RateSet::REQUESTS,
            Counts::Tokens => RateSet::TOKENS,
        };
        self.each()
            .flat_map(|(_, level)| {
                level
                    .view
                    .limits
                    .limited()
                    .and(counting)
                    .into_iter()
                    .map(|rate| level.metered(rate))
            })
            .map(|metered| metered.tightest(meter, self.now_us))
            .min_by_key(|found| found.remaining)
    }
}

impl<'a> Level<'a> {
    /// Return a rate limit of this level with its words.
    #[inline]
    #[must_use]
    pub fn metered(&self, rate: usize) -> Metered<'a> {
        let Self { record, view, index } = self;
        let (record, index) = (*record, *index);
        Metered { record, index, seq: view.seq, rate, quota: view.quota(rate) }
    }

    /// Return the start of the word's window (Unix ms) if it is ahead of `now`.
    fn window_start(&self, now: &Windows) -> Option<u64> {
        let duration = self.view.duration;
        let Relation::Ahead(by) =
            Money(money::look(self.record.money())).tag().relation(now.tag(duration))
        else {
            return None;
        };
        Some(duration.first_day(duration.ordinal(now.at_ms) + by) * crate::calendar::DAY_MS)
    }
}

/// A bucket at one instant: its limit and period, what is left (negative in debt), and the
/// microseconds until it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tightest {
    pub limit: u64,
    pub period_us: u64,
    pub remaining: i64,
    pub full_in_us: u64,
}

impl Metered<'_> {
    /// Read the bucket as of now.
    #[must_use]
    pub fn tightest(self, meter: impl Meter, now_us: u64) -> Tightest {
        let Quota { tokens, period_us, .. } = self.quota;
        let (remaining, full_in_us) = meter.left(self, now_us);
        Tightest { limit: tokens, period_us, remaining, full_in_us }
    }
}

/// Reconcile the meters of a settled ticket: unused tokens and money go back, what was used beyond
/// the reservation is owed. `records` in the order of the scopes; the boot clock is only read for
/// debt. False: a money word was frozen, the slot is to be *deferred*.
#[must_use]
pub fn reconcile(
    meter: impl Meter,
    slot: Slot,
    records: [Option<Record>; SCOPES],
    tokens: u64,
    cost: u64,
    now_us: impl Fn() -> u64,
) -> bool {
    let reserved = slot.reserved_input().saturating_add(slot.reserved_output());
    let nano = slot.reserved_nano();
    let charged = slot.charged();
    let mut done = true;
    for (i, record) in
        records.iter().enumerate().filter_map(|(i, record)| record.map(|record| (i, record)))
    {
        for rate in charged.of(i) {
            match tokens.cmp(&reserved) {
                std::cmp::Ordering::Less => meter.give(record, rate, reserved - tokens),
                std::cmp::Ordering::Greater => {
                    meter.owe(record, rate, tokens - reserved, &now_us);
                }
                std::cmp::Ordering::Equal => {}
            }
        }
        if cost != nano {
            done &=
                money::reconcile(record.money(), || slot.tag(i), cost, nano) != Reconciled::Frozen;
        }
    }
    done
}
