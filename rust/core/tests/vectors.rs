//! The vectors that Python's reference reads too: one file, two implementations.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use nemorouter_core::{
    bucket,
    calendar::Duration,
    credential::{Credential, parse},
    digest::Pepper,
    numbers::go_duration,
    quota::{Limit, RATES},
    sync::AtomicU64,
    units::Price,
};
use serde_json::Value;

fn vectors(section: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/vectors.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rows = all[section].as_array().unwrap().clone();
    assert!(!rows.is_empty());
    rows
}

fn number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().unwrap_or_else(|| panic!("{field} of {row}"))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn digests() {
    for row in vectors("digests") {
        let pepper = Pepper::new(1, hex(row["pepper_hex"].as_str().unwrap()).try_into().unwrap());
        let digest = pepper.hash(row["key"].as_str().unwrap().as_bytes());
        assert_eq!(digest.to_hex().as_str(), row["digest_hex"].as_str().unwrap());
    }
}

#[test]
fn authorization() {
    for row in vectors("authorization") {
        let value = row["value"].as_str().unwrap();
        let key = match parse(value.as_bytes()) {
            Credential::Key(key) => Some(String::from_utf8_lossy(key).into_owned()),
            Credential::Missing | Credential::Malformed => None,
        };
        assert_eq!(key.as_deref(), row["key"].as_str(), "{value:?}");
    }
}

#[test]
fn costs() {
    for row in vectors("costs") {
        let p = &row["price"];
        let input = number(p, "input");
        let price = Price {
            input,
            cached: p["cached"].as_u64().unwrap_or(input),
            output: number(p, "output"),
            request: number(p, "request"),
        };
        let cost = price.cost(
            number(&row, "input"),
            number(&row, "cached"),
            number(&row, "output"),
            number(&row, "units"),
        );
        assert_eq!(cost, number(&row, "nano"), "{row}");
    }
}

#[test]
fn windows() {
    for row in vectors("windows") {
        let ms = number(&row, "wall_ms");
        for (duration, name) in [
            (Duration::Daily, "daily"),
            (Duration::Weekly, "weekly"),
            (Duration::Monthly, "monthly"),
        ] {
            assert_eq!(duration.ordinal(ms), number(&row, name), "{name} {row}");
        }
    }
}

#[test]
fn durations() {
    for row in vectors("durations") {
        assert_eq!(go_duration(number(&row, "us")).as_str(), row["text"].as_str().unwrap());
    }
}

#[test]
fn buckets() {
    for row in vectors("buckets") {
        let name = row["rate"].as_str().unwrap();
        let rate = RATES.iter().find(|rate| rate.name == name).unwrap();
        let limit = Limit { tokens: number(&row, "limit"), burst: number(&row, "burst") };
        let quota = rate.quota(limit);
        let word = AtomicU64::new(0);
        for step in row["steps"].as_array().unwrap() {
            let n = step["n"].as_u64().unwrap_or(0);
            let now = step["at_us"].as_u64().unwrap_or(0);
            let claimed = bucket::claimed(&word);
            match step["op"].as_str().unwrap() {
                "take" => {
                    let took =
                        bucket::take(&word, bucket::look(&word), quota, n, now, || true).is_ok();
                    assert_eq!(took, step["ok"].as_bool().unwrap(), "{step}");
                }
                "give" => bucket::give(&word, quota, n),
                "owe" => bucket::owe(&word, quota, n, now),
                "wait" => assert_eq!(quota.wait(claimed, n, now), step["us"].as_u64(), "{step}"),
                "remaining" => assert_eq!(
                    quota.remaining(claimed, now),
                    step["tokens"].as_i64().unwrap(),
                    "{step}"
                ),
                "full" => assert_eq!(quota.full_in(claimed, now), number(step, "us"), "{step}"),
                other => panic!("no such step: {other}"),
            }
        }
    }
}
