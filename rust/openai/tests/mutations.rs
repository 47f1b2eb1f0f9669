//! What reads foreign bytes, on mutated ones: seeded by `tests/data/traffic`, random, repeatable, and
//! not guided by coverage. `make fuzz` runs it for longer.
//!
//! `FUZZ_SECONDS` (1) is the time of each target, `FUZZ_SEED` (1) the first state of the generator. A
//! fault prints the input.

use std::{convert::Infallible, env, fs, net::IpAddr, path::Path, time::Instant};

use nemorouter_openai::{
    answer,
    charge::{Outcome, Told},
    credential::Offered,
    paths::{Guard, decode, locate},
    peek::peek,
    source::{Networks, read_hop, source_of},
    sse::{Scanner, Shown},
};
use serde_json::Value;

/// Bytes of an input.
const LONGEST: usize = 4096;

/// Marsaglia's xorshift: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Texts that stand in inputs of their own accord seldom.
const WORDS: [&str; 24] = [
    "\r",
    "\n\n",
    "\r\n\r\n",
    "data:",
    "data: [DONE]",
    ": ",
    "event: error",
    "\u{feff}",
    "\\u0061",
    "\\ud83d",
    "\"usage\":",
    "null",
    "[",
    "{",
    "}",
    "\"",
    "1e999",
    "-1",
    "18446744073709551616",
    "::ffff:",
    "%2f",
    "..",
    "\0",
    "\u{212a}",
];

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(bytes.len() - at + 1).min(random.below(64));
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..end, WORDS[random.below(WORDS.len())].bytes())),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let to = (from + random.below(200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => bytes.insert(at, random.next() as u8),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// The texts of all shapes, and what a client could send.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/traffic");
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder of shapes") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        // Whole events and whole answers, without reading the file as what it is.
        seeds.extend(text.split("'''").map(|part| part.replace("<cost>", "").into_bytes()));
        seeds.extend(text.split('\'').filter(|part| part.starts_with('{')).map(Vec::from));
    }
    seeds.retain(|seed| !seed.is_empty() && seed.len() <= LONGEST);
    for text in [
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}}]}],"max_tokens":5,"n":2}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":false}}"#,
        r#"{"model":"m","input":[{"type":"item_reference","id":"x"}],"background":true}"#,
        "Bearer sk-nemo-aaaaaaaaaaaaaaaaaaaa",
        "203.0.113.7:41234, \"[2001:db8::7]:443\", 10.0.0.1",
        "/v1/%63hat/../chat//completions",
    ] {
        seeds.push(text.into());
    }
    seeds
}

/// Run a target on mutated seeds, for its time.
fn run(name: &str, mut target: impl FnMut(&[u8], &mut Random)) {
    let told = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (seconds, seed): (u64, u64) = (told("FUZZ_SECONDS"), told("FUZZ_SEED"));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (seeds, begin) = (seeds(), Instant::now());
    let mut count = 0_u64;
    while count.is_multiple_of(64) && begin.elapsed().as_secs() < seconds
        || !count.is_multiple_of(64)
    {
        let input = mutate(&mut random, &seeds);
        let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            target(&input, &mut random);
        }));
        if let Err(fault) = fault {
            eprintln!("{name}, seed {seed}, input {count}: {:?}", String::from_utf8_lossy(&input));
            std::panic::resume_unwind(fault);
        }
        count += 1;
    }
    println!("{name}: {count} inputs, seed {seed}");
}

/// What a client gets of a stream, and what is known of it.
fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>, strip: bool) -> (Vec<u8>, Told, bool, bool) {
    let mut scanner = Scanner::new(strip);
    let mut shown = Vec::new();
    let bill = |_| Ok::<_, Infallible>(Some("0.1".to_owned()));
    for piece in pieces {
        match scanner.feed(piece, bill) {
            Ok(Shown::Same) => shown.extend_from_slice(piece),
            Ok(Shown::Other(bytes)) => shown.extend_from_slice(&bytes),
        }
    }
    let Ok(left) = scanner.flush(bill);
    shown.extend_from_slice(&left);
    (shown, scanner.told, scanner.done, scanner.failed)
}

#[test]
fn a_stream_is_read_alike_wherever_it_is_cut() {
    run("stream", |input, random| {
        let strip = random.below(2) == 0;
        let whole = scan([input].into_iter(), strip);
        let size = 1 + random.below(40);
        assert_eq!(scan(input.chunks(size), strip), whole, "pieces of {size}, strip {strip}");
        let (input_tokens, cached, _) = whole.1.charge(Outcome::Ok, || 24).0;
        assert!(cached <= input_tokens);
    });
}

#[test]
fn an_answer_is_read_or_is_no_object() {
    run("answer", |input, _| {
        if let Some(found) = answer::read(input) {
            let (input_tokens, cached, _) = found.told.charge(Outcome::Ok, || 24).0;
            assert!(cached <= input_tokens);
            assert!(found.told.produced <= input.len() as u64);
        }
    });
}

#[test]
fn a_body_says_to_us_what_it_says_to_another_reader() {
    run("peek", |input, random| {
        let endpoint = random.below(6) as u8;
        let Ok(seen) = peek(input, endpoint) else { return };
        let Ok(other) = serde_json::from_slice::<Value>(input) else {
            // Half a surrogate pair passes: many clients send one in a text that was cut.
            let text = String::from_utf8_lossy(input).to_lowercase();
            assert!(text.contains("\\ud"), "what is accepted is JSON");
            return;
        };
        assert_eq!(other["model"].as_str(), Some(&seen.model[..]));
        assert_eq!(other["stream"].as_bool().unwrap_or(false), seen.stream);
        if endpoint == 0 {
            let most = ["max_tokens", "max_completion_tokens"].map(|name| other[name].as_u64());
            assert_eq!(most.into_iter().max().flatten(), seen.output);
        }
        if let Some(edit) = seen.usage_edit {
            let edited = edit.apply(input);
            let again = peek(&edited, endpoint).expect("an edited body");
            assert!(again.usage_edit.is_none() && again.model == seen.model);
            let edited: Value = serde_json::from_slice(&edited).expect("an edited body");
            assert_eq!(edited["stream_options"]["include_usage"], true);
        }
    });
}

#[test]
fn an_address_is_one_and_never_two() {
    let trusted = Networks::parse(&["10.0.0.0/8".to_owned()]).expect("a network");
    run("source", |input, _| {
        if let Some(address) = read_hop(input) {
            // Mapped addresses are one with their own, so that no source has two counts.
            assert_eq!(address, address.to_canonical());
            assert_eq!(read_hop(address.to_string().as_bytes()), Some(address));
        }
        assert_eq!(source_of(b"192.0.2.1", &trusted, &[input]), "192.0.2.1".parse().ok());
        let found = source_of(b"10.0.0.1", &trusted, &[input]);
        assert!(found.is_none_or(|found: IpAddr| found == found.to_canonical()));
    });
}

#[test]
fn a_guarded_path_stays_guarded_in_every_spelling() {
    let guard = Guard::new(&["/v1".to_owned()]).expect("a root");
    run("head", |input, _| {
        let text = String::from_utf8_lossy(input);
        let path = format!("/{}", text.trim_start_matches('/'));
        let _ = locate(&path, "");
        if path.starts_with("/v1/") {
            assert!(guard.judge("POST", &path, "").is_some());
        }
        let _ = decode(&path).map(|decoded| guard.judge("GET", &decoded, "/gw"));
        let mut offered = Offered::default();
        offered.take("authorization", Some(input));
        offered.take("x-api-key", Some(input));
        let _ = offered.choose(input);
    });
}
