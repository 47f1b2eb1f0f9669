//! The decision: identify, admit, settle. The one place that sees arena, journal, peppers and clock
//! together.

use crate::{
    arena::Arena,
    calendar::{Duration, Windows},
    call::{OUTCOME_OK, Size, size},
    clock::Clock,
    credential::{Credential, parse},
    digest::Pepper,
    error::{Error, Result},
    journal::Journal,
    levels::{Leased, Level, Levels, Local, Meter, Reservation, Terms, Tightest, reconcile},
    model::ModelName,
    quota::Counts,
    record::{Record, Standing},
    slot::{End, SCOPES, Slot, State},
    standing::Standings,
    sync::AtomicU64,
    units::TOKENS_MAX,
    verdict::{Code, Deny, Refusal},
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

/// What bounds a key or one of its owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A budget.
    pub money: bool,
    /// A limit that counts tokens.
    pub tokens: bool,
    /// A list of models.
    pub models: bool,
}

/// The decision over an arena and a journal.
pub struct Gate<A, J> {
    arena: A,
    journal: J,
    peppers: Vec<Pepper>,
    clock: Clock,
    /// See [`Windows::cached`].
    month: AtomicU64,
}

impl<A: AsRef<Arena>, J: AsRef<Journal>> Gate<A, J> {
    /// Make a gate with one or two peppers, the current one first.
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

    /// Find the live key that an `Authorization` value names, if it may call `endpoint` from
    /// `address`, which is asked for only where a scope has a list of addresses.
    pub fn identify<S: AsRef<str>>(
        &self,
        authorization: &[u8],
        address: impl FnOnce() -> S,
        endpoint: u8,
    ) -> std::result::Result<u32, Code> {
        self.identify_key(parse(authorization), address, endpoint)
    }

    /// [`identify`](Self::identify) a credential that was read already.
    pub fn identify_key<S: AsRef<str>>(
        &self,
        credential: Credential,
        address: impl FnOnce() -> S,
        endpoint: u8,
    ) -> std::result::Result<u32, Code> {
        self.find_key(credential)
            .and_then(|index| self.check_key(index, address, endpoint))
            .inspect_err(|code| self.tickets().count_refusal(*code))
    }

    /// Check that this host may answer. A host of a cluster that lost its lease may not know of the
    /// newest changes to keys.
    fn check_host(&self) -> std::result::Result<(), Code> {
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
        self.check_host()?;
        self.peppers
            .iter()
            .find_map(|pepper| self.arena().find(&pepper.hash(key)))
            .ok_or(Code::KeyUnknown)
    }

    fn check_key<S: AsRef<str>>(
        &self,
        index: u32,
        address: impl FnOnce() -> S,
        endpoint: u8,
    ) -> std::result::Result<u32, Code> {
        let reuses = self.arena().reuses();
        let record = self.arena().record(index).ok_or(Code::KeyUnknown)?;
        let view = record.view().ok_or(Code::NotReady)?;
        let owner =
            |index: u32| self.arena().record(index).map_or(Standing::NOBODY, Record::standing);
        let [team, user, org] = view.owners().map(owner);
        self.standings(reuses, [view.standing, team, user, org])
            .check_key(address, endpoint)
            .map(|()| index)
            .inspect_err(|code| self.count_refusal_of(record, *code))
    }

    fn standings(&self, reuses: u64, scopes: [Standing; SCOPES]) -> Standings<'_> {
        Standings { scopes, arena: self.arena(), reuses, clock: &self.clock }
    }

    fn check_model(
        &self,
        reuses: u64,
        scopes: &[Option<Level<'_>>; SCOPES],
        model: &ModelName,
    ) -> std::result::Result<(), Code> {
        if scopes[0].is_none() {
            return Err(Code::KeyUnknown);
        }
        let standing = |level: &Option<Level>| {
            level.as_ref().map_or(Standing::NOBODY, |level| level.view.standing)
        };
        self.standings(reuses, scopes.each_ref().map(standing)).check_model(model)
    }

    fn count_refusal_of(&self, record: Record, code: Code) {
        self.tickets().count_refusal_of(record.id(), code, self.clock.wall_ms() / 60_000);
    }

    /// Reserve a request at every level, or nothing. The ticket must be settled once.
    pub fn admit(&self, request: &Request) -> std::result::Result<u64, Refusal> {
        self.try_admit(request).inspect_err(|refusal| {
            self.tickets().count_refusal(refusal.code);
            // A request that waits for a lease is tried again at once: that is no refusal yet.
            if refusal.code != Code::LeaseWanted
                && let Some(record) = self.arena().record(request.index)
            {
                self.count_refusal_of(record, refusal.code);
            }
        })
    }

    fn try_admit(&self, request: &Request) -> std::result::Result<u64, Refusal> {
        let refuse = |code| Refusal::new(code, request.index);
        for _ in 0..TRIES {
            let reuses = self.arena().reuses();
            let Some(scopes) = self.scopes(request.index) else {
                continue;
            };
            match self.check_model(reuses, &scopes, &request.model) {
                Ok(()) => {}
                Err(Code::NotReady) => continue,
                Err(code) => return Err(refuse(code)),
            }
            let Some(known) = self.arena().price(&request.model) else {
                continue;
            };
            let levels = Levels { scopes, now_us: self.clock.boot_us() };
            if known.price.is_none() && levels.any_cap() {
                return Err(refuse(Code::ModelPriceUnknown));
            }
            match self.reserve(request, &levels, &size(request, known)) {
                Ok(ticket) => return Ok(ticket),
                Err(Deny::Insufficient(refusal)) => return Err(refusal),
                Err(Deny::Retry) => std::hint::spin_loop(),
            }
        }
        Err(refuse(Code::NotReady))
    }

    /// Read the key and its owners, each at one instant; `None` while one of them is being written.
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

    fn reserve(
        &self,
        request: &Request,
        levels: &Levels,
        size: &Size,
    ) -> std::result::Result<u64, Deny<Refusal>> {
        let windows = levels.book(Windows::cached(self.clock.wall_ms(), &self.month));
        let reservation = Reservation { levels, request, size, windows };
        let now_us = || self.clock.boot_us();
        let (at, seq) = match self.arena().terms() {
            None => reservation.reserve(Local, self.tickets(), now_us)?,
            Some(terms) => reservation.reserve(Leased(terms), self.tickets(), now_us)?,
        };
        self.tickets().count_admitted();
        Ok(seq << 16 | at as u64)
    }

    /// End a ticket with its true usage. Returns its cost in nano-USD, `None` where the model has
    /// no price.
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
        let done = match self.arena().terms() {
            None => self.reconcile(Local, slot, tokens, cost),
            Some(terms) => self.reconcile_leased(terms, slot, tokens, cost),
        };
        slot.become_state(seq, if done { State::Applied } else { State::Deferred });
        Ok(meta.priced.then_some(cost))
    }

    fn reconcile(&self, meter: impl Meter, slot: Slot, tokens: u64, cost: u64) -> bool {
        let records = slot.indices().map(|index| self.arena().record(index));
        reconcile(meter, slot, records, tokens, cost, || self.clock.boot_us())
    }

    /// Reconcile leases. Out of line, so that settling on one machine costs nothing more for it.
    #[cold]
    #[inline(never)]
    fn reconcile_leased(&self, terms: Terms, slot: Slot, tokens: u64, cost: u64) -> bool {
        self.reconcile(Leased(terms), slot, tokens, cost)
    }

    /// Check whether the host lost its lease among the hosts: then it admits nothing.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.arena().fenced()
    }

    /// Return the current window of the budget that refused.
    #[must_use]
    pub fn budget_window(&self, refusal: &Refusal) -> Option<BudgetWindow> {
        let scopes = self.scopes(refusal.index)?;
        let level = scopes.iter().flatten().find(|level| level.view.kind == refusal.kind)?;
        let duration = level.view.duration;
        let end_day = duration.end_day(duration.ordinal(self.clock.wall_ms()));
        Some(BudgetWindow { duration, end_day })
    }

    /// Check that the key is live, and that its own and its owners' lists allow the model.
    #[must_use]
    pub fn may_use(&self, index: u32, model: &ModelName) -> bool {
        let reuses = self.arena().reuses();
        self.scopes(index).is_some_and(|scopes| self.check_model(reuses, &scopes, model).is_ok())
    }

    /// Return what bounds a key and its owners. All of it while one of them is being written.
    #[must_use]
    pub fn bounds(&self, index: u32) -> Bounds {
        let Some(scopes) = self.scopes(index) else {
            return Bounds { money: true, tokens: true, models: true };
        };
        let levels = Levels { scopes, now_us: 0 };
        Bounds {
            money: levels.any_cap(),
            tokens: levels.any_token_limit(),
            models: levels.any_models(),
        }
    }

    /// Return the tightest limits of requests and of tokens among a key's levels, as of now.
    #[must_use]
    pub fn tightest(&self, index: u32) -> [Option<Tightest>; 2] {
        let Some(scopes) = self.scopes(index) else {
            return [None, None];
        };
        let levels = Levels { scopes, now_us: self.clock.boot_us() };
        [Counts::Requests, Counts::Tokens].map(|counts| match self.arena().terms() {
            None => levels.tightest(counts, Local),
            Some(terms) => levels.tightest(counts, Leased(terms)),
        })
    }

    /// Check that the ticket's row is in the ledger: the drainer frees a slot only after its
    /// commit.
    #[must_use]
    pub fn recorded(&self, ticket: u64) -> bool {
        let head = self.tickets().slot((ticket & 0xffff) as usize).map(Slot::head);
        head.is_none_or(|head| head.seq() != ticket >> 16 || head.state() == State::Free)
    }

    /// Return the input and output tokens that a ticket reserved.
    #[must_use]
    pub fn reserved(&self, ticket: u64) -> Option<(u64, u64)> {
        let slot = self.tickets().slot((ticket & 0xffff) as usize)?;
        (slot.head().seq() == ticket >> 16).then(|| (slot.reserved_input(), slot.reserved_output()))
    }
}
