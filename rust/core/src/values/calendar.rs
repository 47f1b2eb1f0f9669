//! Budget windows in UTC, as ordinals that only grow with time, and the nine-bit tags that money
//! words and slots carry.

use crate::sync::{AtomicU64, Ordering};

pub const DAY_MS: u64 = 86_400_000;
/// How many windows a word may be ahead of the wall clock. The rest of the tag's 128 is for words
/// that nobody came to.
pub const AHEAD_MAX: u64 = 31;

/// Length of a budget window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Duration {
    Total = 0,
    Daily = 1,
    Weekly = 2,
    Monthly = 3,
}

impl Duration {
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Total,
            1 => Self::Daily,
            2 => Self::Weekly,
            _ => Self::Monthly,
        }
    }

    /// Return the number of the window in which `wall_ms` (Unix milliseconds) lies: day since 1970,
    /// week (from Monday), month, or 0.
    #[must_use]
    pub fn ordinal(self, wall_ms: u64) -> u64 {
        let day = wall_ms / DAY_MS;
        match self {
            Self::Total => 0,
            Self::Daily => day,
            // 1970-01-01 was a Thursday: day 4 is the first Monday, the start of week 1.
            Self::Weekly => (day + 3) / 7,
            Self::Monthly => month_of(day),
        }
    }

    /// Return the first day (since 1970-01-01) of the window with this number.
    #[must_use]
    pub fn first_day(self, ordinal: u64) -> u64 {
        match self {
            Self::Total => 0,
            Self::Daily => ordinal,
            Self::Weekly => (ordinal * 7).saturating_sub(3),
            Self::Monthly => first_day_of_month(ordinal),
        }
    }

    /// Return the day after the last of the window; a total never ends.
    #[must_use]
    pub fn end_day(self, ordinal: u64) -> u64 {
        match self {
            Self::Total => u64::from(u32::MAX),
            _ => self.first_day(ordinal + 1),
        }
    }
}

/// A window's name in nine bits: two of duration, seven of its ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u16);

/// The windows of one instant under every duration.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    pub at_ms: u64,
    tags: [Tag; 4],
}

impl Windows {
    #[must_use]
    pub fn at(at_ms: u64) -> Self {
        Self::with_month(at_ms, Duration::Monthly.ordinal(at_ms))
    }

    /// Return the windows of a time, as [`Self::at`]. The month, dearest to find, is taken from
    /// `cache` (`day << 32 | month`) while the day is that of the cache.
    #[must_use]
    pub fn cached(at_ms: u64, cache: &AtomicU64) -> Self {
        let (day, seen) = (at_ms / DAY_MS, cache.load(Ordering::Relaxed));
        if seen >> 32 == day && seen != 0 {
            return Self::with_month(at_ms, seen & u64::from(u32::MAX));
        }
        let month = Duration::Monthly.ordinal(at_ms);
        cache.store(day << 32 | month, Ordering::Relaxed);
        Self::with_month(at_ms, month)
    }

    fn with_month(at_ms: u64, month: u64) -> Self {
        let day = at_ms / DAY_MS;
        let ordinals = [
            (Duration::Total, 0),
            (Duration::Daily, day),
            (Duration::Weekly, (day + 3) / 7),
            (Duration::Monthly, month),
        ];
        Self { at_ms, tags: ordinals.map(|(duration, ordinal)| Tag::new(duration, ordinal)) }
    }

    #[must_use]
    pub fn tag(&self, duration: Duration) -> Tag {
        self.tags[duration as usize]
    }
}

/// How a word's window stands to the window of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Same,
    /// The word is this many windows ahead: the wall clock was set back, or another worker's clock
    /// is a little faster.
    Ahead(u64),
    /// The word is of an older window, or of none: it turns.
    Stale,
}

impl Tag {
    #[must_use]
    pub fn new(duration: Duration, ordinal: u64) -> Self {
        Self(((duration as u16) << 7) | (ordinal & 127) as u16)
    }

    #[must_use]
    pub fn at(duration: Duration, wall_ms: u64) -> Self {
        Self::new(duration, duration.ordinal(wall_ms))
    }

    /// Compare `self`, found in a word, with the tag `now`. More than [`AHEAD_MAX`] windows ahead
    /// cannot be told from long ago, and is taken for it.
    #[must_use]
    pub fn relation(self, now: Self) -> Relation {
        if self == now {
            return Relation::Same;
        }
        let same_duration = self.0 >> 7 == now.0 >> 7;
        match u64::from(self.0.wrapping_sub(now.0) & 127) {
            ahead @ 1..=AHEAD_MAX if same_duration => Relation::Ahead(ahead),
            _ => Relation::Stale,
        }
    }
}

/// Compute the months since year 0 of the civil (proleptic Gregorian) date of a day since
/// 1970-01-01. Hinnant, "chrono-compatible date algorithms".
fn month_of(day: u64) -> u64 {
    let z = day + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153; // March = 0
    let year = yoe + era * 400 + u64::from(mp >= 10);
    let month = if mp < 10 { mp + 2 } else { mp - 10 };
    year * 12 + month
}

/// Write a day since 1970-01-01 as ISO 8601 does.
#[must_use]
pub fn date(day: u64) -> String {
    let month = month_of(day);
    let of_month = day - first_day_of_month(month) + 1;
    format!("{:04}-{:02}-{of_month:02}", month / 12, month % 12 + 1)
}

fn first_day_of_month(ordinal: u64) -> u64 {
    let (mut year, month) = (ordinal / 12, ordinal % 12);
    let mp = (month + 10) % 12;
    year -= u64::from(month < 2);
    let era = year / 400;
    let yoe = year % 400;
    let doy = (153 * mp + 2) / 5;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    (era * 146_097 + doe).saturating_sub(719_468)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (day, text) in [
            (0, "1970-01-01"),
            (19_722, "2023-12-31"),
            (19_723, "2024-01-01"),
            (19_782, "2024-02-29"),
        ] {
            assert_eq!(date(day), text);
        }
    }

    fn ms(day: u64) -> u64 {
        day * DAY_MS
    }

    #[test]
    fn windows_turn_at_midnight_monday_and_the_first() {
        // 2026-01-01 is day 20454, a Thursday.
        assert_eq!(Duration::Monthly.ordinal(ms(20_454)), 2026 * 12);
        assert_eq!(Duration::Monthly.ordinal(ms(20_454) - 1), 2025 * 12 + 11);
        assert_eq!(Duration::Daily.ordinal(ms(20_454) - 1), 20_453);
        let monday = 20_458;
        assert_eq!(
            Duration::Weekly.ordinal(ms(monday)),
            Duration::Weekly.ordinal(ms(monday) - 1) + 1
        );
        assert_eq!(Duration::Weekly.first_day(Duration::Weekly.ordinal(ms(monday))), monday);
        assert_eq!(Duration::Total.ordinal(ms(monday)), 0);
    }

    #[test]
    fn every_day_lies_in_its_own_window() {
        for day in (0..80_000).step_by(1) {
            for duration in [Duration::Daily, Duration::Weekly, Duration::Monthly] {
                let ordinal = duration.ordinal(ms(day));
                assert!(
                    duration.first_day(ordinal) <= day && day < duration.end_day(ordinal),
                    "{duration:?} {day}"
                );
            }
        }
    }

    #[test]
    fn windows_of_a_moment_are_those_of_each_duration() {
        let cache = AtomicU64::new(0);
        for day in 0..80_000 {
            let at_ms = ms(day) + day;
            for windows in [Windows::at(at_ms), Windows::cached(at_ms, &cache)] {
                for duration in
                    [Duration::Total, Duration::Daily, Duration::Weekly, Duration::Monthly]
                {
                    let tag = Tag::new(duration, duration.ordinal(at_ms));
                    assert_eq!(windows.tag(duration), tag, "{duration:?} {day}");
                }
            }
        }
    }

    #[test]
    fn a_tag_is_ahead_by_at_most_a_month() {
        let tag = |o| Tag::new(Duration::Daily, o);
        assert_eq!(tag(127).relation(tag(127)), Relation::Same);
        assert_eq!(tag(127 + 31).relation(tag(127)), Relation::Ahead(31));
        assert_eq!(tag(127 + 32).relation(tag(127)), Relation::Stale);
        assert_eq!(tag(126).relation(tag(127)), Relation::Stale);
        assert_eq!(Tag::new(Duration::Weekly, 5).relation(tag(4)), Relation::Stale);
    }
}
