//! Random histories of one word against a model in big integers, and the promise to the client:
//! I-WINDOW.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use nemorouter_core::{
    bucket,
    calendar::{Duration, Tag},
    money::{self, Money},
    money_grant,
    quota::{Counts, Limit, Quota, RATES, Rate},
    record::{RECORD_WORDS, Record},
    sync::{AtomicU64, Ordering},
    verdict::{Code, Deny},
};
use proptest::prelude::*;

const MINUTE: Rate = RATES[0];
const DAY: Rate =
    Rate::new("day", Counts::Tokens, 86_400_000_000, 100_000_000_000, Code::TpmLimitExceeded);

#[derive(Clone, Debug)]
enum Step {
    /// Thousandths of the time in which one token is issued, and microseconds.
    Wait(u64, u64),
    /// Thousandths of the burst, and tokens.
    Take(u64, u64),
    Give(u64),
    Owe(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..200_000u64, 0..50u64).prop_map(|(part, us)| Step::Wait(part, us)),
        (0..2_000u64, 0..3u64).prop_map(|(part, n)| Step::Take(part, n)),
        (0..3u64).prop_map(|n| Step::Take(0, n)),
        (0..1_000u64).prop_map(Step::Give),
        (0..1_500u64).prop_map(Step::Owe),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Limits from none to the largest, a minute and a day; bursts that fit them and that do not.
fn quotas() -> impl Strategy<Value = Quota> {
    prop_oneof![Just(MINUTE), Just(DAY)].prop_flat_map(|rate| {
        let size = || prop_oneof![0..100u64, 1..100_000u64, 1..=rate.most, Just(rate.most)];
        (size(), size()).prop_map(move |(tokens, burst)| rate.quota(Limit { tokens, burst }))
    })
}

/// A word that has been full since `start`.
fn full(quota: Quota, start: u64) -> AtomicU64 {
    let (word, none) = (AtomicU64::new(0), MINUTE.quota(Limit::UNLIMITED));
    let none = Quota { period_us: quota.period_us, grain: quota.grain, ..none };
    bucket::change(&word, |claimed| none.convert(claimed, quota, start));
    word
}

/// The bucket in big integers: level = tokens · period, full at the start.
struct Model {
    quota: Quota,
    level: i128,
    now: u64,
}

impl Model {
    fn period(&self) -> i128 {
        i128::from(self.quota.period_us)
    }

    fn full(&self) -> i128 {
        i128::from(self.quota.burst) * self.period()
    }

    fn wait(&mut self, us: u64) {
        self.now += us;
        let issued = i128::from(us) * i128::from(self.quota.tokens);
        self.level = (self.level + issued).min(self.full());
    }

    fn fits(&self, n: u64) -> bool {
        i128::from(n) * self.period() <= self.level
    }

    fn take(&mut self, n: u64) {
        self.level -= i128::from(n) * self.period();
    }

    fn give(&mut self, n: u64) {
        self.level = (self.level + i128::from(n) * self.period()).min(self.full());
    }

    fn tokens(&self) -> i128 {
        self.level.div_euclid(self.period())
    }
}

/// Years of uptime in microseconds.
const UPTIME: u64 = 86_400_000_000 * 3_650;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// The word never gives what big integers would not. Where nothing is rounded it gives exactly
    /// as much; elsewhere it is behind by less than a token for the fraction of a second in which
    /// two units are issued.
    #[test]
    fn a_word_agrees_with_big_integers(quota in quotas(), start in 0..UPTIME, steps in steps()) {
        let word = full(quota, start);
        let mut model = Model { quota, level: 0, now: start };
        model.level = model.full();
        let exact = quota.grain == 0;
        let token_us = quota.period_us / quota.tokens.max(1);
        // Refunds still due: nobody gives back what was not taken.
        let mut taken = 0;
        for step in steps {
            let now = model.now;
            match step {
                Step::Wait(part, us) => model.wait(token_us / 1_000 * part + us),
                Step::Take(part, n) => {
                    let n = quota.burst / 1_000 * part + n;
                    let wait = quota.wait(bucket::claimed(&word), n, now);
                    let took = bucket::take(&word, bucket::look(&word), quota, n, now, || true).is_ok();
                    prop_assert!(!took || model.fits(n), "never more than was issued");
                    prop_assert!(took || !exact || !model.fits(n), "and no less");
                    prop_assert_eq!(took, wait == Some(0));
                    if took {
                        model.take(n);
                        taken += n;
                    }
                    // A wait beyond 100,000 years is cut off.
                    if let Some(us) = wait.filter(|us| (1..1 << 62).contains(us)) {
                        let fits = |us| quota.decide(bucket::claimed(&word), n, now + us).is_some();
                        prop_assert!(fits(us), "the promise holds");
                        prop_assert!(!fits(us - 1), "and is the earliest");
                        let issued = i128::from(us) * i128::from(quota.tokens);
                        let missing = i128::from(n) * model.period() - model.level;
                        prop_assert!(issued >= missing, "never before the tokens are there");
                        let most = (2 << quota.grain) + i128::from(quota.tokens);
                        prop_assert!(issued - missing <= most, "two units and a microsecond late at most");
                    }
                }
                Step::Give(part) => {
                    let n = taken / 1_000 * part + taken.min(part);
                    let n = n.min(taken);
                    taken -= n;
                    bucket::give(&word, quota, n);
                    model.give(n);
                }
                Step::Owe(part) => {
                    let n = (quota.burst / 1_000 * part + part).min(10_000_000);
                    // Debt counts from what is claimed; an idle bucket forgets it, as it forgets
                    // what it cannot hold.
                    let _ = bucket::take(&word, bucket::look(&word), quota, 0, now, || true);
                    bucket::owe(&word, quota, n, now);
                    model.take(n);
                }
            }
            let remaining = i128::from(quota.remaining(bucket::claimed(&word), model.now));
            prop_assert!(remaining <= model.tokens(), "never overstated");
            prop_assert!(remaining >= model.tokens() - i128::from(!exact));
        }
    }

    /// Change the rate and the burst under a used bucket: it has used as much as before.
    #[test]
    fn a_changed_rate_keeps_what_is_used(
        from in quotas(),
        tokens in 1..1_000_000u64,
        start in 0..UPTIME,
        part in 0..=1_000u64,
    ) {
        let to = Quota { tokens, burst: from.burst, ..from };
        let word = full(from, start);
        let n = from.burst / 1_000 * part;
        let _ = bucket::take(&word, bucket::look(&word), from, n, start, || true);
        let before = from.remaining(bucket::claimed(&word), start);
        bucket::change(&word, |claimed| from.convert(claimed, to, start));
        let after = to.remaining(bucket::claimed(&word), start);
        prop_assert!(after <= before && after >= before - i64::from(from.grain > 0));
    }

    /// The promise of a limit (I-WIN), in O(n) for all windows at once.
    #[test]
    fn no_window_admits_more_than_burst_and_refill(
        quota in quotas(),
        start in 0..UPTIME,
        arrivals in proptest::collection::vec((0u64..100_000, 0u64..3, 1u64..1_200), 1..200),
    ) {
        let word = full(quota, start);
        let token_us = quota.period_us / quota.tokens.max(1);
        let (mut now, mut cost, mut lowest, mut draw_up) = (start, 0i128, i128::MAX, i128::MIN);
        for (gap, us, part) in arrivals {
            now += token_us / 1_000 * gap + us;
            let n = (quota.burst / 1_000 * part).max(part % 7);
            let refill = i128::from(now) * i128::from(quota.tokens);
            lowest = lowest.min(cost - refill);
            if bucket::take(&word, bucket::look(&word), quota, n, now, || true).is_ok() {
                cost += i128::from(n) * i128::from(quota.period_us);
            }
            draw_up = draw_up.max(cost - refill - lowest);
        }
        let most = i128::from(quota.burst) * i128::from(quota.period_us);
        prop_assert!(draw_up <= most, "exactly, not to within a token");
    }

    /// A client that takes whatever is there gets all that was issued.
    #[test]
    fn a_busy_bucket_issues_its_whole_rate(
        quota in quotas(),
        start in 0..UPTIME,
        looks in 1u64..200,
    ) {
        prop_assume!(quota.tokens > 0 && quota.burst > 1_000);
        let (word, mut got) = (full(quota, start), 0i128);
        // Looks so often that nothing is lost to a full bucket.
        let gap = (quota.period_us / quota.tokens + 1).saturating_mul(quota.burst / 2_000);
        prop_assume!(gap > 0 && gap < 1 << 44);
        let mut now = start;
        for _ in 0..looks {
            now += gap;
            let n = quota.remaining(bucket::claimed(&word), now);
            if n > 0 {
                let n = n.unsigned_abs();
                prop_assert!(bucket::take(&word, bucket::look(&word), quota, n, now, || true).is_ok());
                got += i128::from(n);
            }
        }
        let after_first = i128::from(gap) * i128::from(looks - 1);
        let issued = after_first * i128::from(quota.tokens) / i128::from(quota.period_us);
        prop_assert!(got >= i128::from(quota.burst) + issued - 2, "{got}");
    }

    #[test]
    fn committed_is_the_sum_of_what_was_given(
        cap in 0u64..1_000,
        costs in proptest::collection::vec((0u64..200, 0u64..3, 0u64..300), 1..100),
    ) {
        let (word, mut day, mut sum) = (AtomicU64::new(0), 20_000, 0u64);
        for (cost, turn, settled) in costs {
            day += turn / 2;
            sum = if turn / 2 == 1 { 0 } else { sum };
            let tag = Tag::new(Duration::Daily, day);
            match money::commit(&word, money::look(&word), tag, cost, cap, || true) {
                Ok(()) => {
                    prop_assert!(sum + cost <= cap);
                    money::reconcile(&word, || tag, settled, cost);
                    sum = (sum + cost + settled).saturating_sub(cost);
                }
                Err(deny) => prop_assert_eq!(deny, Deny::Insufficient(sum)),
            }
            prop_assert_eq!(Money(word.load(Ordering::Relaxed)).committed(tag), sum);
        }
    }

    /// Whatever the order: granted = claimed + left, every token that was claimed went one way, and
    /// nothing is spent after the end.
    #[test]
    fn a_lease_loses_and_makes_no_token(
        steps in proptest::collection::vec((0u8..7, 0u64..40), 1..120),
    ) {
        let words: [AtomicU64; RECORD_WORDS] = std::array::from_fn(|_| AtomicU64::new(0));
        let lease = Record(&words).lease(1);
        let (mut now, mut until, mut granted, mut claimed, mut returned) = (1u64, 0, 0u64, 0u64, 0u64);
        for (step, n) in steps {
            let left = granted.saturating_sub(claimed);
            match step {
                0 => {
                    granted = granted.max(claimed) + n;
                    until = now + 50;
                    lease.grant(granted, until, 0);
                }
                1 | 2 => {
                    let took = lease.take(lease.look(), n, now).is_some();
                    prop_assert_eq!(took, now < until && claimed <= granted && n <= left);
                    claimed += if took { n } else { 0 };
                }
                3 => {
                    lease.give(n);
                    returned += n;
                }
                4 => {
                    lease.owe(n);
                    claimed += n;
                }
                5 => {
                    let back = lease.withdraw(n);
                    prop_assert_eq!(back, n.min(left));
                    (claimed, returned) = (claimed + back, returned + back);
                }
                _ if n < 5 => {
                    prop_assert_eq!(lease.void(), left);
                    (claimed, until) = (claimed + left, 0);
                }
                _ => now += n,
            }
            let look = lease.look();
            prop_assert_eq!((look.granted, look.claimed, look.until), (granted, claimed, until));
            prop_assert_eq!(lease.returned.load(Ordering::Relaxed), returned);
        }
    }

    /// What is committed stays below the grant but for overruns, and what is withdrawn is exactly
    /// what the grant falls by.
    #[test]
    fn committed_stays_within_the_grant(
        steps in proptest::collection::vec((0u8..5, 0u64..60, 0u64..60), 1..100),
    ) {
        let [word, grant] = [AtomicU64::new(0), AtomicU64::new(0)];
        let (mut day, mut allowed, mut committed) = (20_000, 0u64, 0u64);
        for (step, a, b) in steps {
            let tag = Tag::new(Duration::Daily, day);
            match step {
                0 => {
                    money_grant::grant(&grant, tag, allowed + a);
                    allowed += a;
                }
                1 | 2 => {
                    let cap = money_grant::cap(grant.load(Ordering::Relaxed), tag, 1_000_000);
                    let took = money::commit(&word, money::look(&word), tag, a, cap, || true).is_ok();
                    prop_assert_eq!(took, committed + a <= allowed);
                    if took {
                        prop_assert!(money_grant::confirm(&grant, &word, tag, 1_000_000));
                        let cost = b.min(a);
                        money::reconcile(&word, || tag, cost, a);
                        committed += cost;
                    }
                }
                3 => {
                    let back = money_grant::withdraw(&grant, &word, a);
                    prop_assert_eq!(back, a.min(allowed - committed));
                    allowed -= back;
                }
                _ if a < 5 => {
                    day += 1;
                    (allowed, committed) = (0, 0);
                    money_grant::roll_over(&grant, Tag::new(Duration::Daily, day));
                }
                _ => {}
            }
            prop_assert!(committed <= allowed);
        }
    }
}
