//! Numbers and durations as text, written without an allocation: the values of headers.

/// Text of at most 47 bytes, written without an allocation: the values of headers.
#[derive(Clone, Copy)]
pub struct Digits {
    bytes: [u8; 47],
    len: u8,
}

impl Digits {
    const EMPTY: Self = Self { bytes: [0; 47], len: 0 };

    fn push(&mut self, text: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + text.len()].copy_from_slice(text);
        self.len += text.len() as u8;
    }

    fn number(&mut self, mut n: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        while n > 0 || at > digits.len() - width {
            at -= 1;
            digits[at] = b'0' + (n % 10) as u8;
            n /= 10;
        }
        self.push(&digits[at..]);
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// Write a number in decimal.
#[must_use]
pub fn decimal(n: u64) -> Digits {
    let mut text = Digits::EMPTY;
    text.number(n, 1);
    text
}

/// Write a number of thousandths or smaller parts, with all its `places`: 1,500 in three places is
/// `1.500`.
#[must_use]
pub fn fixed(n: u64, places: u32) -> Digits {
    let unit = 10u64.pow(places);
    let mut text = decimal(n / unit);
    text.push(b".");
    text.number(n % unit, places as usize);
    text
}

/// Write a duration as Go prints it (`20ms`, `1h2m3.5s`), rounded up to milliseconds: the form of
/// `OpenAI`'s reset headers.
#[must_use]
pub fn go_duration(us: u64) -> Digits {
    let ms = us.div_ceil(1_000);
    let mut text = Digits::EMPTY;
    if (1..1_000).contains(&ms) {
        text.number(ms, 1);
        text.push(b"ms");
        return text;
    }
    let (hours, minutes, seconds, mut fraction) =
        (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    if hours > 0 {
        text.number(hours, 1);
        text.push(b"h");
    }
    if hours > 0 || minutes > 0 {
        text.number(minutes, 1);
        text.push(b"m");
    }
    text.number(seconds, 1);
    if fraction > 0 {
        let mut width = 3;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width -= 1;
        }
        text.push(b".");
        text.number(fraction, width);
    }
    text.push(b"s");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for n in [0, 1, 10, 4_096, u64::MAX] {
            assert_eq!(decimal(n).as_str(), n.to_string());
        }
        assert_eq!(fixed(1_500, 3).as_str(), "1.500");
        assert_eq!(fixed(6_000, 9).as_str(), "0.000006000");
        assert_eq!(fixed(u64::MAX, 9).as_str(), "18446744073.709551615");
        assert!(!go_duration(u64::MAX).as_str().is_empty());
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (us, text) in [
            (0, "0s"),
            (1, "1ms"),
            (20_000, "20ms"),
            (999_001, "1s"),
            (1_500_000, "1.5s"),
            (60_000_000, "1m0s"),
            (360_000_000, "6m0s"),
            (3_723_500_000, "1h2m3.5s"),
            (3_600_000_000, "1h0m0s"),
            (1_001_000, "1.001s"),
            (1_050_000, "1.05s"),
        ] {
            assert_eq!(go_duration(us).as_str(), text, "{us}");
        }
    }
}
