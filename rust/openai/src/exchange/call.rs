//! An admitted request from its ticket to its end. However often it is ended, it settles once.

use nemorouter_core::{call::Usage as Used, error, numbers::fixed, units::NONE};

use crate::{
    charge::{Outcome, charge},
    usage::Usage,
    worker::Worker,
};

/// An admitted request.
pub(super) struct Call {
    pub ticket: u64,
    pub status: u16,
    pub usage: Option<Usage>,
    /// Bytes of text.
    pub produced: u64,
    pub first_us: Option<u64>,
    pub ended: bool,
    /// Nano-USD, once it is known.
    pub cost: Option<u64>,
}

impl Call {
    pub fn new(ticket: u64) -> Self {
        Self {
            ticket,
            status: 0,
            usage: None,
            produced: 0,
            first_us: None,
            ended: false,
            cost: None,
        }
    }

    pub fn settle(
        &mut self,
        worker: &Worker,
        age_us: u64,
        outcome: Outcome,
        status: u16,
        told: Option<Usage>,
    ) -> error::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let reserved = || worker.gate.reserved(self.ticket).map_or(0, |(input, _)| input);
        let told = told.or(self.usage);
        let (input, cached, output) = charge(told, self.produced, outcome, reserved);
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

    /// Settle a stream at its last usage chunk; the cost to be written into it, in USD.
    pub fn bill(
        &mut self,
        worker: &Worker,
        age_us: u64,
        usage: Usage,
    ) -> error::Result<Option<String>> {
        let told = self.usage.or(Some(usage));
        self.settle(worker, age_us, Outcome::Ok, self.status, told)?;
        Ok(self.cost.map(|nano| fixed(nano, 9).as_str().to_owned()))
    }
}
