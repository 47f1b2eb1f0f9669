//! The decision: identify, admit, settle. The one place that sees arena, journal, peppers and clock
//! together.

use crate::{
    arena::Arena,
    calendar::{Duration, Windows},
    call::{OUTCOME_OK, Size, endpoint, size},
    clock::Clock,
    credential::{Credential, parse},
    digest::Pepper,
    error::{Error, Result},
    journal::Journal,
    lease::Resource,
    levels::{
        Leased, Level, Levels, Seen, SeenLeases, Stop, Terms, Tightest, correct, measure, tightest,
    },
    model::ModelName,
    record::{ACTIVE, Record, View},
    slot::{End, Intent, Meta, NOBODY, SCOPES, Slot, State},
    sync::AtomicU64,
    units::{NONE, TOKENS_MAX},
    verdict::{Code, Refusal},
};

pub use crate::call::{Request, Usage};

/// How often an admission reads everything again when a policy, a window or a recount moves under
/// it.
const TRIES: usize = 64;

/// The window of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetWindow {
    pub duration: Duration,
    /// The day after the last of the window, since 1970-01-01.
    pub end_day: u64,
}

/// What a check saw: buckets of this host alone, or leases.
enum Plan<'a> {
    Local(Seen),
    Leased(Terms<'a>, SeenLeases),
}

pub struct Gate<A, J> {
    arena: A,
    journal: J,
    peppers: Vec<Pepper>,
    clock: Clock,
    /// See [`Windows::cached`].
    month: AtomicU64,
}

impl<A: AsRef<Arena>, J: AsRef<Journal>> Gate<A, J> {
    /// `peppers`: one or two, the current one first.
    pub fn new(arena: A, journal: J, peppers: Vec<Pepper>, clock: Clock) -> Result<Self> {
        if peppers.is_empty() || peppers.len() > 2 {
            return Err(Error::Value("a gate has one or two peppers".to_owned()));
        }
        arena.as_ref().set_clock(clock.clone());
        Ok(Self { arena, journal, peppers, clock, month: AtomicU64::new(0) })
    }

    fn arena(&self) -> &Arena {
        self.arena.as_ref()
    }

    #[must_use]
    pub fn journal(&self) -> &J {
        &self.journal
    }

    fn tickets(&self) -> &Journal {
        self.journal.as_ref()
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The live key that an `Authorization` value names, if it may call `endpoint` from `address`,
    /// which is asked for only where the key has an allow-list.
    pub fn identify<S: AsRef<str>>(
        &self,
        authorization: &[u8],
        address: impl FnOnce() -> S,
        endpoint: u8,
    ) -> std::result::Result<u32, Code> {
        self.identify_key(parse(authorization), address, endpoint)
    }

    /// As [`identify`](Self::identify), for a credential that was read already.
    pub fn identify_key<S: AsRef<str>>(
        &self,
        credential: Credential,
        address: impl FnOnce() -> S,
        endpoint: u8,
    ) -> std::result::Result<u32, Code> {
        self.find_key(credential)
            .and_then(|index| self.may_enter(index, address, endpoint))
            .inspect_err(|code| self.tickets().count_refusal(*code))
    }

    /// A host of a cluster that lost its lease may be late: what it knows of keys is no longer an
    /// answer.
    fn hears(&self) -> std::result::Result<(), Code> {
        match self.arena().terms() {
            Some(terms) if terms.is_over(self.clock.boot_us()) => Err(Code::NotReady),
            _ => Ok(()),
        }
    }

    fn find_key(&self, credential: Credential) -> std::result::Result<u32, Code> {
        let key = match credential {
            Credential::Missing => return Err(Code::MissingApiKey),
            Credential::Malformed => return Err(Code::KeyMalformed),
            Credential::Key(key) => key,
        };
        self.hears()?;
        self.peppers
            .iter()
            .find_map(|pepper| self.arena().find(&pepper.hash(key)))
            .ok_or(Code::KeyUnknown)
    }

    fn may_enter<S: AsRef<str>>(
        &self,
        index: u32,
        address: impl FnOnce() -> S,
        endpoint: u8,
    ) -> std::result::Result<u32, Code> {
        let record = self.arena().record(index).ok_or(Code::KeyUnknown)?;
        let view = record.view().ok_or(Code::NotReady)?;
        let allowed = self.is_live(&view).and_then(|()| {
            if view.has_ips && !self.arena().block(view.heap).allows_address(address().as_ref()) {
                return Err(Code::KeyWrongIp);
            }
            let forbids = |record: Record| !record.standing().allows_endpoint(endpoint);
            if endpoint != endpoint::MODELS
                && (forbids(record) || self.arena().record(view.team).is_some_and(forbids))
            {
                return Err(Code::EndpointNotAllowed);
            }
            Ok(index)
        });
        allowed.inspect_err(|code| self.tally(record, *code))
    }

    /// Status and expiry of a key, then of its owners.
    fn is_live(&self, view: &View) -> std::result::Result<(), Code> {
        if view.status != ACTIVE {
            return Err(Code::KeyRevoked);
        }
        if view.expires_ms != NONE && view.expires_ms <= self.clock.wall_ms() {
            return Err(Code::KeyExpired);
        }
        for owner in view.owners().into_iter().filter(|owner| *owner != NOBODY) {
            if self.arena().record(owner).is_some_and(|owner| owner.standing().status != ACTIVE) {
                return Err(Code::OwnerDisabled);
            }
        }
        Ok(())
    }

    fn tally(&self, record: Record, code: Code) {
        self.tickets().tally(record.id(), code, self.clock.wall_ms() / 60_000);
    }

    /// Reserve a request at every level, or nothing. The ticket must be settled once.
    pub fn admit(&self, request: &Request) -> std::result::Result<u64, Refusal> {
        self.try_admit(request).inspect_err(|refusal| {
            self.tickets().count_refusal(refusal.code);
            // Who wants a lease asks again at once: that is no refusal yet.
            if refusal.code != Code::LeaseWanted
                && let Some(record) = self.arena().record(request.index)
            {
                self.tally(record, refusal.code);
            }
        })
    }

    fn try_admit(&self, request: &Request) -> std::result::Result<u64, Refusal> {
        let refuse = |code| Refusal::new(code, request.index);
        for _ in 0..TRIES {
            let Some(scopes) = self.scopes(request.index) else {
                continue;
            };
            self.may_use_now(&scopes, &request.model).map_err(refuse)?;
            let Some(known) = self.arena().price(&request.model) else {
                continue;
            };
            let levels = Levels { scopes, now_us: self.clock.boot_us() };
            if known.price.is_none() && levels.any_cap() {
                return Err(refuse(Code::ModelPriceUnknown));
            }
            match self.reserve(request, &levels, &size(request, known)) {
                Ok(ticket) => return Ok(ticket),
                Err(Stop::Refused(refusal)) => return Err(refusal),
                Err(Stop::Again) => std::hint::spin_loop(),
            }
        }
        Err(refuse(Code::NotReady))
    }

    /// The key and its owners, each read at one instant; `None` while one of them is being written.
    fn scopes(&self, index: u32) -> Option<[Option<Level<'_>>; SCOPES]> {
        let level = |index: u32| {
            let Some(record) = self.arena().record(index) else {
                return Some(None);
            };
            record.view().map(|view| Some(Level { record, view, index }))
        };
        let key = level(index)?;
        let Some(view) = key.map(|key| key.view) else {
            return Some([None; SCOPES]);
        };
        Some([key, level(view.team)?, level(view.user)?, level(view.org)?])
    }

    fn may_use_now(
        &self,
        scopes: &[Option<Level>; SCOPES],
        model: &ModelName,
    ) -> std::result::Result<(), Code> {
        let [Some(key), owners @ ..] = scopes else {
            return Err(Code::KeyUnknown);
        };
        if key.view.status != ACTIVE {
            return Err(Code::KeyRevoked);
        }
        if key.view.expires_ms != NONE && key.view.expires_ms <= self.clock.wall_ms() {
            return Err(Code::KeyExpired);
        }
        if owners.iter().flatten().any(|owner| owner.view.status != ACTIVE) {
            return Err(Code::OwnerDisabled);
        }
        let refuses = |level: &Level| {
            level.view.has_models && !self.arena().block(level.view.heap).allows_model(model)
        };
        if scopes.iter().take(2).flatten().any(refuses) {
            Err(Code::ModelNotAllowed)
        } else {
            Ok(())
        }
    }

    fn reserve(
        &self,
        request: &Request,
        levels: &Levels,
        size: &Size,
    ) -> std::result::Result<u64, Stop> {
        let windows = levels.book(Windows::cached(self.clock.wall_ms(), &self.month));
        let tags = levels.tags(&windows);
        let seen = match self.arena().terms() {
            None => Plan::Local(levels.check(size.cost, tags)?),
            Some(terms) => Plan::Leased(terms, Leased { levels, terms }.check(size.cost, tags)?),
        };
        let overloaded = Stop::Refused(Refusal::new(Code::Overloaded, request.index));
        let (at, seq) = self.tickets().claim().ok_or(overloaded)?;
        let Some(slot) = self.tickets().slot(at) else {
            return Err(overloaded);
        };
        slot.write(&Intent {
            indices: std::array::from_fn(|i| {
                levels.scopes[i].as_ref().map_or(NOBODY, |level| level.index)
            }),
            ids: std::array::from_fn(|i| {
                levels.scopes[i].as_ref().map_or(0, |level| level.record.id())
            }),
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
                tpm: levels.tpm_mask(),
                units: size.units,
            },
            price: size.price.unwrap_or_default(),
            model: &request.model,
        });
        let taken = match &seen {
            Plan::Local(seen) => levels.take(size.cost, tags, seen),
            Plan::Leased(terms, seen) => {
                Leased { levels, terms: *terms }
                    .take(size.cost, tags, seen, || self.clock.boot_us())
            }
        };
        taken.inspect_err(|_| self.tickets().unclaim(at, seq))?;
        slot.become_state(seq, State::Admitted);
        self.tickets().count_admitted();
        Ok(seq << 16 | at as u64)
    }

    /// End a ticket with the truth; its cost in nano-USD, `None` where the model has no price.
    pub fn settle(&self, ticket: u64, usage: &Usage) -> Result<Option<u64>> {
        let (seq, at) = (ticket >> 16, (ticket & 0xffff) as usize);
        let slot =
            self.tickets().slot(at).filter(|slot| slot.close(seq)).ok_or(Error::Ticket(ticket))?;
        let (meta, price) = (slot.meta(), slot.price());
        let (input, output) = (usage.input.min(TOKENS_MAX), usage.output.min(TOKENS_MAX));
        let produced = usage.outcome == OUTCOME_OK || input > 0 || output > 0;
        let units = if produced { u64::from(meta.units) } else { 0 };
        let cost = if meta.priced { price.cost(input, usage.cached, output, units) } else { 0 };
        let end = End {
            input,
            cached: usage.cached.min(input),
            output,
            cost,
            status: usage.status,
            outcome: usage.outcome,
            latency_us: usage.latency_us,
            ttft_us: usage.ttft_us,
        };
        slot.settle(seq, &end);
        self.tickets().count_settled();
        let tokens = input.saturating_add(output);
        let corrected = if self.arena().clustered() {
            self.correct_leased(slot, tokens, cost)
        } else {
            let records = slot.indices().map(|index| self.arena().record(index));
            correct::<false>(slot, records, tokens, cost, || self.clock.boot_us())
        };
        slot.become_state(seq, if corrected { State::Applied } else { State::Deferred });
        Ok(meta.priced.then_some(cost))
    }

    /// Out of line, so that settling on one machine costs nothing more for it.
    #[cold]
    #[inline(never)]
    fn correct_leased(&self, slot: Slot, tokens: u64, cost: u64) -> bool {
        let records = slot.indices().map(|index| self.arena().record(index));
        correct::<true>(slot, records, tokens, cost, || self.clock.boot_us())
    }

    /// True if the host lost its lease among the hosts: it admits nothing.
    pub fn is_fenced(&self) -> bool {
        self.arena().fenced()
    }

    /// The current window of the budget that refused.
    #[must_use]
    pub fn budget_window(&self, refusal: &Refusal) -> Option<BudgetWindow> {
        let scopes = self.scopes(refusal.index)?;
        let level = scopes.iter().flatten().find(|level| level.view.kind == refusal.kind)?;
        let duration = level.view.duration;
        let end_day = duration.end_day(duration.ordinal(self.clock.wall_ms()));
        Some(BudgetWindow { duration, end_day })
    }

    /// True if the allow-lists of the key and its team allow the model.
    #[must_use]
    pub fn may_use(&self, index: u32, model: &ModelName) -> bool {
        let Some(scopes) = self.scopes(index) else {
            return false;
        };
        self.may_use_now(&scopes, model).is_ok()
    }

    /// The tightest RPM and TPM of a key's levels, as of now.
    #[must_use]
    pub fn tightest(&self, index: u32) -> [Option<Tightest>; 2] {
        let now_us = self.clock.boot_us();
        let Some(scopes) = self.scopes(index) else {
            return [None, None];
        };
        let leased = self.arena().clustered();
        let rated = || {
            scopes
                .iter()
                .flatten()
                .filter(|level| level.view.kind != Some(crate::verdict::Kind::User))
        };
        [Resource::Rpm, Resource::Tpm].map(|resource| {
            tightest(
                rated().map(|level| measure(level.record, &level.view, resource, leased, now_us)),
            )
        })
    }

    /// True once the ticket's row is in the ledger: the drainer frees a slot only after its commit.
    #[must_use]
    pub fn recorded(&self, ticket: u64) -> bool {
        let head = self.tickets().slot((ticket & 0xffff) as usize).map(Slot::head);
        head.is_none_or(|head| head.seq() != ticket >> 16 || head.state() == State::Free)
    }

    /// Input and output tokens that a ticket reserved.
    #[must_use]
    pub fn reserved(&self, ticket: u64) -> Option<(u64, u64)> {
        let slot = self.tickets().slot((ticket & 0xffff) as usize)?;
        (slot.head().seq() == ticket >> 16).then(|| (slot.reserved_input(), slot.reserved_output()))
    }
}
