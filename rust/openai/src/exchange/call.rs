//! An admitted request from its ticket to its end. However often it is ended, it settles once.

use nemorouter_core::{call::Usage as Used, error, numbers::fixed, units::NONE};

use crate::{
    charge::{Outcome, Source, Told},
    usage::{Tokens, Usage},
    worker::Worker,
};

/// An admitted request.
#[expect(clippy::struct_excessive_bools, reason = "facts of a call, each of its own")]
pub(super) struct Call {
    pub ticket: u64,
    pub status: u16,
    pub told: Told,
    /// A wrapped app reported what it used: that is the truth.
    pub reported: bool,
    /// The answer says itself that it failed.
    pub failed: bool,
    pub first_us: Option<u64>,
    pub ended: bool,
    /// Nano-USD, once it is known.
    pub cost: Option<u64>,
    pub source: Option<Source>,
    /// The provider works on after its answer: without a usage, the reservation is charged.
    background: bool,
}

impl Call {
    pub fn new(ticket: u64, background: bool) -> Self {
        Self {
            ticket,
            status: 0,
            told: Told::default(),
            reported: false,
            failed: false,
            first_us: None,
            ended: false,
            cost: None,
            source: None,
            background,
        }
    }

    /// Take in tokens that somebody knows better than the answer tells.
    pub fn report(&mut self, tokens: Tokens) {
        self.told.usage = Some(Usage::of(tokens));
        self.reported = true;
    }

    pub fn settle(
        &mut self,
        worker: &Worker,
        age_us: u64,
        outcome: Outcome,
        status: u16,
    ) -> error::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let reserved = || worker.gate.reserved(self.ticket).unwrap_or_default();
        let unknown = self.background && self.told.usage.is_none();
        let ((input, cached, output), source) = match outcome {
            Outcome::Ok | Outcome::ClientGone if unknown => {
                let (input, output) = reserved();
                ((input, 0, output), Source::Reserved)
            }
            _ => self.told.charge(outcome, || reserved().0),
        };
        self.source = Some(source);
        let used = Used {
            input,
            cached,
            output,
            status,
            outcome: outcome as u8,
            latency_us: age_us,
            ttft_us: self.first_us.unwrap_or(NONE),
        };
        self.cost = worker.gate.settle(self.ticket, &used)?;
        Ok(())
    }

    /// Settle a stream at its last usage chunk, with all that is known by then; the cost to be written into it, in USD.
    pub fn bill(
        &mut self,
        worker: &Worker,
        age_us: u64,
        told: Told,
    ) -> error::Result<Option<String>> {
        if !self.reported {
            self.told = told;
        }
        self.settle(worker, age_us, Outcome::Ok, self.status)?;
        Ok(self.cost.map(|nano| fixed(nano, 9).as_str().to_owned()))
    }
}
