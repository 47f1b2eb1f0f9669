//! What providers really send, as data: `tests/data/traffic`, which its README explains. Every
//! shape that is an answer alone passes the reader or the scanner as the client shall see it, and is
//! charged as it says, wherever its bytes are cut. `make traffic` plays all shapes on real servers.

use std::{convert::Infallible, fs, path::Path};

use nemorouter_openai::{
    answer,
    charge::{Outcome, Source, Told},
    sse::{Scanner, Shown},
    usage::Tokens,
};
use serde::Deserialize;

/// The estimate of every request's input.
const INPUT: u64 = 24;
/// Bytes of a stream that is tried with every cut.
const SMALL: usize = 4096;
/// Bytes of an event that is not kept.
const LONGEST: usize = 8 * 1024 * 1024;
const COST: &str = "0.1";

#[derive(Deserialize)]
struct Shape {
    #[serde(default = "chat")]
    path: String,
    answer: Sent,
    expect: Expect,
}

/// True for a shape that is a whole answer and nothing else: neither the client's request nor the
/// transfer of the answer is odd.
fn is_plain(shape: &toml::Table) -> bool {
    let Some(answer) = shape.get("answer").and_then(toml::Value::as_table) else { return false };
    let steps = answer.get("send").and_then(toml::Value::as_array).into_iter().flatten();
    let headers = answer.get("headers").and_then(toml::Value::as_table);
    let kind = headers.and_then(|headers| headers.get("content-type"));
    let kind = kind.and_then(toml::Value::as_str).unwrap_or("");
    !["request", "key", "price"].iter().any(|name| shape.contains_key(*name))
        && answer.keys().all(|name| name == "headers" || name == "send")
        && steps.into_iter().all(|step| step.get("cut").is_none())
        && (kind == "text/event-stream" || kind == kind.to_lowercase() && kind.contains('/'))
}

#[derive(Deserialize)]
struct Sent {
    headers: toml::Table,
    #[serde(default)]
    send: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    text: String,
    #[serde(default = "once")]
    times: usize,
    /// A client that asked for no usage does not get it.
    #[serde(default)]
    hidden: bool,
    /// The client leaves here.
    #[serde(default)]
    leave: bool,
}

#[derive(Deserialize)]
struct Expect {
    tokens: [u64; 3],
    #[serde(default)]
    usage: toml::Table,
    #[serde(default = "provider")]
    source: String,
    #[serde(default = "ok")]
    outcome: String,
}

fn chat() -> String {
    "chat/completions".to_owned()
}

fn once() -> usize {
    1
}

fn provider() -> String {
    "provider".to_owned()
}

fn ok() -> String {
    "ok".to_owned()
}

impl Shape {
    /// The bytes that the provider sends until the client leaves, with what stands in the place of
    /// the cost.
    fn sent(&self, cost: &str, hidden: bool) -> Vec<u8> {
        let steps = self.answer.send.iter().take_while(|step| !step.leave);
        steps
            .filter(|step| hidden || !step.hidden)
            .map(|step| step.text.replace("<cost>", cost).repeat(step.times))
            .collect::<String>()
            .into_bytes()
    }

    fn is_stream(&self) -> bool {
        self.answer.headers["content-type"].as_str() == Some("text/event-stream")
    }
}

/// A stream's end: what the client got, and what is charged.
#[derive(Debug, PartialEq)]
struct End {
    shown: Vec<u8>,
    told: Told,
    charge: (Tokens, Source),
    outcome: Outcome,
}

/// Every stream's chunks, to its end, or until the client leaves.
fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, strip: bool, leaves: bool) -> End {
    let mut scanner = Scanner::new(strip);
    let mut bills = Vec::new();
    let mut bill = |told: Told| {
        bills.push(told);
        Ok::<_, Infallible>(Some(COST.to_owned()))
    };
    let mut shown = Vec::new();
    for chunk in chunks {
        let Ok(fed) = scanner.feed(chunk, &mut bill);
        match fed {
            Shown::Same => shown.extend_from_slice(chunk),
            Shown::Other(bytes) => shown.extend_from_slice(&bytes),
        }
    }
    if !leaves {
        let Ok(left) = scanner.flush(&mut bill);
        shown.extend_from_slice(&left);
    }
    let outcome = match (scanner.failed, leaves && !scanner.done) {
        (true, _) => Outcome::UpstreamError,
        (_, true) => Outcome::ClientGone,
        _ => Outcome::Ok,
    };
    if let [told] = bills[..] {
        let settled = told.charge(Outcome::Ok, || INPUT);
        assert_eq!(settled, scanner.told.charge(Outcome::Ok, || INPUT), "the cost is the last one");
    }
    assert!(bills.len() <= 1);
    End { shown, told: scanner.told, charge: scanner.told.charge(outcome, || INPUT), outcome }
}

/// The shapes of a file: one, or what each `[[shape]]` adds to what they have in common.
fn read(path: &Path) -> Vec<(String, toml::Table)> {
    let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let text = fs::read_to_string(path).expect("a text");
    let mut common: toml::Table =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{stem}: {error}"));
    let Some(toml::Value::Array(many)) = common.remove("shape") else {
        return vec![(stem, common)];
    };
    let of = |one: toml::Value| {
        let mut shape = common.clone();
        shape.extend(one.as_table().expect("a shape").clone());
        let name = shape.remove("name").expect("a name");
        (format!("{stem}-{}", name.as_str().expect("a text")), shape)
    };
    many.into_iter().map(of).collect()
}

fn shapes() -> Vec<(String, Shape)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/traffic");
    let mut shapes: Vec<_> = fs::read_dir(folder)
        .expect("the folder of shapes")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .flat_map(|path| read(&path))
        .filter(|(_, shape)| is_plain(shape))
        .map(|(name, shape)| {
            let shape = shape.try_into().unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, shape)
        })
        .collect();
    shapes.sort_by(|(a, _), (b, _)| a.cmp(b));
    shapes
}

fn check(name: &str, shape: &Shape, charge: (Tokens, Source), told: &Told, outcome: Outcome) {
    let [input, cached, output] = shape.expect.tokens;
    let source = match shape.expect.source.as_str() {
        "provider" => Source::Provider,
        "estimated" => Source::Estimated,
        other => panic!("{name}: no source {other}"),
    };
    let nothing = shape.expect.outcome == "upstream_error" && shape.expect.tokens == [0; 3];
    assert_eq!(charge.0, (input, cached, output), "{name}");
    assert!(nothing || charge.1 == source, "{name}: {charge:?}");
    let meant = match shape.expect.outcome.as_str() {
        "ok" => Outcome::Ok,
        "upstream_error" => Outcome::UpstreamError,
        "client_gone" => Outcome::ClientGone,
        other => panic!("{name}: no outcome {other}"),
    };
    assert_eq!(outcome, meant, "{name}");
    for (part, count) in &shape.expect.usage {
        let usage = told.usage.expect("a usage");
        let found = match part.as_str() {
            "reasoning" => usage.reasoning,
            "cache_write" => usage.cache_write,
            "cache_write_1h" => usage.cache_write_1h,
            "audio_input" => usage.audio_input,
            "audio_output" => usage.audio_output,
            "image_input" => usage.image_input,
            "image_output" => usage.image_output,
            "searches" => usage.searches,
            "cost" => usage.cost.expect("a cost"),
            other => panic!("{name}: no part {other}"),
        };
        assert_eq!(Some(found.cast_signed()), count.as_integer(), "{name}: {part}");
    }
}

#[test]
fn every_shape_is_shown_and_charged_as_it_says() {
    let shapes = shapes();
    assert!(shapes.len() > 80);
    for (name, shape) in &shapes {
        let sent = shape.sent("", true);
        if !shape.is_stream() {
            let (told, outcome) = match answer::read(&sent) {
                Some(answer) if !answer.failed => (answer.told, Outcome::Ok),
                Some(answer) => (answer.told, Outcome::UpstreamError),
                None => (Told::default(), Outcome::UpstreamError),
            };
            check(name, shape, told.charge(outcome, || INPUT), &told, outcome);
            continue;
        }
        let leaves = shape.answer.send.iter().any(|step| step.leave);
        for strip in [false, true] {
            if strip && shape.path == "responses" {
                continue;
            }
            let cost = format!("\"nemo_request_cost\":\"{COST}\",");
            let meant = shape.sent(&cost, !strip);
            let long = sent.len() > LONGEST;
            for size in if long { &[65_536][..] } else { &[1, 7, LONGEST] } {
                let end = scan(sent.chunks(*size), strip, leaves);
                assert!(
                    end.shown == meant,
                    "{name}, strip {strip}, by {size}: {}",
                    text(&end.shown)
                );
                check(name, shape, end.charge, &end.told, end.outcome);
            }
            if sent.len() > SMALL {
                continue;
            }
            let whole = scan([&sent[..]], strip, leaves);
            for at in 0..=sent.len() {
                let (begin, rest) = sent.split_at(at);
                assert_eq!(scan([begin, rest], strip, leaves), whole, "{name}, cut at {at}");
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SMALL)]).into_owned()
}

#[test]
fn an_event_reaches_the_client_in_the_read_that_ends_it() {
    for (name, shape) in shapes() {
        let sent = shape.sent("", true);
        if !shape.is_stream() || sent.len() > SMALL {
            continue;
        }
        // The first event ends at the first empty line, whatever ends its lines.
        let ends = |at: &usize| {
            let text =
                String::from_utf8_lossy(&sent[..*at]).replace("\r\n", "\n").replace('\r', "\n");
            text.ends_with("\n\n")
        };
        let Some(first) = (1..=sent.len()).find(ends) else { continue };
        let mut scanner = Scanner::new(false);
        let shown = scanner.feed(&sent[..first], |_| Ok::<_, Infallible>(None));
        assert_eq!(shown, Ok(Shown::Same), "{name}");
    }
}
