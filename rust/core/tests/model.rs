//! Random histories of one word against a model in big integers, and the promise to the client:
//! I-WINDOW.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use nemorouter_core::{
    bucket::{self, Limit, PERIOD_US},
    calendar::{Duration, Tag},
    money::{self, Money},
    money_grant,
    record::{RECORD_WORDS, Record},
    sync::{AtomicU64, Ordering},
    units::LIMIT_MAX,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take(u64),
    Give(u64),
    Owe(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..PERIOD_US * 2).prop_map(Step::Wait),
        (0u64..50).prop_map(Step::Wait),
        (0u64..200).prop_map(Step::Take),
        (0u64..50).prop_map(Step::Give),
        (0u64..50).prop_map(Step::Owe),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The bucket in big integers: level = tokens · period, full at the start.
struct Model {
    limit: Limit,
    level: i128,
    now: u64,
}

const PERIOD: i128 = PERIOD_US as i128;

impl Model {
    fn full(&self) -> i128 {
        i128::from(self.limit.burst) * PERIOD
    }

    fn wait(&mut self, us: u64) {
        self.now += us;
        self.level = (self.level + i128::from(us) * i128::from(self.limit.limit)).min(self.full());
    }

    fn take(&mut self, n: u64) -> bool {
        let cost = i128::from(n) * PERIOD;
        let fits = cost <= self.level;
        if fits {
            self.level -= cost;
        }
        fits
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_word_agrees_with_big_integers(
        limit in prop_oneof![0u64..100, 1u64..10_000, Just(LIMIT_MAX)],
        burst in 0u64..500,
        start in 0u64..PERIOD_US * 5_000_000,
        steps in steps(),
    ) {
        let limit = Limit { limit, burst };
        let word = AtomicU64::new(0);
        bucket::change(&word, |claimed| Limit::UNLIMITED.convert(claimed, limit, start));
        let mut model = Model { limit, level: i128::from(burst) * PERIOD, now: start };
        // Refunds still due: nobody gives back what was not taken.
        let mut taken = 0;
        for step in steps {
            let now = model.now;
            match step {
                Step::Wait(us) => model.wait(us),
                Step::Take(n) => {
                    let wait = limit.wait(bucket::claimed(&word), n, now);
                    let took = bucket::take(&word, bucket::look(&word), limit, n, now, || true).is_ok();
                    prop_assert_eq!(took, model.take(n));
                    prop_assert_eq!(took, wait == Some(0));
                    taken += if took { n } else { 0 };
                    if let Some(us) = wait.filter(|us| *us > 0) {
                        prop_assert!(limit.decide(bucket::claimed(&word), n, now + us).is_some(), "the promise holds");
                        prop_assert!(limit.decide(bucket::claimed(&word), n, now + us - 1).is_none(), "and is the earliest");
                    }
                }
                Step::Give(n) => {
                    let n = n.min(taken);
                    taken -= n;
                    bucket::give(&word, n);
                    model.level = (model.level + i128::from(n) * PERIOD).min(model.full());
                }
                Step::Owe(n) => {
                    // Debt counts from what is claimed; an idle bucket forgets it, as it forgets
                    // what it cannot hold.
                    let _ = bucket::take(&word, bucket::look(&word), limit, 0, now, || true);
                    bucket::owe(&word, limit, n, now);
                    model.level -= i128::from(n) * PERIOD;
                }
            }
            let tokens = model.level.div_euclid(PERIOD);
            prop_assert_eq!(i128::from(limit.remaining(bucket::claimed(&word), model.now)), tokens);
        }
    }

    #[test]
    fn no_window_admits_more_than_burst_and_refill(
        limit in 1u64..5_000,
        burst in 1u64..500,
        start in 0u64..PERIOD_US * 5_000_000,
        arrivals in proptest::collection::vec((0u64..2_000_000, 1u64..20), 1..200),
    ) {
        let limit = Limit { limit, burst };
        let word = AtomicU64::new(0);
        bucket::change(&word, |claimed| Limit::UNLIMITED.convert(claimed, limit, start));
        let (mut now, mut cost, mut lowest, mut draw_up) = (start, 0i128, i128::MAX, i128::MIN);
        for (gap, n) in arrivals {
            now += gap;
            let refill = i128::from(now) * i128::from(limit.limit);
            lowest = lowest.min(cost - refill);
            if bucket::take(&word, bucket::look(&word), limit, n, now, || true).is_ok() {
                cost += i128::from(n) * PERIOD;
            }
            draw_up = draw_up.max(cost - refill - lowest);
        }
        prop_assert!(draw_up <= i128::from(burst) * PERIOD, "exactly, not to within a token");
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
                    money::correct(&word, || tag, settled, cost);
                    sum = (sum + cost + settled).saturating_sub(cost);
                }
                Err(stop) => prop_assert_eq!(stop, money::Stop::Exceeded(sum)),
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
        let lease = Record(&words).tpm_lease();
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
                        money::correct(&word, || tag, cost, a);
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
                    money_grant::turn(&grant, Tag::new(Duration::Daily, day));
                }
                _ => {}
            }
            prop_assert!(committed <= allowed);
        }
    }
}
