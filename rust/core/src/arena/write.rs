//! Writing policy: under the arena's own lock here, and under the file lock of the host in the
//! caller.

use std::sync::{MutexGuard, PoisonError};

use super::{Arena, H_HEAP, H_HEAP_ROOM, H_PRICES, H_RECORD_ROOM, H_SCOPES, STEP_WORDS};
use crate::{
    bucket::{self, Limit},
    calendar::Tag,
    denial,
    error::{Error, Result},
    lease::Resource,
    model::ModelName,
    money::{FREEZE, Money},
    policy::Policy,
    price::{self, Known},
    record::{DISABLED, Image, RECORD_WORDS, Record, View},
    slot::NOBODY,
    sync::Ordering,
    table,
    units::NONE,
    verdict::Kind,
};

impl Arena {
    fn lock(&self) -> MutexGuard<'_, ()> {
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
            let image = Image {
                version: record.version(),
                last4: record.last4(),
                view: View { status: DISABLED, ..view },
            };
            record.write(&image);
            record.end_write();
        }
        Ok(())
    }

    /// Write a policy if it is newer than the record's; answer the scope's index.
    pub fn put(&self, policy: &Policy) -> Result<u32> {
        let _guard = self.lock();
        let digest = policy.table_digest()?;
        let (rpm, tpm) = policy.limits()?;
        let view = View {
            status: policy.status,
            kind: Some(policy.kind()?),
            duration: policy.duration()?,
            endpoints: policy.endpoints,
            team: self.owner(Kind::Team, policy.team, policy)?,
            user: self.owner(Kind::User, policy.user, policy)?,
            org: self.owner(Kind::Org, policy.org, policy)?,
            expires_ms: policy.expires_ms.unwrap_or(NONE),
            rpm,
            tpm,
            cap: policy.cap()?,
            has_models: !policy.models.is_empty(),
            has_ips: !policy.ips.is_empty(),
            ..View::default()
        };
        let block = policy.block()?.encode()?;
        let image = Image { version: policy.version, last4: policy.last4(), view };
        match self.find(&digest.into()) {
            Some(index) => self.replace(index, image, &block).map(|()| index),
            None => self.insert(&digest, policy.id, image, &block),
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

    fn insert(&self, digest: &[u8; 32], id: u64, mut image: Image, block: &[u64]) -> Result<u32> {
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
        image.view.heap = self.store_block(block)?;
        let records = self.map.words()[self.plan.records..].as_chunks::<RECORD_WORDS>().0;
        let record = Record(&records[index]);
        let View { rpm, tpm, .. } = image.view;
        let _ = record.begin_write();
        record.write_identity(digest, id);
        record.write(&image);
        let now_us = self.clock().boot_us();
        // A lease begins with nothing granted and nothing claimed.
        for (word, limit) in
            [(record.rpm(), rpm), (record.tpm(), tpm)].into_iter().filter(|_| !self.clustered())
        {
            bucket::change(word, |claimed| Limit::UNLIMITED.convert(claimed, limit, now_us));
        }
        let tag = Tag::at(image.view.duration, self.clock().wall_ms());
        record.money().store(Money::new(tag, 0).0, Ordering::Relaxed);
        record.end_write();
        // Release: partner of `scopes`; the record is whole before its index is given out.
        self.word(H_SCOPES).store(index as u64 + 1, Ordering::Release);
        table::insert(self.table(), digest, index as u32);
        Ok(index as u32)
    }

    fn replace(&self, index: u32, mut image: Image, block: &[u64]) -> Result<()> {
        let Some(record) = self.record(index) else {
            return Ok(());
        };
        let old = record.view();
        if old.is_some() && image.version <= record.version() {
            return Ok(());
        }
        image.view.heap = match old {
            Some(view) if self.holds(view.heap, block) => view.heap,
            _ => self.store_block(block)?,
        };
        let torn = record.begin_write();
        self.convert(record, old.filter(|_| !torn), &image.view);
        record.write(&image);
        // What the bank refused under the old policy it may grant under the new.
        for resource in Resource::ALL {
            denial::deny(record.deny(resource), 0, 0, 0);
        }
        record.end_write();
        Ok(())
    }

    /// Bring the meters under the new policy, while the record is being written. `old` is `None` if
    /// a writer died half-way: whether the words are of the old rate or the new is then not known,
    /// so they begin empty, which admits too little for a minute and never too much.
    fn convert(&self, record: Record, old: Option<View>, new: &View) {
        let now_us = self.clock().boot_us();
        let buckets = [
            (record.rpm(), old.map(|old| old.rpm), new.rpm),
            (record.tpm(), old.map(|old| old.tpm), new.tpm),
        ];
        // A lease counts tokens whatever the rate is.
        for (word, from, to) in buckets.into_iter().filter(|_| !self.clustered()) {
            match from {
                Some(from) if from.limit == to.limit => {}
                Some(from) => bucket::change(word, |claimed| from.convert(claimed, to, now_us)),
                None if to.is_unlimited() => {}
                None => bucket::change(word, |_| to.empty(now_us)),
            }
        }
        if old.is_none_or(|old| old.duration != new.duration) {
            self.freeze_for(record, new);
        }
    }

    /// The word belongs to another kind of window now: nobody commits to it until it is recounted.
    fn freeze_for(&self, record: Record, view: &View) {
        let tag = Tag::at(view.duration, self.clock().wall_ms());
        record.money().store(FREEZE | Money::new(tag, 0).0, Ordering::Release);
    }

    fn holds(&self, heap: (u32, u32), block: &[u64]) -> bool {
        let stored = self.block(heap).0;
        stored.len() == block.len()
            && stored.iter().zip(block).all(|(a, b)| a.load(Ordering::Relaxed) == *b)
    }

    fn store_block(&self, block: &[u64]) -> Result<(u32, u32)> {
        let first = self.get(H_HEAP) as usize;
        if first + block.len() > self.plan.heap_words {
            return Err(Error::Full(
                "the arena's room for names and allow-lists is full; a restart packs it, a larger capacity widens it"
                    .to_owned(),
            ));
        }
        self.room(H_HEAP_ROOM, self.plan.heap, first + block.len(), self.plan.heap_words)?;
        for (at, word) in (self.plan.heap + first..).zip(block) {
            self.set(at, *word);
        }
        self.set(H_HEAP, (first + block.len()) as u64);
        Ok((first as u32, block.len() as u32))
    }

    /// Have room for the first `words` of a part that grows.
    fn room(&self, counter: usize, part: usize, words: usize, most: usize) -> Result<()> {
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
    use crate::{
        clock::{Clock, Manual},
        units::LIMIT_MAX,
    };

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
            limits: [rpm, None],
            bursts: [None, None],
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

    /// What it was allowed before must not be allowed for ever, and its newest policy must still come.
    #[test]
    fn a_closed_scope_refuses_until_its_newest_policy_is_put() {
        let arena = Arena::private(4).expect("room");
        let index = arena.put(&org(1, Some(60))).expect("valid");
        arena.close(index).expect("there");
        let view = || arena.record(index).and_then(Record::view).expect("whole");
        assert_eq!((view().status, view().rpm.limit), (DISABLED, 60));
        arena.put(&org(1, Some(60))).expect("ignored");
        assert_eq!(view().status, DISABLED, "the policy that it had");
        arena.put(&org(2, Some(7))).expect("valid");
        assert_eq!((view().status, view().rpm.limit), (1, 7));
        assert!(arena.close(99).is_err());
    }

    /// A bucket's word is a place on a ring: one that began at zero would look indebted after some
    /// uptime.
    #[test]
    fn a_new_bucket_is_full_whatever_the_uptime() {
        for hours in [0, 1, 2, 3, 24, 10_000] {
            let arena = Arena::private(4).expect("room");
            arena.set_clock(Clock::Manual(Arc::new(Manual::new(hours * 3_600_000_000, 0))));
            let index = arena.put(&org(1, Some(LIMIT_MAX))).expect("valid");
            let (record, now_us) = (arena.record(index).expect("there"), arena.clock().boot_us());
            let left = || {
                record.view().map(|view| view.rpm.remaining(bucket::claimed(record.rpm()), now_us))
            };
            assert_eq!(left(), Some(LIMIT_MAX.cast_signed()), "{hours} h");
            arena.put(&org(2, None)).expect("valid");
            arena.put(&org(3, Some(60))).expect("valid");
            assert_eq!(left(), Some(60), "{hours} h");
        }
    }
}
