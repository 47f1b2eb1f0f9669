//! A policy as the store has it, checked before any of it reaches shared memory.

use crate::{
    calendar::Duration,
    error::{Error, Result},
    heap::{Block, Cidr},
    quota::{Limit, Limits, RATE_COUNT, RATES, Rate},
    record::Standing,
    units::{CAP_MAX, NONE},
    verdict::Kind,
};

/// The fields of `nemorouter.types.Policy`.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(Default))]
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
    let Some(tokens) = limit else { return Ok(Limit::UNLIMITED) };
    // Zero blocks everything, whatever the burst.
    let burst = if tokens == 0 { 0 } else { burst.unwrap_or(tokens) };
    if tokens.max(burst) > rate.most {
        return Err(Error::Value(format!("{} is above {}", rate.name, rate.most)));
    }
    Ok(Limit { tokens, burst })
}

impl Policy {
    pub fn kind(&self) -> Result<Kind> {
        Kind::from_bits(u64::from(self.kind))
            .ok_or_else(|| Error::Value(format!("{} is no kind of scope", self.kind)))
    }

    /// Return the digest that names the scope in the table.
    pub fn table_digest(&self) -> Result<[u8; 32]> {
        if self.kind()? != Kind::Key {
            return Ok(crate::digest::of_scope(self.kind, self.id));
        }
        <[u8; 32]>::try_from(self.digest.as_slice())
            .map_err(|_| Error::Value("a key's digest has 32 bytes".to_owned()))
    }

    pub fn limits(&self) -> Result<Limits> {
        let checked = RATES
            .iter()
            .enumerate()
            .map(|(i, rate)| Ok((i, limit(rate, self.limits[i], self.bursts[i])?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Limits::new(checked))
    }

    /// Return what decides whether the scope lets requests in; its lists are not in the heap yet.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (models, ips) = (!self.models.is_empty(), !self.ips.is_empty());
        Standing::new(self.status, self.endpoints, models, ips)
            .with_expiry(self.expires_ms.unwrap_or(NONE))
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
