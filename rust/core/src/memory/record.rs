//! A scope's record: policy under a sequence word, then its meters and, for many hosts, its leases.
//! 256 bytes, four lines.
//!
//! A writer makes the sequence odd, writes, and makes it even. A reader that meets an odd word, or
//! two different even ones, looks again, a bounded number of times; then the answer is *not ready*,
//! never a guess.

use crate::{
    bucket::Limit,
    calendar::Duration,
    lease::{Lease, Resource},
    slot::NOBODY,
    sync::{AtomicU64, Ordering, SPINS, fence, spin_loop},
    verdict::Kind,
};

/// Words of a record.
pub const RECORD_WORDS: usize = 32;
/// `status` of a scope in use.
pub const ACTIVE: u8 = 1;
/// `status` of a scope that refuses its keys for now.
pub const DISABLED: u8 = 3;

const SEQ: usize = 0;
const DIGEST: usize = 1; // to 4
const OWNERS: usize = 5; // team index << 32 | user index
const FACTS: usize = 6; // org index << 32 | endpoints << 16 | duration << 12 | kind << 8 | status
const EXPIRY: usize = 7;
const RPM: usize = 8; // limit, burst
const TPM: usize = 10; // limit, burst
const CAP: usize = 12;
const HEAP: usize = 13; // first word << 32 | words
const VERSION: usize = 14;
const LAST4: usize = 15; // last four characters | has models << 32 | has ips << 33
const METER_RPM: usize = 16;
const METER_TPM: usize = 17;
const METER_MONEY: usize = 18;
const ID: usize = 19; // row id
const RPM_GRANTED: usize = 20;
const RPM_UNTIL: usize = 21;
const TPM_GRANTED: usize = 22;
const TPM_UNTIL: usize = 23;
const MONEY_GRANTED: usize = 24;
const RPM_NOTE: usize = 25;
const TPM_NOTE: usize = 26;
const RPM_RETURNED: usize = 27;
const TPM_RETURNED: usize = 28;
const DENY: usize = 29; // to 31, by resource

/// What a policy says, as read at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The sequence word it was read under.
    pub seq: u64,
    pub status: u8,
    pub kind: Option<Kind>,
    pub duration: Duration,
    /// Bit per endpoint; 0 = all.
    pub endpoints: u16,
    pub team: u32,
    pub user: u32,
    pub org: u32,
    pub expires_ms: u64,
    pub rpm: Limit,
    pub tpm: Limit,
    pub cap: u64,
    pub heap: (u32, u32),
    pub has_models: bool,
    pub has_ips: bool,
}

/// What every request of an owner's keys depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub status: u8,
    endpoints: u16,
}

impl Standing {
    #[must_use]
    pub fn allows_endpoint(self, endpoint: u8) -> bool {
        self.endpoints == 0 || self.endpoints >> endpoint & 1 == 1
    }
}

/// What a writer puts into a record; digest and row id never change once set.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    pub version: u64,
    pub last4: [u8; 4],
    /// `seq` is not written.
    pub view: View,
}

/// One record of the arena.
#[derive(Clone, Copy)]
pub struct Record<'a>(pub &'a [AtomicU64; RECORD_WORDS]);

impl<'a> Record<'a> {
    fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    fn limit(self, word: usize) -> Limit {
        Limit { limit: self.get(word), burst: self.get(word + 1) }
    }

    /// The policy, consistent; `None` while somebody writes it for longer than a writer takes.
    #[must_use]
    pub fn view(self) -> Option<View> {
        for _ in 0..SPINS {
            // Acquire: partner of `end_write`.
            let seq = self.0[SEQ].load(Ordering::Acquire);
            if seq & 1 == 0 {
                let view = self.peek(seq);
                // Partner of the release fence in `begin_write`: words of a later write are only
                // read with a later sequence.
                fence(Ordering::Acquire);
                if self.get(SEQ) == seq {
                    return Some(view);
                }
            }
            spin_loop();
        }
        None
    }

    fn peek(self, seq: u64) -> View {
        let (owners, facts, flags, heap) =
            (self.get(OWNERS), self.get(FACTS), self.get(LAST4), self.get(HEAP));
        View {
            seq,
            status: facts as u8,
            kind: Kind::from_bits(facts >> 8 & 15),
            duration: Duration::from_bits(facts >> 12),
            endpoints: (facts >> 16) as u16,
            org: (facts >> 32) as u32,
            team: (owners >> 32) as u32,
            user: owners as u32,
            expires_ms: self.get(EXPIRY),
            rpm: self.limit(RPM),
            tpm: self.limit(TPM),
            cap: self.get(CAP),
            heap: ((heap >> 32) as u32, heap as u32),
            has_models: flags >> 32 & 1 == 1,
            has_ips: flags >> 33 & 1 == 1,
        }
    }

    /// Status and endpoints alone: they lie in one word, so they need no sequence.
    #[must_use]
    pub fn standing(self) -> Standing {
        let facts = self.get(FACTS);
        Standing { status: facts as u8, endpoints: (facts >> 16) as u16 }
    }

    /// The TPM limit alone, for debt: while it is being written, the old one or the new or one's
    /// rate with the other's burst.
    #[must_use]
    pub fn tpm_limit(self) -> Limit {
        self.limit(TPM)
    }

    /// True while the policy is still the one read under `seq`.
    #[must_use]
    pub fn is_current(self, seq: u64) -> bool {
        // Acquire: partner of `begin_write` and `end_write`.
        self.0[SEQ].load(Ordering::Acquire) == seq
    }

    /// Make the sequence odd. True if it was odd already: a writer died in between, and what stands
    /// here is torn.
    #[must_use]
    pub fn begin_write(self) -> bool {
        let seq = self.0[SEQ].fetch_or(1, Ordering::Relaxed);
        // Partner of the acquire fence in `view`.
        fence(Ordering::Release);
        seq & 1 == 1
    }

    pub fn end_write(self) {
        // Release: partner of `view` and `is_current`.
        self.0[SEQ].fetch_add(1, Ordering::Release);
    }

    /// Write the policy, between `begin_write` and `end_write`.
    pub fn write(self, image: &Image) {
        let view = &image.view;
        self.set(OWNERS, u64::from(view.team) << 32 | u64::from(view.user));
        let kind = view.kind.map_or(0, |kind| kind as u64);
        let facts = u64::from(view.status)
            | kind << 8
            | (view.duration as u64) << 12
            | u64::from(view.endpoints) << 16;
        self.set(FACTS, facts | u64::from(view.org) << 32);
        self.set(EXPIRY, view.expires_ms);
        self.set(RPM, view.rpm.limit);
        self.set(RPM + 1, view.rpm.burst);
        self.set(TPM, view.tpm.limit);
        self.set(TPM + 1, view.tpm.burst);
        self.set(CAP, view.cap);
        self.set(HEAP, u64::from(view.heap.0) << 32 | u64::from(view.heap.1));
        self.set(VERSION, image.version);
        let flags = u64::from(view.has_models) << 32 | u64::from(view.has_ips) << 33;
        self.set(LAST4, u64::from(u32::from_le_bytes(image.last4)) | flags);
    }

    /// What never changes: digest and row id. Before the record is published.
    pub fn write_identity(self, digest: &[u8; 32], id: u64) {
        for (word, chunk) in (DIGEST..).zip(digest.as_chunks::<8>().0) {
            self.set(word, u64::from_le_bytes(*chunk));
        }
        self.set(ID, id);
    }

    #[must_use]
    pub fn digest(self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (chunk, word) in digest.as_chunks_mut::<8>().0.iter_mut().zip(DIGEST..) {
            *chunk = self.get(word).to_le_bytes();
        }
        digest
    }

    #[must_use]
    pub fn id(self) -> u64 {
        self.get(ID)
    }

    #[must_use]
    pub fn version(self) -> u64 {
        self.get(VERSION)
    }

    #[must_use]
    pub fn last4(self) -> [u8; 4] {
        (self.get(LAST4) as u32).to_le_bytes()
    }

    #[must_use]
    pub fn rpm(self) -> &'a AtomicU64 {
        &self.0[METER_RPM]
    }

    #[must_use]
    pub fn tpm(self) -> &'a AtomicU64 {
        &self.0[METER_TPM]
    }

    #[must_use]
    pub fn money(self) -> &'a AtomicU64 {
        &self.0[METER_MONEY]
    }

    /// The lease whose claims are counted in [`Self::rpm`].
    #[must_use]
    pub fn rpm_lease(self) -> Lease<'a> {
        self.lease([METER_RPM, RPM_GRANTED, RPM_UNTIL, RPM_RETURNED, RPM_NOTE], Resource::Rpm)
    }

    /// The lease whose claims are counted in [`Self::tpm`].
    #[must_use]
    pub fn tpm_lease(self) -> Lease<'a> {
        self.lease([METER_TPM, TPM_GRANTED, TPM_UNTIL, TPM_RETURNED, TPM_NOTE], Resource::Tpm)
    }

    fn lease(self, words: [usize; 5], resource: Resource) -> Lease<'a> {
        let [claimed, granted, until, returned, note] = words.map(|word| &self.0[word]);
        Lease { claimed, granted, until, returned, note, deny: self.deny(resource) }
    }

    /// Nano-USD granted in one window, in the form of a money word.
    #[must_use]
    pub fn money_granted(self) -> &'a AtomicU64 {
        &self.0[MONEY_GRANTED]
    }

    #[must_use]
    pub fn deny(self, resource: Resource) -> &'a AtomicU64 {
        &self.0[DENY + resource as usize]
    }
}

impl View {
    /// Indices of the key's team, user and org.
    #[must_use]
    pub fn owners(&self) -> [u32; 3] {
        [self.team, self.user, self.org]
    }
}

impl Default for View {
    fn default() -> Self {
        Self {
            seq: 0,
            status: ACTIVE,
            kind: None,
            duration: Duration::Monthly,
            endpoints: 0,
            team: NOBODY,
            user: NOBODY,
            org: NOBODY,
            expires_ms: crate::units::NONE,
            rpm: Limit::UNLIMITED,
            tpm: Limit::UNLIMITED,
            cap: crate::units::NONE,
            heap: (0, 0),
            has_models: false,
            has_ips: false,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::units::NONE;

    fn words() -> [AtomicU64; RECORD_WORDS] {
        std::array::from_fn(|_| AtomicU64::new(0))
    }

    #[test]
    fn a_policy_reads_as_written() {
        let words = words();
        let record = Record(&words);
        let view = View {
            kind: Some(Kind::Key),
            duration: Duration::Weekly,
            endpoints: 0b101,
            team: 1,
            org: 2,
            expires_ms: 9,
            rpm: Limit { limit: 60, burst: 5 },
            cap: 77,
            heap: (3, 4),
            has_ips: true,
            ..View::default()
        };
        assert!(!record.begin_write());
        assert_eq!(record.view(), None, "odd: not ready");
        record.write(&Image { version: 12, last4: *b"wxyz", view });
        record.end_write();
        assert_eq!(record.view(), Some(View { seq: 2, ..view }));
        assert_eq!((record.version(), &record.last4()), (12, b"wxyz"));
        assert_eq!(view.tpm.limit, NONE);
        assert!(record.is_current(2) && !record.is_current(0));
    }

    #[test]
    fn a_dead_writer_is_noticed() {
        let words = words();
        let record = Record(&words);
        assert!(!record.begin_write());
        assert!(record.begin_write());
        record.end_write();
        assert!(record.view().is_some());
    }
}
