//! Writing policy: under the arena's own lock here, and under the file lock of the host in the
//! caller.

use std::sync::{MutexGuard, PoisonError};

use super::{Arena, H_PRICES, H_RECORD_ROOM, H_SCOPES, STEP_WORDS, blocks::Gaps};
use crate::{
    bucket,
    calendar::Tag,
    denial,
    error::{Error, Result},
    model::ModelName,
    money::{FREEZE, Money},
    policy::Policy,
    price::{self, Known},
    quota::{Limit, RATE_COUNT, RATES, Resource},
    record::{DISABLED, PolicyImage, RECORD_WORDS, Record, View},
    slot::NOBODY,
    sync::Ordering,
    table,
    verdict::Kind,
};

impl Arena {
    fn lock(&self) -> MutexGuard<'_, Gaps> {
        // A panic while writing leaves an odd record, which the next write of it mends.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put_price(&self, model: &ModelName, version: u64, known: Known) -> Result<()> {
        let _guard = self.lock();
        price::put(self.prices(), self.word(H_PRICES), model, version, known)
    }

    pub fn remove_price(&self, model: &ModelName) {
        let _guard = self.lock();
        price::remove(self.prices(), self.word(H_PRICES), model);
    }

    /// Disable a scope whose newest policy cannot be held: an older one must not go on. The version
    /// stays, so that a later [`Self::put`] of the newest policy is not taken for an old one.
    pub fn close(&self, index: u32) -> Result<()> {
        let _guard = self.lock();
        let record = self
            .record(index)
            .ok_or_else(|| Error::Value(format!("{index} is no scope of this arena")))?;
        // A record that a writer left torn is refused by itself, and stays so.
        if let Some(view) = record.view() {
            let _ = record.begin_write();
            let image = PolicyImage {
                version: record.version(),
                last4: record.last4(),
                view: View { standing: view.standing.with_status(DISABLED), ..view },
            };
            record.write(&image);
            record.end_write();
        }
        Ok(())
    }

    /// Write a policy if it is newer than the record's. Returns the scope's index.
    pub fn put(&self, policy: &Policy) -> Result<u32> {
        let gaps = &mut *self.lock();
        let digest = policy.table_digest()?;
        let view = View {
            kind: Some(policy.kind()?),
            duration: policy.duration()?,
            team: self.owner(Kind::Team, policy.team, policy)?,
            user: self.owner(Kind::User, policy.user, policy)?,
            org: self.owner(Kind::Org, policy.org, policy)?,
            standing: policy.standing(),
            limits: policy.limits()?,
            cap: policy.cap()?,
            ..View::default()
        };
        let block = policy.block()?.encode()?;
        let image = PolicyImage { version: policy.version, last4: policy.last4(), view };
        match self.find(&digest.into()) {
            Some(index) => self.replace(gaps, index, image, &block).map(|()| index),
            None => self.insert(gaps, &digest, policy.id, image, &block),
        }
    }

    fn owner(&self, kind: Kind, id: u64, policy: &Policy) -> Result<u32> {
        if id == 0 || policy.kind()? == kind {
            return Ok(NOBODY);
        }
        self.find_scope(kind, id).ok_or_else(|| {
            Error::Value(format!("the {kind:?} {id} of this scope is not in the arena"))
        })
    }

    fn insert(
        &self,
        gaps: &mut Gaps,
        digest: &[u8; 32],
        id: u64,
        mut image: PolicyImage,
        block: &[u64],
    ) -> Result<u32> {
        let index = self.get(H_SCOPES) as usize;
        if index >= self.plan.capacity {
            return Err(Error::Full(format!(
                "the arena holds {index} scopes, all it has room for; raise the capacity and restart"
            )));
        }
        self.room(
            H_RECORD_ROOM,
            self.plan.records,
            (index + 1) * RECORD_WORDS,
            self.plan.capacity * RECORD_WORDS,
        )?;
        image.view.standing = image.view.standing.with_heap(self.store_block(gaps, block)?);
        let records = self.map.words()[self.plan.records..].as_chunks::<RECORD_WORDS>().0;
        let record = Record(&records[index]);
        let _ = record.begin_write();
        record.write_identity(digest, id);
        record.write(&image);
        let now_us = self.clock().boot_us();
        // A lease begins with nothing granted and nothing claimed.
        for rate in self.bucket_rates() {
            let (none, quota) = (RATES[rate].quota(Limit::UNLIMITED), image.view.quota(rate));
            bucket::change(record.meter(rate), |claimed| none.convert(claimed, quota, now_us));
        }
        let tag = Tag::at(image.view.duration, self.clock().wall_ms());
        record.money().store(Money::new(tag, 0).0, Ordering::Relaxed);
        record.end_write();
        // Release: partner of `scopes`; the record is whole before its index is given out.
        self.word(H_SCOPES).store(index as u64 + 1, Ordering::Release);
        table::insert(self.table(), digest, index as u32);
        Ok(index as u32)
    }

    fn replace(
        &self,
        gaps: &mut Gaps,
        index: u32,
        mut image: PolicyImage,
        block: &[u64],
    ) -> Result<()> {
        let Some(record) = self.record(index) else {
            return Ok(());
        };
        let old = record.view();
        if old.is_some() && image.version <= record.version() {
            return Ok(());
        }
        let heap = match old {
            Some(View { standing, .. }) if self.holds(standing.heap(), block) => standing.heap(),
            _ => self.store_block(gaps, block)?,
        };
        image.view.standing = image.view.standing.with_heap(heap);
        let torn = record.begin_write();
        self.convert(record, old.filter(|_| !torn), &image.view);
        record.write(&image);
        // What the bank denied under the old policy it may grant under the new.
        for resource in Resource::all() {
            denial::deny(record.denial(resource), 0, 0, 0);
        }
        record.end_write();
        Ok(())
    }

    /// Bring the meters under the new policy, while the record is being written. `old` is `None` if
    /// a writer died half-way: whether the words are of the old rate or the new is then not known,
    /// so they begin empty, which admits too little for a minute and never too much.
    fn convert(&self, record: Record, old: Option<View>, new: &View) {
        let now_us = self.clock().boot_us();
        // A lease counts tokens whatever the rate is.
        for rate in self.bucket_rates() {
            let (word, to) = (record.meter(rate), new.quota(rate));
            match old.map(|old| old.quota(rate)) {
                Some(from) if from.tokens == to.tokens => {}
                Some(from) => bucket::change(word, |claimed| from.convert(claimed, to, now_us)),
                None if to.is_unlimited() => {}
                None => bucket::change(word, |_| to.empty(now_us)),
            }
        }
        if old.is_none_or(|old| old.duration != new.duration) {
            self.freeze_for(record, new);
        }
    }

    /// Take from a bucket of a new arena what its scope admitted in the last period of the rate.
    ///
    /// The bucket that this one replaces had used at most its burst when the period began. A whole
    /// limit has come back since, so that with a burst of the limit it has used `admitted` at most.
    /// The bucket is never in debt by this. Nothing is taken from a lease.
    pub fn charge_past(&self, index: u32, rate: usize, admitted: u64) -> Result<()> {
        let _guard = self.lock();
        if rate >= RATE_COUNT {
            return Err(Error::Value(format!("no rate has the number {rate}")));
        }
        let (record, view) = self.record_and_view(index)?;
        let quota = view.quota(rate);
        if !self.clustered() && !quota.is_unlimited() {
            let used = admitted.min(quota.burst);
            bucket::owe(record.meter(rate), quota, used, self.clock().boot_us());
        }
        Ok(())
    }

    /// List the rates whose words are buckets: all, or none where hosts share their limits.
    fn bucket_rates(&self) -> std::ops::Range<usize> {
        0..if self.clustered() { 0 } else { RATE_COUNT }
    }

    /// Freeze the money word, which belongs to another kind of window now: nothing is committed to
    /// it until it is recounted.
    fn freeze_for(&self, record: Record, view: &View) {
        let tag = Tag::at(view.duration, self.clock().wall_ms());
        record.money().store(FREEZE | Money::new(tag, 0).0, Ordering::Release);
    }

    /// Allocate room for the first `words` of a part that grows.
    pub(super) fn room(
        &self,
        counter: usize,
        part: usize,
        words: usize,
        most: usize,
    ) -> Result<()> {
        let have = self.get(counter) as usize;
        if words <= have {
            return Ok(());
        }
        let want = words.next_multiple_of(STEP_WORDS).min(most);
        self.map.ensure(part + have, want - have)?;
        self.set(counter, want as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, Manual};

    const MOST: u64 = RATES[0].most;

    fn org(version: u64, rpm: Option<u64>) -> Policy {
        Policy {
            kind: Kind::Org as u8,
            id: 1,
            version,
            status: 1,
            org: 0,
            team: 0,
            user: 0,
            digest: vec![],
            limits: std::array::from_fn(|rate| rpm.filter(|_| rate == 0)),
            bursts: [None; RATE_COUNT],
            cap: None,
            duration: 3,
            expires_ms: None,
            endpoints: 0,
            models: vec![],
            ips: vec![],
            name: String::new(),
            last4: String::new(),
        }
    }

    /// A closed scope must not be allowed for ever what it was allowed before, and its newest
    /// policy must still be taken.
    #[test]
    fn a_closed_scope_refuses_until_its_newest_policy_is_put() {
        let arena = Arena::private(4).expect("room");
        let index = arena.put(&org(1, Some(60))).expect("valid");
        arena.close(index).expect("there");
        let view = || arena.record(index).and_then(Record::view).expect("whole");
        assert_eq!((view().standing.status(), view().limits.of(0).tokens), (DISABLED, 60));
        arena.put(&org(1, Some(60))).expect("ignored");
        assert_eq!(view().standing.status(), DISABLED, "the policy that it had");
        arena.put(&org(2, Some(7))).expect("valid");
        assert_eq!((view().standing.status(), view().limits.of(0).tokens), (1, 7));
        assert!(arena.close(99).is_err());
    }

    /// A bucket's word is a place on a ring: one that began at zero would look indebted after some
    /// uptime.
    #[test]
    fn a_new_bucket_is_full_whatever_the_uptime() {
        for hours in [0, 1, 2, 3, 24, 10_000] {
            let arena = Arena::private(4).expect("room");
            arena.set_clock(Clock::Manual(Arc::new(Manual::new(hours * 3_600_000_000, 0))));
            let index = arena.put(&org(1, Some(MOST))).expect("valid");
            let (record, now_us) = (arena.record(index).expect("there"), arena.clock().boot_us());
            let left = || {
                record
                    .view()
                    .map(|view| view.quota(0).remaining(bucket::claimed(record.meter(0)), now_us))
            };
            assert_eq!(left(), Some(MOST.cast_signed()), "{hours} h");
            arena.put(&org(2, None)).expect("valid");
            arena.put(&org(3, Some(60))).expect("valid");
            assert_eq!(left(), Some(60), "{hours} h");
        }
    }
}
