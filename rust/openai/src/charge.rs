//! What an ended request is charged. The one home of the rule.

use crate::usage::Usage;

/// How a ticket ended, by the numbers of `types.Outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    Ok = 1,
    UpstreamError = 2,
    ClientGone = 3,
    Timeout = 4,
}

/// Bytes of text that one token stands for.
const TOKEN_BYTES: u64 = 4;

/// Tokens of input, of cached input and of output that a request is charged.
///
/// Usage that was told is the truth. Where none was told, output is the text that was `produced`,
/// in bytes, and input is `reserved_input`. An upstream that failed before it produced anything
/// charges nothing.
#[must_use]
pub fn charge(
    told: Option<Usage>,
    produced: u64,
    outcome: Outcome,
    reserved_input: impl FnOnce() -> u64,
) -> Usage {
    match told {
        Some(usage) => usage,
        None if produced == 0 && matches!(outcome, Outcome::UpstreamError | Outcome::Timeout) => {
            (0, 0, 0)
        }
        None => (reserved_input(), 0, produced.div_ceil(TOKEN_BYTES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_the_truth() {
        for outcome in [Outcome::Ok, Outcome::UpstreamError, Outcome::ClientGone, Outcome::Timeout]
        {
            assert_eq!(charge(Some((5, 1, 6)), 400, outcome, || 9), (5, 1, 6));
        }
    }

    #[test]
    fn what_was_produced_is_charged_where_nothing_was_told() {
        for outcome in [Outcome::Ok, Outcome::UpstreamError, Outcome::ClientGone, Outcome::Timeout]
        {
            assert_eq!(charge(None, 9, outcome, || 7), (7, 0, 3));
        }
        assert_eq!(charge(None, 0, Outcome::Ok, || 7), (7, 0, 0));
        assert_eq!(charge(None, 0, Outcome::ClientGone, || 7), (7, 0, 0));
        assert_eq!(charge(None, 0, Outcome::UpstreamError, || 7), (0, 0, 0));
        assert_eq!(charge(None, 0, Outcome::Timeout, || 7), (0, 0, 0));
    }
}
