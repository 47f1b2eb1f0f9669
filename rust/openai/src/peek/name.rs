//! What a model's name may consist of.

use std::ops::RangeInclusive;

/// True without control and format characters, separators but the space, and private use: names of
/// models are logged and shown.
pub(super) fn is_printable(name: &str) -> bool {
    name.chars().all(|c| match c {
        ' '..='~' => true,
        '\0'..='\u{a0}' | '\u{ad}' => false,
        _ => !c.is_whitespace() && !FORMAT.iter().any(|range| range.contains(&c)),
    })
}

/// True if two names are one to a reader that ignores case; `known` is lower case. The Kelvin sign
/// and the long s fold to ASCII letters.
pub(super) fn same_folded(name: &str, known: &str) -> bool {
    let folded = name.chars().map(|c| match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        _ => c.to_ascii_lowercase(),
    });
    folded.eq(known.chars())
}

/// Characters of Unicode's categories Cf, Co and Zs above U+00AD, and noncharacters at the end of
/// the basic plane.
const FORMAT: [RangeInclusive<char>; 21] = [
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{e000}'..='\u{f8ff}',
    '\u{fdd0}'..='\u{fdef}',
    '\u{feff}'..='\u{feff}',
    '\u{fff0}'..='\u{fffb}',
    '\u{fffe}'..='\u{ffff}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{10ffff}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_case_are_one() {
        for name in ["Max_Tokens", "MAX_TOKENS", "max_to\u{212a}en\u{17f}", "max_tokens"] {
            assert!(same_folded(name, "max_tokens"), "{name}");
        }
        assert!(!same_folded("max_token", "max_tokens") && !same_folded("maxtokens", "max_tokens"));
    }

    #[test]
    fn a_models_name_is_printable() {
        for name in ["gpt-4o", "a b", "mod\u{e8}le", "\u{6a21}\u{578b}", "\u{1f600}"] {
            assert!(is_printable(name), "{name:?}");
        }
        for name in [
            "a\0b",
            "\u{7f}",
            "a\u{85}",
            "\u{202e}gpt",
            "a\u{200b}",
            "a\u{a0}b",
            "\u{feff}",
            "\u{2028}",
            "\u{e000}",
            "\u{e0041}",
        ] {
            assert!(!is_printable(name), "{name:?}");
        }
    }
}
