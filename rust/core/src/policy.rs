//! A policy as the store tells it, checked before any of it reaches shared memory.

use crate::{
    bucket::Limit,
    calendar::Duration,
    error::{Error, Result},
    heap::{Block, Cidr},
    units::{CAP_MAX, LIMIT_MAX, NONE},
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
    pub rpm: Option<u64>,
    pub rpm_burst: Option<u64>,
    pub tpm: Option<u64>,
    pub tpm_burst: Option<u64>,
    pub cap: Option<u64>,
    pub duration: u8,
    pub expires_ms: Option<u64>,
    pub endpoints: u16,
    pub models: Vec<String>,
    pub ips: Vec<String>,
    pub name: String,
    pub last4: String,
}

fn limit(what: &str, limit: Option<u64>, burst: Option<u64>) -> Result<Limit> {
    let Some(rate) = limit else { return Ok(Limit::UNLIMITED) };
    // Zero blocks everything, whatever the burst.
    let burst = if rate == 0 { 0 } else { burst.unwrap_or(rate) };
    let limit = Limit { limit: rate, burst };
    if limit.limit > LIMIT_MAX || limit.burst > LIMIT_MAX {
        return Err(Error::Value(format!("{what} is above {LIMIT_MAX}")));
    }
    Ok(limit)
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
        Ok((limit("rpm", self.rpm, self.rpm_burst)?, limit("tpm", self.tpm, self.tpm_burst)?))
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
