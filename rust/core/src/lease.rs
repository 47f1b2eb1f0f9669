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
    bucket::{Limit, PERIOD_US},
    calendar::{Relation, Tag},
    money::{Money, look},
    sync::{AtomicU64, Ordering, fence},
    units::NONE,
};

/// Most tokens that one settlement can owe: what is claimed stays within 2⁵³, which every bank can count.
const DEBT_MAX: u64 = 1 << 36;
/// What is denied, and by how much later it fits than it is worth asking again: exact to half a hundredth, up to two hours.
const NEED: Coarse = Coarse { leading: 8, shift: 6 };
const LATER: Coarse = Coarse { leading: 8, shift: 4 };
/// Above them, when to ask: the boot clock in milliseconds, eight years.
const UNTIL: u32 = NEED.bits() + LATER.bits();
const MS_MAX: u64 = u64::MAX >> UNTIL;

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
        denied(self.deny, n, limit.limit, now_us).map_or(Answer::Short, |wait| Answer::Denied(Some(wait)))
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
        self.deny.store(0, Ordering::Relaxed);
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

/// Until `until_us`, who needs `need` units or more and does not fit is refused without asking; by `fits_us` (not before `until_us`)
/// they are there if nobody else takes them. Until 0: nobody is refused.
pub fn deny(word: &AtomicU64, need: u64, until_us: u64, fits_us: u64) {
    let [until_ms, fits_ms] = [until_us, until_us.max(fits_us)].map(|us| us.div_ceil(1_000).min(MS_MAX));
    let denied = until_ms << UNTIL | coarse(fits_ms - until_ms, LATER) << NEED.bits() | coarse(need, NEED);
    word.store(if until_us == 0 { 0 } else { denied }, Ordering::Relaxed);
}

/// Microseconds until `n` units fit if they are still denied; `None` = the bank may be asked. `limit`: tokens a minute.
#[must_use]
pub fn denied(word: &AtomicU64, n: u64, limit: u64, now_us: u64) -> Option<u64> {
    let word = word.load(Ordering::Relaxed);
    let (need, until_us) = (fine(word, NEED), (word >> UNTIL) * 1_000);
    let more = n.saturating_sub(need).saturating_mul(PERIOD_US).checked_div(limit).unwrap_or(0);
    (until_us > now_us && n >= need).then(|| until_us - now_us + fine(word >> NEED.bits(), LATER) * 1_000 + more)
}

/// The smallest amount of money that was denied.
#[must_use]
pub fn denied_from(word: &AtomicU64) -> u64 {
    fine(word.load(Ordering::Relaxed), NEED)
}

/// A number as a few leading bits and a shift.
#[derive(Clone, Copy)]
struct Coarse {
    leading: u32,
    shift: u32,
}

impl Coarse {
    const fn bits(self) -> u32 {
        self.leading + self.shift
    }
}

/// `n` in few bits, rounded up: no more is denied than was said, and what is promised is not too early.
fn coarse(n: u64, form: Coarse) -> u64 {
    let shift = (u64::BITS - n.leading_zeros()).saturating_sub(form.leading);
    let most = (1 << form.shift) - 1;
    if u64::from(shift) > most {
        return (1 << form.bits()) - 1;
    }
    let rounded = (n >> shift) + u64::from(n & ((1 << shift) - 1) != 0);
    // Rounded up to one bit more than there is room for: then its last bit is 0, and the shift, if there is none left, says most.
    match rounded >> form.leading {
        0 => u64::from(shift) << form.leading | rounded,
        _ if u64::from(shift) == most => (1 << form.bits()) - 1,
        _ => u64::from(shift + 1) << form.leading | rounded >> 1,
    }
}

/// The number that the low bits of `word` stand for.
fn fine(word: u64, form: Coarse) -> u64 {
    let (shift, bits) = (word >> form.leading & ((1 << form.shift) - 1), word & ((1 << form.leading) - 1));
    if u64::from(bits.leading_zeros()) < shift { u64::MAX } else { bits << shift }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        calendar::Duration,
        record::{RECORD_WORDS, Record},
    };

    const NOW: u64 = 5_000_000;
    const LIMIT: Limit = Limit { limit: 60, burst: 60 };

    fn words() -> [AtomicU64; RECORD_WORDS] {
        std::array::from_fn(|_| AtomicU64::new(0))
    }

    fn take(lease: Lease, n: u64, now_us: u64) -> Option<bool> {
        lease.take(lease.look(), n, now_us)
    }

    #[test]
    fn nothing_is_spent_that_was_not_granted_or_that_ran_out() {
        let words = words();
        let lease = Record(&words).rpm_lease();
        assert_eq!(lease.answer(lease.look(), LIMIT, 1, NOW), Answer::Short);
        assert_eq!(take(lease, 1, NOW), None);
        lease.grant(3, NOW + 10, 50);
        assert_eq!((take(lease, 2, NOW), take(lease, 2, NOW)), (Some(false), None));
        assert_eq!(lease.remaining(LIMIT, NOW), 51);
        assert_eq!(take(lease, 1, NOW + 10), None, "at the end it is over");
        assert_eq!(lease.remaining(LIMIT, NOW + 10), 0);
        lease.grant(2, NOW + 20, 0);
        assert_eq!(lease.look().granted, 3, "a late reply takes nothing back");
    }

    #[test]
    fn what_can_never_fit_is_refused_without_a_bank() {
        let words = words();
        let lease = Record(&words).rpm_lease();
        let answer = |limit, n| lease.answer(lease.look(), limit, n, NOW);
        assert_eq!(answer(LIMIT, 61), Answer::Denied(None));
        assert_eq!(answer(Limit { limit: 0, burst: 5 }, 1), Answer::Denied(None));
    }

    #[test]
    fn low_water_is_told_once() {
        let words = words();
        let lease = Record(&words).tpm_lease();
        lease.grant(100, NOW + 10, 0);
        let told: Vec<_> = (0..100).filter(|_| take(lease, 1, NOW) == Some(true)).collect();
        assert_eq!(told, [74], "when 25 are left");
        lease.grant(103, NOW + 10, 0);
        assert!((0..3).all(|_| take(lease, 1, NOW) == Some(false)), "not of a grant of a few");
    }

    #[test]
    fn debt_is_granted_before_anything_else() {
        let words = words();
        let lease = Record(&words).tpm_lease();
        lease.grant(10, NOW + 10, 7);
        lease.owe(15);
        assert_eq!((lease.look().left(), lease.remaining(LIMIT, NOW)), (-5, 2));
        assert_eq!((lease.withdraw(9), lease.void()), (0, 0));
        lease.grant(16, NOW + 10, 0);
        assert_eq!((take(lease, 1, NOW), take(lease, 1, NOW)), (Some(false), None));
    }

    #[test]
    fn what_is_withdrawn_or_void_is_gone() {
        let words = words();
        let lease = Record(&words).rpm_lease();
        let returned = || lease.returned.load(Ordering::Relaxed);
        lease.grant(10, NOW + 10, 0);
        assert_eq!((lease.withdraw(4), lease.look().left(), returned()), (4, 6, 4));
        assert_eq!((lease.void(), lease.look().left(), returned()), (6, 0, 4));
        assert_eq!(lease.look().until, 0);
        lease.give(1);
        assert_eq!((take(lease, 1, NOW), returned()), (None, 5), "a refund goes to the bank");
    }

    #[test]
    fn a_denial_holds_for_its_time_and_size_and_tells_when_it_fits() {
        let word = AtomicU64::new(0);
        assert_eq!(denied(&word, u64::MAX, 60, 0), None);
        deny(&word, 5, NOW + 100_000, NOW + 1_000_000);
        assert_eq!(denied(&word, 4, 60, NOW), None);
        assert_eq!(denied(&word, 5, 60, NOW), Some(1_000_000));
        assert_eq!(denied(&word, 7, 60, NOW), Some(3_000_000), "two more tokens, two more seconds");
        assert_eq!(denied(&word, 5, 60, NOW + 100_000), None);
        assert_eq!(denied(&word, 5, 60, NOW + 99_999), Some(900_001));
        deny(&word, 5, 0, NOW + 1_000_000);
        assert_eq!(denied(&word, 5, 60, NOW), None);
    }

    #[test]
    fn coarse_numbers_round_up() {
        for n in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([1_023, u64::MAX]) {
            let back = fine(coarse(n, NEED), NEED);
            assert!(back >= n && back - n <= n / 128, "{n} {back}");
            assert!(n > 255 || back == n);
            assert!(coarse(n, LATER) < 1 << LATER.bits());
        }
        assert_eq!(fine(coarse(u64::MAX, LATER), LATER), 255 << 15);
    }

    #[test]
    fn a_grant_of_money_is_for_its_window() {
        let [granted, word] = [AtomicU64::new(0), AtomicU64::new(0)];
        let day = |n| Tag::new(Duration::Daily, n);
        grant_money(&granted, day(10), 70);
        let cap_of = |tag, limit| cap(granted.load(Ordering::Relaxed), tag, limit);
        assert_eq!(
            [cap_of(day(10), 100), cap_of(day(10), 50), cap_of(day(11), 100), cap_of(day(9), NONE)],
            [70, 50, 0, NONE]
        );
        grant_money(&granted, day(9), 90);
        grant_money(&granted, day(10), 60);
        assert_eq!(cap_of(day(10), 100), 70, "neither a late reply nor an earlier window");
        word.store(Money::new(day(10), 30).0, Ordering::Relaxed);
        assert_eq!((withdraw_money(&granted, &word, 15), withdraw_money(&granted, &word, 99)), (15, 25));
        assert_eq!((cap_of(day(10), 100), withdraw_money(&granted, &word, 1)), (30, 0));
        word.store(Money::new(day(11), 5).0, Ordering::Relaxed);
        grant_money(&granted, day(10), 80);
        assert_eq!(
            withdraw_money(&granted, &word, 99),
            0,
            "what was spent in a window that is over only the ledger knows"
        );
        turn_money(&granted, day(10));
        assert_ne!(granted.load(Ordering::Relaxed), 0);
        turn_money(&granted, day(11));
        assert_eq!(granted.load(Ordering::Relaxed), 0);
    }
}
