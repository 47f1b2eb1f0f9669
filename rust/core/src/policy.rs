//! A policy as the store tells it, checked before any of it reaches shared memory.

use crate::{
    bucket::Limit,
    calendar::Duration,
    error::{Error, Result},
    heap::{Block, Cidr},
    quota::{RATE_COUNT, RATES, Rate},
    units::{CAP_MAX, NONE},
    verdict::Kind,
};

/// The fields of `nemorouter.types.Policy`.
#[derive(Clone, Debug)]
pub struct Policy {
    pub kind: u8,
    pub id: u64,
    pub version: u64,
    pub status: u8,
    pub org: u64,
    pub team: u64,
    pub user: u64,
    pub digest: Vec<u8>,
    /// Limits in the order of [`RATES`]; `None` = unlimited.
    pub limits: [Option<u64>; RATE_COUNT],
    /// Bursts in the order of [`RATES`]; `None` = the limit.
    pub bursts: [Option<u64>; RATE_COUNT],
    pub cap: Option<u64>,
    pub duration: u8,
    pub expires_ms: Option<u64>,
    pub endpoints: u16,
    pub models: Vec<String>,
    pub ips: Vec<String>,
    pub name: String,
    pub last4: String,
}

fn limit(rate: &Rate, limit: Option<u64>, burst: Option<u64>) -> Result<Limit> {
    let Some(limit) = limit else { return Ok(Limit::UNLIMITED) };
    // Zero blocks everything, whatever the burst.
    let burst = if limit == 0 { 0 } else { burst.unwrap_or(limit) };
    if limit.max(burst) > rate.most {
        return Err(Error::Value(format!("{} is above {}", rate.name, rate.most)));
    }
    Ok(Limit { limit, burst })
}

impl Policy {
    pub fn kind(&self) -> Result<Kind> {
        Kind::from_bits(u64::from(self.kind))
            .ok_or_else(|| Error::Value(format!("{} is no kind of scope", self.kind)))
    }

    /// The digest that names the scope in the table.
    pub fn table_digest(&self) -> Result<[u8; 32]> {
        if self.kind()? != Kind::Key {
            return Ok(crate::digest::of_scope(self.kind, self.id));
        }
        <[u8; 32]>::try_from(self.digest.as_slice())
            .map_err(|_| Error::Value("a key's digest has 32 bytes".to_owned()))
    }

    /// RPM and TPM. A user has budgets only.
    pub fn limits(&self) -> Result<(Limit, Limit)> {
        if self.kind()? == Kind::User {
            return Ok((Limit::UNLIMITED, Limit::UNLIMITED));
        }
        let of = |i: usize| limit(&RATES[i], self.limits[i], self.bursts[i]);
        Ok((of(0)?, of(1)?))
    }

    pub fn cap(&self) -> Result<u64> {
        match self.cap {
            Some(cap) if cap > CAP_MAX => Err(Error::Value(
                "a budget of more than 10,000,000 USD a window cannot be held".to_owned(),
            )),
            cap => Ok(cap.unwrap_or(NONE)),
        }
    }

    pub fn duration(&self) -> Result<Duration> {
        if self.duration > 3 {
            return Err(Error::Value(format!("{} is no budget duration", self.duration)));
        }
        Ok(Duration::from_bits(u64::from(self.duration)))
    }

    pub fn block(&self) -> Result<Block> {
        let addresses = self.ips.iter().map(|text| Cidr::parse(text)).collect::<Result<_>>()?;
        Ok(Block { name: self.name.clone(), models: self.models.clone(), addresses })
    }

    #[must_use]
    pub fn last4(&self) -> [u8; 4] {
        let mut last4 = [0; 4];
        for (to, from) in last4.iter_mut().zip(self.last4.bytes()) {
            *to = from;
        }
        last4
    }
}
