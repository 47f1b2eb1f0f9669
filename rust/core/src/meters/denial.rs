//! The bank's last denial, in one word: what need not be asked again for a while.

use crate::sync::{AtomicU64, Ordering};

/// The amount that is denied, and by how much later it fits than it is worth asking again: exact to
/// half a hundredth, the time up to seventeen years of milliseconds.
const NEED: Coarse = Coarse { leading: 8, shift: 6 };
const LATER: Coarse = Coarse { leading: 8, shift: 5 };
/// Above them, when to ask again: the boot clock in milliseconds, up to four years. On a machine
/// that runs for longer, the bank is asked each time.
const UNTIL: u32 = NEED.bits() + LATER.bits();
const MS_MAX: u64 = u64::MAX >> UNTIL;

/// Refuse whatever lacks `need` tokens or more, without asking the bank, until `until_us`. By
/// `fits_us` (not before `until_us`) the tokens are there if nobody else takes them. An `until_us`
/// of 0 refuses nothing.
pub fn deny(word: &AtomicU64, need: u64, until_us: u64, fits_us: u64) {
    let [until_ms, fits_ms] =
        [until_us, until_us.max(fits_us)].map(|us| us.div_ceil(1_000).min(MS_MAX));
    let denied =
        until_ms << UNTIL | coarse(fits_ms - until_ms, LATER) << NEED.bits() | coarse(need, NEED);
    word.store(if until_us == 0 { 0 } else { denied }, Ordering::Relaxed);
}

/// Return the microseconds until `n` tokens more are there if they are still denied; `None` = the
/// bank may be asked. `time_of`: the microseconds in which so many tokens are issued.
#[must_use]
pub fn denied(
    word: &AtomicU64,
    n: u64,
    now_us: u64,
    time_of: impl FnOnce(u64) -> u64,
) -> Option<u64> {
    let word = word.load(Ordering::Relaxed);
    let (need, until_us) = (fine(word, NEED), (word >> UNTIL) * 1_000);
    if until_us <= now_us || n < need {
        return None;
    }
    let later = fine(word >> NEED.bits(), LATER).saturating_mul(1_000);
    Some((until_us - now_us).saturating_add(later).saturating_add(time_of(n - need)))
}

/// Return the smallest amount that was denied.
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

/// Round `n` up to few bits: no more is denied than the bank denied, and nothing is promised too
/// early.
fn coarse(n: u64, form: Coarse) -> u64 {
    let shift = (u64::BITS - n.leading_zeros()).saturating_sub(form.leading);
    let most = (1 << form.shift) - 1;
    if u64::from(shift) > most {
        return (1 << form.bits()) - 1;
    }
    let rounded = (n >> shift) + u64::from(n & ((1 << shift) - 1) != 0);
    // Rounded up to one bit more than there is room for: then its last bit is 0, and the shift, if
    // there is none left, says most.
    match rounded >> form.leading {
        0 => u64::from(shift) << form.leading | rounded,
        _ if u64::from(shift) == most => (1 << form.bits()) - 1,
        _ => u64::from(shift + 1) << form.leading | rounded >> 1,
    }
}

/// Return the number that the low bits of `word` stand for.
fn fine(word: u64, form: Coarse) -> u64 {
    let (shift, bits) =
        (word >> form.leading & ((1 << form.shift) - 1), word & ((1 << form.leading) - 1));
    if u64::from(bits.leading_zeros()) < shift { u64::MAX } else { bits << shift }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NOW: u64 = 5_000_000;

    /// Issue `limit` tokens a minute; 0 = none.
    fn at(limit: u64) -> impl Fn(u64) -> u64 {
        move |n| (n * 60_000_000).checked_div(limit).unwrap_or(0)
    }

    #[test]
    fn a_denial_holds_for_its_time_and_size_and_tells_when_it_fits() {
        let word = AtomicU64::new(0);
        assert_eq!(denied(&word, u64::MAX, 0, at(60)), None);
        deny(&word, 5, NOW + 100_000, NOW + 1_000_000);
        assert_eq!(denied(&word, 4, NOW, at(60)), None);
        assert_eq!(denied(&word, 5, NOW, at(60)), Some(1_000_000));
        assert_eq!(
            denied(&word, 7, NOW, at(60)),
            Some(3_000_000),
            "two more tokens, two more seconds"
        );
        assert_eq!(denied(&word, 5, NOW + 100_000, at(60)), None);
        assert_eq!(denied(&word, 5, NOW + 99_999, at(60)), Some(900_001));
        deny(&word, 5, 0, NOW + 1_000_000);
        assert_eq!(denied(&word, 5, NOW, at(60)), None);
        let day = 86_400_000_000;
        deny(&word, 1, NOW + 1_000, NOW + day);
        let wait = denied(&word, 1, NOW, at(60)).expect("still denied");
        assert!((day..day + day / 128).contains(&wait), "{wait}");
    }

    #[test]
    fn coarse_numbers_round_up() {
        for n in (0..64)
            .flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1])
            .chain([1_023, u64::MAX])
        {
            let back = fine(coarse(n, NEED), NEED);
            assert!(back >= n && back - n <= n / 128, "{n} {back}");
            assert!(n > 255 || back == n);
            assert!(coarse(n, LATER) < 1 << LATER.bits());
        }
        assert_eq!(fine(coarse(u64::MAX, LATER), LATER), 255 << 31);
    }
}
