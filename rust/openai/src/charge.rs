//! What an ended request is charged. The one home of the rule.

use crate::usage::{Tokens, Usage};

/// How a ticket ended, by the numbers of `types.Outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    Ok = 1,
    UpstreamError = 2,
    ClientGone = 3,
    Timeout = 4,
}

/// Who says how many tokens a request used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Source {
    /// The provider told them.
    Provider = 1,
    /// At least one of input and output is estimated: by the request, by the text of the answer.
    Estimated = 2,
    /// The reservation: nothing is known of the answer.
    Reserved = 3,
}

/// What is known of an answer until it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The last usage that was told.
    pub usage: Option<Usage>,
    /// Bytes of produced text.
    pub produced: u64,
    /// Text was produced after the usage was told.
    pub outran: bool,
}

/// Bytes of text that one token stands for.
const TOKEN_BYTES: u64 = 4;

impl Told {
    /// Find the tokens of input, of cached input and of output to charge, and who says so.
    ///
    /// What is told counts. What is not told is estimated: the input as it was reserved, the output
    /// by the text that was produced. Where an answer went on behind its last usage, or broke off,
    /// that usage bounds the output from below, and an input of 0 is not known yet. An upstream that
    /// failed before it produced anything charges what it tells, or nothing.
    #[must_use]
    pub fn charge(&self, outcome: Outcome, reserved_input: impl Fn() -> u64) -> (Tokens, Source) {
        let text = self.produced.div_ceil(TOKEN_BYTES);
        let failed = matches!(outcome, Outcome::UpstreamError | Outcome::Timeout);
        let nothing = failed && self.produced == 0;
        let Some(told) = self.usage else {
            let tokens = if nothing { (0, 0, 0) } else { (reserved_input(), 0, text) };
            return (tokens, Source::Estimated);
        };
        let partial = !nothing && (self.outran || outcome != Outcome::Ok);
        let mut source = Source::Provider;
        let mut estimate = |tokens| {
            source = Source::Estimated;
            tokens
        };
        let output = match told.output {
            Some(output) if partial && output < text => estimate(text),
            Some(output) => output,
            None => estimate(told.total.map_or(text, |total| text.min(total))),
        };
        let input = match (told.input, told.total) {
            (Some(0), _) if partial => estimate(reserved_input()),
            (Some(input), _) => input,
            (None, Some(total)) if !partial => estimate(total.saturating_sub(output)),
            (None, _) => estimate(reserved_input()),
        };
        ((input, told.cached.min(input), output), source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Outcome; 4] =
        [Outcome::Ok, Outcome::UpstreamError, Outcome::ClientGone, Outcome::Timeout];

    fn told(tokens: Tokens, produced: u64, outran: bool) -> Told {
        Told { usage: Some(Usage::of(tokens)), produced, outran }
    }

    #[test]
    fn what_was_told_is_the_truth() {
        let known = told((5, 1, 6), 400, false);
        assert_eq!(known.charge(Outcome::Ok, || 9), ((5, 1, 6), Source::Provider));
        for outcome in ALL {
            let known = told((5, 1, 6), 24, true);
            assert_eq!(known.charge(outcome, || 9), ((5, 1, 6), Source::Provider));
        }
    }

    #[test]
    fn a_usage_that_is_not_the_last_word_bounds_the_output_from_below() {
        for outcome in &ALL[1..] {
            let known = told((5, 1, 6), 25, false);
            assert_eq!(known.charge(*outcome, || 9), ((5, 1, 7), Source::Estimated));
        }
        let known = told((5, 1, 6), 25, true);
        assert_eq!(known.charge(Outcome::Ok, || 9), ((5, 1, 7), Source::Estimated));
        let early = told((0, 0, 0), 25, true);
        assert_eq!(early.charge(Outcome::ClientGone, || 9), ((9, 0, 7), Source::Estimated));
    }

    #[test]
    fn what_was_produced_is_charged_where_nothing_was_told() {
        let unknown = |produced| Told { produced, ..Told::default() };
        for outcome in ALL {
            assert_eq!(unknown(9).charge(outcome, || 7), ((7, 0, 3), Source::Estimated));
        }
        assert_eq!(unknown(0).charge(Outcome::Ok, || 7).0, (7, 0, 0));
        assert_eq!(unknown(0).charge(Outcome::ClientGone, || 7).0, (7, 0, 0));
        assert_eq!(unknown(0).charge(Outcome::UpstreamError, || 7).0, (0, 0, 0));
        assert_eq!(unknown(0).charge(Outcome::Timeout, || 7).0, (0, 0, 0));
        assert_eq!(told((0, 0, 0), 0, false).charge(Outcome::UpstreamError, || 7).0, (0, 0, 0));
    }

    #[test]
    fn a_part_that_is_not_told_is_estimated_alone() {
        let usage = |usage| Told { usage: Some(usage), produced: 9, outran: false };
        let input = Usage { input: Some(5), ..Usage::default() };
        assert_eq!(usage(input).charge(Outcome::Ok, || 7), ((5, 0, 3), Source::Estimated));
        let output = Usage { output: Some(5), ..Usage::default() };
        assert_eq!(usage(output).charge(Outcome::Ok, || 7), ((7, 0, 5), Source::Estimated));
        let total = Usage { total: Some(5), ..Usage::default() };
        assert_eq!(usage(total).charge(Outcome::Ok, || 7), ((2, 0, 3), Source::Estimated));
        assert_eq!(usage(total).charge(Outcome::ClientGone, || 7), ((7, 0, 3), Source::Estimated));
    }
}
