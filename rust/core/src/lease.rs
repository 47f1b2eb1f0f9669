//! A limit that many hosts share: this host may claim up to what a bank granted it, until the grant runs out.
//!
//! A rate lease is three counts of tokens since the arena was made, none of which ever falls: *granted* (raised by the host's agent
//! alone), *claimed* (by admissions, debt and withdrawals) and *returned* (refunds, roll-backs, withdrawals). `claimed + n ≤ granted`
//! is decided by one swap of `claimed`: a grant read before can only have grown. What goes back is not spent here again: the bank
//! hears of it by `returned` and decides whether there is room, since the bucket may have refilled meanwhile.
//!
//! Money has the word of [`crate::money`], whose committed amount falls when a ticket is settled, and beside it the amount granted
//! for one window. The grant is lowered only by [`withdraw_money`]; see there for how it meets an admission.

use crate::{
    bucket::Limit,
    calendar::{Relation, Tag},
    money::{Money, look},
    sync::{AtomicU64, Ordering, fence},
    units::NONE,
};

/// Most tokens that one settlement can owe: what is claimed stays within 2⁵³, which every bank can count.
const DEBT_MAX: u64 = 1 << 36;
/// Bits of a coarse number, see [`coarse`].
const COARSE: u32 = 24;
const MANTISSA: u32 = 18;

/// What a lease is about. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Resource {
    Rpm = 0,
    Tpm = 1,
    Money = 2,
}

impl Resource {
    pub const ALL: [Self; 3] = [Self::Rpm, Self::Tpm, Self::Money];

    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.get(usize::from(bits)).copied()
    }
}

/// The words of one rate lease.
#[derive(Clone, Copy)]
pub struct Lease<'a> {
    pub claimed: &'a AtomicU64,
    pub granted: &'a AtomicU64,
    /// Boot clock; 0 = never granted, or void.
    pub until: &'a AtomicU64,
    pub returned: &'a AtomicU64,
    /// Low water << 32 | what the centre had left.
    pub note: &'a AtomicU64,
    pub deny: &'a AtomicU64,
}

/// A lease as it was seen: claims are decided on it, and confirmed against this same `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub until: u64,
    pub granted: u64,
    pub claimed: u64,
}

/// Can a lease give?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Fits,
    /// The bank is to be asked.
    Short,
    /// The bank said no: microseconds until it is worth asking again; `None` = it never is.
    Denied(Option<u64>),
}

impl Look {
    /// Unspent; negative while in debt.
    #[must_use]
    pub fn left(self) -> i64 {
        self.granted.wrapping_sub(self.claimed).cast_signed()
    }

    fn fits(self, n: u64, now_us: u64) -> bool {
        now_us < self.until && i64::try_from(n).is_ok_and(|n| n <= self.left())
    }
}

impl Lease<'_> {
    #[must_use]
    pub fn look(self) -> Look {
        // Acquire, and in this order: partner of `grant` and `void`. Who sees a lease's end sees what was void before it was granted.
        let until = self.until.load(Ordering::Acquire);
        let granted = self.granted.load(Ordering::Acquire);
        Look { until, granted, claimed: self.claimed.load(Ordering::Acquire) }
    }

    /// What a request of `n` tokens is told.
    #[must_use]
    pub fn answer(self, seen: Look, limit: Limit, n: u64, now_us: u64) -> Answer {
        if n > limit.burst || limit.limit == 0 {
            return Answer::Denied(None);
        }
        if seen.fits(n, now_us) {
            return Answer::Fits;
        }
        denied(self.deny, n, now_us).map_or(Answer::Short, |wait| Answer::Denied(Some(wait)))
    }

    /// Claim `n` tokens or none. `Some(true)`: the claim went through low water, of which the agent is to be told.
    ///
    /// The caller must confirm after it that `seen.until` has not come: a claim that is too late is void.
    #[must_use]
    pub fn take(self, mut seen: Look, n: u64, now_us: u64) -> Option<bool> {
        loop {
            if !seen.fits(n, now_us) {
                return None;
            }
            match self.claimed.compare_exchange(seen.claimed, seen.claimed + n, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(self.went_low(seen, n)),
                Err(other) => seen.claimed = other,
            }
        }
    }

    fn went_low(self, before: Look, n: u64) -> bool {
        let (low, left) = ((self.note.load(Ordering::Relaxed) >> 32).cast_signed(), before.left());
        left > low && left - n.cast_signed() <= low && low > 0
    }

    /// Give back `n` claimed tokens, by way of the bank.
    pub fn give(self, n: u64) {
        // Release: partner of the agent's load, which then sees the claim that this undoes.
        self.returned.fetch_add(n, Ordering::Release);
    }

    /// Claim without asking: what was produced beyond the reservation is owed.
    pub fn owe(self, n: u64) {
        self.claimed.fetch_add(n.min(DEBT_MAX), Ordering::AcqRel);
    }

    /// The agent: claims are good up to `granted`, until `until`; the bank had `centre` tokens left.
    pub fn grant(self, granted: u64, until: u64, centre: u64) {
        self.granted.fetch_max(granted, Ordering::AcqRel);
        let low = self.look().left().max(0).unsigned_abs() / 4;
        self.note.store(low.min(u64::from(u32::MAX)) << 32 | centre.min(u64::from(u32::MAX)), Ordering::Relaxed);
        // Release: partner of `look`.
        self.until.store(until, Ordering::Release);
    }

    /// The agent: claim up to `most` unspent tokens and count them as returned. What it answers nobody else can spend.
    #[must_use]
    pub fn withdraw(self, most: u64) -> u64 {
        let taken = self.claim_rest(most);
        self.give(taken);
        taken
    }

    /// The agent, when the lease is known to be over: nothing of it can be claimed from here on. Answers what is lost.
    #[must_use]
    pub fn void(self) -> u64 {
        let lost = self.claim_rest(u64::MAX);
        self.until.store(0, Ordering::Release);
        lost
    }

    fn claim_rest(self, most: u64) -> u64 {
        let mut seen = self.look();
        loop {
            let n = most.min(seen.left().max(0).unsigned_abs());
            if n == 0 {
                return 0;
            }
            match self.claimed.compare_exchange(seen.claimed, seen.claimed + n, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return n,
                Err(other) => seen.claimed = other,
            }
        }
    }

    /// What a burst could have now at most: the host's part and the centre's. Negative while in debt.
    #[must_use]
    pub fn remaining(self, limit: Limit, now_us: u64) -> i64 {
        let seen = self.look();
        if now_us >= seen.until {
            return seen.left().min(0);
        }
        let centre = (self.note.load(Ordering::Relaxed) & u64::from(u32::MAX)).cast_signed();
        seen.left().saturating_add(centre).min(i64::try_from(limit.burst).unwrap_or(i64::MAX))
    }
}

/// Until `until_us`, who needs `need` units or more and does not fit is refused without asking. Until 0: nobody is.
pub fn deny(word: &AtomicU64, need: u64, until_us: u64) {
    word.store(until_us.div_ceil(1_000) << COARSE | coarse(need), Ordering::Relaxed);
}

/// Microseconds for which `n` units are still denied; `None` = the bank may be asked.
#[must_use]
pub fn denied(word: &AtomicU64, n: u64, now_us: u64) -> Option<u64> {
    let word = word.load(Ordering::Relaxed);
    let until_us = (word >> COARSE) * 1_000;
    (until_us > now_us && n >= fine(word)).then(|| until_us - now_us)
}

/// A number in 24 bits: 18 of them and a shift, rounded up, so that what is denied is never more than was said.
fn coarse(n: u64) -> u64 {
    let shift = (u64::BITS - n.leading_zeros()).saturating_sub(MANTISSA);
    let rounded = n >> shift | u64::from(n & ((1 << shift) - 1) != 0);
    match rounded >> MANTISSA {
        0 => u64::from(shift) << MANTISSA | rounded,
        _ => u64::from(shift + 1) << MANTISSA | rounded >> 1,
    }
}

/// The number that the low 24 bits of `word` stand for.
#[must_use]
pub fn fine(word: u64) -> u64 {
    let (shift, bits) = (word >> MANTISSA & 63, word & ((1 << MANTISSA) - 1));
    if bits.leading_zeros() < shift as u32 { u64::MAX } else { bits << shift }
}

/// The cap of a money word in the window `now`: what was granted for it, never more than the policy's; [`NONE`] needs no grant.
#[must_use]
pub fn cap(granted: u64, now: Tag, cap: u64) -> u64 {
    match cap {
        NONE => NONE,
        _ if Money(granted).tag() == now => Money(granted).amount().min(cap),
        _ => 0,
    }
}

/// The agent: `amount` is granted in the window `tag`. In one window a grant only grows, and it never goes back to an earlier one.
pub fn grant_money(granted: &AtomicU64, tag: Tag, amount: u64) {
    let seen = Money(granted.load(Ordering::Relaxed));
    let grows = match seen.tag().relation(tag) {
        Relation::Same => seen.amount() < amount,
        Relation::Stale => true,
        Relation::Ahead(_) => false,
    };
    if grows {
        granted.store(Money::new(tag, amount).0, Ordering::Release);
    }
}

/// A grant of a window that is over is none: a tag names its window modulo 128.
pub fn turn_money(granted: &AtomicU64, now: Tag) {
    let seen = granted.load(Ordering::Relaxed);
    if seen != 0 && Money(seen).tag().relation(now) == Relation::Stale {
        // A failed swap: the agent granted meanwhile.
        let _ = granted.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The agent: lower a grant by what is not committed, at most by `most`; answers by how much.
///
/// Two words: we lower the grant and then look at what is committed; an admission commits and then looks at the grant
/// ([`confirm_money`]). With a full fence between the two steps on both sides, at least one sees the other: then the admission
/// steps back, or we take less, or both. Never neither.
#[must_use]
pub fn withdraw_money(granted: &AtomicU64, word: &AtomicU64, most: u64) -> u64 {
    let before = Money(granted.load(Ordering::Relaxed));
    let Some(committed) = committed(word, before.tag()) else {
        return 0;
    };
    let take = before.amount().saturating_sub(committed).min(most);
    if take == 0 {
        return 0;
    }
    let after = before.amount() - take;
    granted.store(Money::new(before.tag(), after).0, Ordering::Relaxed);
    // Partner of the fence in `confirm_money`.
    fence(Ordering::SeqCst);
    let kept = self::committed(word, before.tag()).map_or(before.amount(), |now| now.clamp(after, before.amount()));
    granted.store(Money::new(before.tag(), kept).0, Ordering::Release);
    before.amount() - kept
}

/// What is committed in the window of a grant; `None` where the word cannot tell: it waits for a recount, or is in a later window.
fn committed(word: &AtomicU64, tag: Tag) -> Option<u64> {
    let money = Money(look(word));
    match money.tag().relation(tag) {
        _ if money.is_frozen() => None,
        Relation::Same => Some(money.amount()),
        Relation::Stale => Some(0),
        Relation::Ahead(_) => None,
    }
}

/// After an admission committed in the window `now`, and a full fence: is it still covered by the grant?
#[must_use]
pub fn confirm_money(granted: &AtomicU64, word: &AtomicU64, now: Tag, cap: u64) -> bool {
    let money = Money(look(word));
    money.tag() != now || money.amount() <= self::cap(granted.load(Ordering::Relaxed), now, cap)
}
