//! Which upstream serves a model: exact names first, then the longest prefix.
//!
//! Fixed at the start; clients choose nothing.

use std::collections::HashMap;

/// The upstreams' patterns, each with the upstream's number in the journal.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: HashMap<String, u8>,
    /// The longest first.
    prefixes: Vec<(String, u8)>,
}

impl Routes {
    /// `table` holds the patterns of each upstream in the order of the settings: a name, or a
    /// prefix with a star behind it. Earlier upstreams win where patterns are equal.
    #[must_use]
    pub fn new(table: &[Vec<String>]) -> Self {
        let mut routes = Self::default();
        for (number, patterns) in (0_u8..).zip(table) {
            for pattern in patterns {
                match pattern.strip_suffix('*') {
                    None => _ = routes.exact.entry(pattern.clone()).or_insert(number),
                    Some(prefix) if routes.prefixes.iter().any(|(known, _)| known == prefix) => {}
                    Some(prefix) => routes.prefixes.push((prefix.to_owned(), number)),
                }
            }
        }
        routes.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        routes
    }

    /// The number of the upstream that serves a model. Nobody serves a name that holds a key: names
    /// of models are logged.
    #[must_use]
    pub fn resolve(&self, model: &str) -> Option<u8> {
        if model.contains("k-nemo-") {
            return None;
        }
        let prefixed = || self.prefixes.iter().find(|(prefix, _)| model.starts_with(prefix));
        self.exact.get(model).copied().or_else(|| prefixed().map(|(_, number)| *number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_then_the_longest_prefix() {
        let table = [
            vec!["gpt-*".to_owned(), "a".to_owned()],
            vec!["gpt-4*".into(), "a".into(), "gpt-4o".into()],
        ];
        let routes = Routes::new(&table);
        for (model, number) in [
            ("gpt-5", Some(0)),
            ("gpt-4", Some(1)),
            ("gpt-4o", Some(1)),
            ("a", Some(0)),
            ("b", None),
            ("gpt-sk-nemo-1", None),
        ] {
            assert_eq!(routes.resolve(model), number, "{model}");
        }
        assert_eq!(Routes::new(&[vec!["*".to_owned()]]).resolve("any"), Some(0));
    }
}
