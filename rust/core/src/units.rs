//! Money, tokens and durations as integers. Arithmetic saturates or is checked, in release builds
//! too.

/// Largest amount a money word can hold, nano-USD: 54 bits, 18.01 million dollars. A cap is at most
/// 10 million.
pub const AMOUNT_MAX: u64 = (1 << 54) - 1;
/// Largest cap of a budget window, nano-USD.
pub const CAP_MAX: u64 = 10_000_000 * 1_000_000_000;
/// Largest limit or burst of a bucket, a minute.
pub const LIMIT_MAX: u64 = 1_000_000_000;
/// Largest number of tokens a reservation or a settlement counts.
pub const TOKENS_MAX: u64 = (1 << 53) - 1;
/// No limit, no cap, no expiry.
pub const NONE: u64 = u64::MAX;

/// Prices of one model: nano-USD per million tokens, and per request or image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    pub input: u64,
    pub cached: u64,
    pub output: u64,
    pub request: u64,
}

impl Price {
    /// Cost in nano-USD, rounded up to the next whole nano-dollar. `cached` is the part of `input`
    /// that was read from a cache.
    #[must_use]
    pub fn cost(&self, input: u64, cached: u64, output: u64, units: u64) -> u64 {
        let cached = cached.min(input);
        let fits = |a: u64, b: u64| a.checked_mul(b);
        // Ordinary requests fit 64 bits; a division of 128 bits by software would cost more than
        // the rest of the decision.
        if let (Some(a), Some(b), Some(c), Some(d)) = (
            fits(input - cached, self.input),
            fits(cached, self.cached),
            fits(output, self.output),
            fits(units, self.request),
        ) && let Some(micro) = a.checked_add(b).and_then(|s| s.checked_add(c))
        {
            return micro.div_ceil(1_000_000).saturating_add(d).min(AMOUNT_MAX);
        }
        let wide = |a: u64, b: u64| u128::from(a).saturating_mul(u128::from(b));
        let micro = wide(input - cached, self.input)
            .saturating_add(wide(cached, self.cached))
            .saturating_add(wide(output, self.output));
        let nano = micro.div_ceil(1_000_000).saturating_add(wide(units, self.request));
        u64::try_from(nano).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX)
    }
}

/// `ceil(bytes / 4)`: the tokens a prompt is taken for before the upstream has counted them.
#[must_use]
pub fn estimate(bytes: u64) -> u64 {
    bytes.div_ceil(4).min(TOKENS_MAX)
}

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

/// A number in decimal.
#[must_use]
pub fn decimal(n: u64) -> Digits {
    let mut text = Digits::EMPTY;
    text.number(n, 1);
    text
}

/// A number of thousandths or smaller parts, with all its `places`: 1,500 in three places is
/// `1.500`.
#[must_use]
pub fn fixed(n: u64, places: u32) -> Digits {
    let unit = 10u64.pow(places);
    let mut text = decimal(n / unit);
    text.push(b".");
    text.number(n % unit, places as usize);
    text
}

/// A duration as Go prints it (`20ms`, `1h2m3.5s`), rounded up to milliseconds: the form of
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
    fn cost_rounds_up_and_saturates() {
        let price =
            Price { input: 150_000_000, cached: 75_000_000, output: 600_000_000, request: 7 };
        assert_eq!(price.cost(1, 0, 0, 0), 150);
        assert_eq!(price.cost(10, 4, 2, 1), 900 + 300 + 1_200 + 7);
        assert_eq!(Price { input: 1, ..Price::default() }.cost(1, 0, 0, 0), 1);
        assert_eq!(price.cost(1, 9, 0, 0), 75, "cached is a part of input");
        let dear = Price { input: u64::MAX, cached: 0, output: u64::MAX, request: u64::MAX };
        assert_eq!(dear.cost(TOKENS_MAX, 0, TOKENS_MAX, u64::MAX), AMOUNT_MAX);
    }

    #[test]
    fn wide_and_narrow_arithmetic_agree_at_the_border() {
        let price = Price { input: 1 << 33, cached: 0, output: 0, request: 0 };
        let tokens = 1 << 30;
        let wide = (u128::from(price.input) * tokens).div_ceil(1_000_000);
        assert_eq!(u128::from(price.cost(tokens as u64, 0, 0, 0)), wide);
    }

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
