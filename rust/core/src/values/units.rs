//! Money, tokens and durations as integers. Arithmetic saturates or is checked, in release builds
//! too.

// The old path of these, until the binding no longer names it.
pub use super::numbers::{Digits, decimal, fixed, go_duration};

/// Largest amount a money word can hold, nano-USD: 54 bits, 18.01 million dollars. A cap is at most
/// 10 million.
pub const AMOUNT_MAX: u64 = (1 << 54) - 1;
/// Largest cap of a budget window, nano-USD.
pub const CAP_MAX: u64 = 10_000_000 * 1_000_000_000;
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
    /// Compute the cost in nano-USD, rounded up to the next whole nano-dollar. `cached` is the part
    /// of `input` that was read from a cache.
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

/// What is known of a model: its price, if it has one, and what to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub price: Option<Price>,
    /// Output tokens reserved when the client states no maximum.
    pub max_output: u64,
}

impl Known {
    /// A model without a row.
    pub const UNKNOWN: Self = Self { price: None, max_output: 4_096 };
}

/// Estimate the tokens of a prompt before the upstream has counted them: `ceil(bytes / 4)`.
#[must_use]
pub fn estimate(bytes: u64) -> u64 {
    bytes.div_ceil(4).min(TOKENS_MAX)
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
}
