//! The reservation of one request at all levels: check, remember in a slot, take, or give back.

use super::{Cost, Level, Levels, Meter, Metered};
use crate::{
    calendar::{Tag, Windows},
    call::{Request, Size},
    lease::Answer,
    money::{self, Money},
    quota::{RATE_COUNT, RATES, Resource},
    slot::{Intent, Meta, NOBODY, SCOPES, Slot, State},
    verdict::{Code, Deny, Refusal},
};

/// The words of all scopes as [`Reservation::check`] saw them.
#[derive(Clone, Copy, Default)]
pub struct Seen<L> {
    rates: [[L; RATE_COUNT]; SCOPES],
    money: [u64; SCOPES],
}

impl<L: Copy> Seen<L> {
    pub(super) fn rate(&self, scope: usize, rate: usize) -> L {
        self.rates[scope][rate]
    }
}

/// A set of meters of a request's scopes, a bit for each: of the words that were taken, or that are
/// short.
#[derive(Clone, Copy, Default)]
struct Meters(u64);

const ALL: usize = RATE_COUNT + 1;
const _: () = assert!(SCOPES * ALL <= 64);

impl Meters {
    fn bit(scope: usize, resource: Resource) -> u64 {
        let place = match resource {
            Resource::Rate(rate) => usize::from(rate),
            Resource::Money => RATE_COUNT,
        };
        1 << (scope * ALL + place)
    }

    fn add(&mut self, scope: usize, resource: Resource) {
        self.0 |= Self::bit(scope, resource);
    }

    fn has(self, scope: usize, resource: Resource) -> bool {
        self.0 & Self::bit(scope, resource) != 0
    }
}

/// Where tickets are kept: a journal.
pub trait Tickets {
    /// Claim a free slot. Returns its place and the number of its ticket; `None` if all are in use.
    fn claim(&self) -> Option<(usize, u64)>;

    fn slot(&self, at: usize) -> Option<Slot<'_>>;

    /// Give back a slot whose ticket was not admitted.
    fn unclaim(&self, at: usize, seq: u64);
}

/// A request that is to be reserved at all of its levels, or at none.
pub struct Reservation<'r> {
    pub levels: &'r Levels<'r>,
    pub request: &'r Request,
    pub size: &'r Size,
    pub windows: Windows,
}

impl<'a> Levels<'a> {
    /// Call `each` with every rate limit of every level, in the order in which they are checked and
    /// taken, until it fails.
    #[inline]
    pub(super) fn try_each_limit<E>(
        &self,
        mut each: impl FnMut(usize, Metered<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (i, level) in self.each() {
            for rate in level.view.limits.limited() {
                each(i, level.metered(rate))?;
            }
        }
        Ok(())
    }
}

impl Reservation<'_> {
    /// Reserve the request: check all meters, write the slot's intent, take from all meters, and
    /// admit the ticket. Returns the slot's place and the ticket's number.
    ///
    /// Nothing is consumed by a refusal. [`Deny::Retry`]: read policies, windows and words again.
    pub fn reserve<M: Meter>(
        &self,
        meter: M,
        tickets: &impl Tickets,
        now_us: impl Fn() -> u64,
    ) -> Result<(usize, u64), Deny<Refusal>> {
        let tags = self.levels.tags(&self.windows);
        let seen = self.check(meter, tags)?;
        let overloaded = || self.refusal(Code::Overloaded);
        let (at, seq) = tickets.claim().ok_or_else(overloaded)?;
        let slot = tickets.slot(at).ok_or_else(overloaded)?;
        self.write_intent(slot, tags);
        self.take(meter, tags, &seen, now_us).inspect_err(|_| tickets.unclaim(at, seq))?;
        slot.become_state(seq, State::Admitted);
        Ok((at, seq))
    }

    fn cost(&self) -> Cost {
        self.size.cost
    }

    /// Look at all meters without taking. Returns the refusal of the first that cannot give, in the
    /// order of the contract. If none refuses but some are short, all of them are reported, so that
    /// one round to the bank is enough.
    fn check<M: Meter>(
        &self,
        meter: M,
        tags: [Tag; SCOPES],
    ) -> Result<Seen<M::Look>, Deny<Refusal>> {
        let (levels, cost) = (self.levels, self.cost());
        if !meter.is_open(levels.now_us) {
            return Err(self.refusal(Code::NotReady));
        }
        let (mut seen, mut short) = (Seen::default(), Meters::default());
        levels.try_each_limit(|i, metered| {
            let (look, answer) = meter.check(metered, cost.of(metered.rate), levels.now_us);
            seen.rates[i][metered.rate] = look;
            match answer {
                Answer::Fits => {}
                Answer::Short => short.add(i, metered.resource()),
                Answer::Denied(_) => return Err(self.limited(meter, i, metered)),
            }
            Ok(())
        })?;
        for (i, level) in levels.each() {
            seen.money[i] = money::look(level.record.money());
            let word = Money(seen.money[i]);
            match money::decide(word, tags[i], cost.nano, meter.cap(level, tags[i])) {
                Ok(_) => {}
                Err(Deny::Retry) => return Err(Deny::Retry),
                Err(Deny::Insufficient(used)) => {
                    match meter.exceeded(level, tags[i], used, cost.nano, levels.now_us) {
                        Some(used) => return Err(self.over_budget(level, used)),
                        None => short.add(i, Resource::Money),
                    }
                }
            }
        }
        if short.0 == 0 { Ok(seen) } else { Err(self.ask(meter, short)) }
    }

    fn write_intent(&self, slot: Slot, tags: [Tag; SCOPES]) {
        let Self { levels, request, size, windows } = self;
        let of = |i: usize| levels.scopes[i].as_ref();
        slot.write(&Intent {
            indices: std::array::from_fn(|i| of(i).map_or(NOBODY, |level| level.index)),
            ids: std::array::from_fn(|i| of(i).map_or(0, |level| level.record.id())),
            tags,
            at_ms: windows.at_ms,
            input: size.input,
            output: size.output,
            nano: size.cost.nano,
            meta: Meta {
                endpoint: request.endpoint,
                upstream: request.upstream,
                stream: request.stream,
                priced: size.price.is_some(),
                units: size.units,
            },
            charged: levels.charged(),
            price: size.price.unwrap_or_default(),
            model: &request.model,
        });
    }

    /// Take from every meter, or give back what was taken. Every failure comes after a check that
    /// passed, so something changed meanwhile: read again.
    fn take<M: Meter>(
        &self,
        meter: M,
        tags: [Tag; SCOPES],
        seen: &Seen<M::Look>,
        now_us: impl Fn() -> u64,
    ) -> Result<(), Deny<Refusal>> {
        let mut taken = Meters::default();
        let all = self
            .take_rates(meter, seen, &mut taken)
            .and_then(|()| self.take_money(meter, tags, seen, &mut taken))
            .and_then(|()| {
                meter.confirm(self.levels, seen, tags, &now_us).then_some(()).ok_or(Deny::Retry)
            });
        all.inspect_err(|_| self.undo(meter, tags, seen, taken, now_us))
    }

    fn take_rates<M: Meter>(
        &self,
        meter: M,
        seen: &Seen<M::Look>,
        taken: &mut Meters,
    ) -> Result<(), Deny<Refusal>> {
        self.levels.try_each_limit(|i, metered| {
            let n = self.cost().of(metered.rate);
            meter.take(metered, seen.rate(i, metered.rate), n, self.levels.now_us)?;
            taken.add(i, metered.resource());
            Ok(())
        })
    }

    fn take_money<M: Meter>(
        &self,
        meter: M,
        tags: [Tag; SCOPES],
        seen: &Seen<M::Look>,
        taken: &mut Meters,
    ) -> Result<(), Deny<Refusal>> {
        for (i, level) in self.levels.each() {
            let Level { record, view, .. } = level;
            let (cap, current) = (meter.cap(level, tags[i]), || record.is_current(view.seq));
            let (word, nano) = (record.money(), self.cost().nano);
            money::commit(word, seen.money[i], tags[i], nano, cap, current)
                .map_err(|_| Deny::Retry)?;
            taken.add(i, Resource::Money);
        }
        Ok(())
    }

    /// Give back in full. A frozen money word is left alone: its recount waits until this slot is
    /// no longer an intent, and then does not count it.
    fn undo<M: Meter>(
        &self,
        meter: M,
        tags: [Tag; SCOPES],
        seen: &Seen<M::Look>,
        taken: Meters,
        now_us: impl Fn() -> u64,
    ) {
        let _ = self.levels.try_each_limit(|i, metered| {
            if taken.has(i, metered.resource()) {
                let n = self.cost().of(metered.rate);
                meter.undo(metered, seen.rate(i, metered.rate), n, &now_us);
            }
            Ok::<(), ()>(())
        });
        for (i, level) in self.levels.each() {
            if taken.has(i, Resource::Money) {
                let _ = money::reconcile(level.record.money(), || tags[i], 0, self.cost().nano);
            }
        }
    }

    fn refusal(&self, code: Code) -> Deny<Refusal> {
        Deny::Insufficient(Refusal::new(code, self.levels.key()))
    }

    #[cold]
    fn limited<M: Meter>(&self, meter: M, scope: usize, metered: Metered) -> Deny<Refusal> {
        Deny::Insufficient(Refusal {
            kind: self.levels.scopes[scope].as_ref().and_then(|level| level.view.kind),
            rate: Some(metered.rate as u8),
            limit: metered.quota.tokens,
            retry_after_us: self.wait(meter),
            ..Refusal::new(RATES[metered.rate].code, self.levels.key())
        })
    }

    #[cold]
    fn over_budget(&self, level: &Level, used: u64) -> Deny<Refusal> {
        Deny::Insufficient(Refusal {
            kind: level.view.kind,
            limit: level.view.cap,
            used,
            ..Refusal::new(Code::BudgetExceeded, self.levels.key())
        })
    }

    /// Return the microseconds until the request fits every rate; `None` if one can never hold it.
    fn wait<M: Meter>(&self, meter: M) -> Option<u64> {
        let mut longest = 0;
        let fits_once = self.levels.try_each_limit(|_, metered| {
            let n = self.cost().of(metered.rate);
            longest = longest.max(meter.wait(metered, n, self.levels.now_us).ok_or(())?);
            Ok::<(), ()>(())
        });
        fits_once.is_ok().then_some(longest)
    }

    #[cold]
    fn ask<M: Meter>(&self, meter: M, short: Meters) -> Deny<Refusal> {
        for (i, level) in self.levels.each() {
            for resource in Resource::all().filter(|resource| short.has(i, *resource)) {
                let need = match resource {
                    Resource::Rate(rate) => self.cost().of(usize::from(rate)),
                    Resource::Money => self.cost().nano,
                };
                meter.demand(level.index, resource, need);
            }
        }
        self.refusal(Code::LeaseWanted)
    }
}
