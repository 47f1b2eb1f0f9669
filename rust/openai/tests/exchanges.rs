//! The recorded exchanges that Python's drivers replay too: head, body and answer in, bytes and row
//! out.
#![allow(clippy::unwrap_used)]

use std::{borrow::Cow, sync::Arc};

use nemorouter_core::{
    arena::Arena,
    clock::{Clock, Manual},
    digest::Pepper,
    gate,
    journal::Journal,
    model::ModelName,
    policy::Policy,
    price::Known,
    quota::RATES,
    slot::Slot,
    units::{NONE, Price},
};
use nemorouter_openai::{
    exchange::{Answer, End, Exchange, Last, Reply, Step, Theirs},
    headers::{Headers, NAMES},
    paths::Guard,
    routes::Routes,
    source::{Networks, read_hop},
    sse::Shown,
    worker::{Gate, Head, Opened, Worker},
};
use serde_json::{Value, json};

const KEY: &[u8; 28] = b"sk-nemo-aaaaaaaaaaaaaaaaaaaa";
type Pairs = Vec<(String, String)>;

/// What the client got: status, headers and body.
type Sent = (u16, Pairs, Vec<u8>);

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn pairs(value: &Value) -> Pairs {
    let pair =
        |pair: &Value| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned());
    value.as_array().into_iter().flatten().map(pair).collect()
}

fn policy(kind: u8, id: u64, given: &Value) -> Policy {
    let number = |name: &str| given[name].as_u64();
    Policy {
        kind,
        id,
        version: 1,
        status: 1,
        org: u64::from(kind > 1),
        team: if kind == 4 { 2 } else { 0 },
        user: 0,
        digest: vec![],
        limits: RATES.map(|rate| number(rate.name)),
        bursts: RATES.map(|_| None),
        cap: number("cap"),
        duration: number("duration").unwrap_or(3) as u8,
        expires_ms: None,
        endpoints: number("endpoints").unwrap_or(0) as u16,
        models: texts(&given["models"]),
        ips: texts(&given["ips"]),
        name: String::new(),
        last4: String::new(),
    }
}

fn worker(vector: &Value, wrapped: bool) -> (Arc<Worker>, Arc<Journal>) {
    let arena = Arc::new(Arena::private(16).unwrap());
    let journal = Arc::new(Journal::private(64, &["u".to_owned()], 77).unwrap());
    let pepper = Pepper::new(1, std::array::from_fn(|at| at as u8));
    let mut key = policy(4, 3, &vector["key"]);
    key.digest = pepper.hash(KEY).as_bytes().to_vec();
    let clock = Clock::Manual(Arc::new(Manual::new(1_000_000, 1_767_225_600_000)));
    let gate: Gate = gate::Gate::new(arena.clone(), journal.clone(), vec![pepper], clock).unwrap();
    for policy in [policy(1, 1, &Value::Null), policy(2, 2, &Value::Null), key] {
        arena.put(&policy).unwrap();
    }
    let price =
        Price { input: 1_000_000_000, cached: 1_000_000_000, output: 1_000_000_000, request: 0 };
    let known = Known { price: Some(price), max_output: 4096 };
    arena.put_price(&ModelName::new("m").unwrap(), 1, known).unwrap();
    let models = if wrapped { vec!["*".to_owned()] } else { vec!["m".to_owned(), "e".to_owned()] };
    let worker = Worker {
        gate: Arc::new(gate),
        routes: Routes::new(&[models]),
        echo: vector["echo"].as_bool().unwrap().then_some(0),
        guard: wrapped.then(|| Guard::new(&["/v1".to_owned()]).unwrap()),
        trusted: Networks::parse(&texts(&vector["trusted"])).unwrap(),
        max_body: 1000,
        max_headers: 1000,
        ietf: vector["ietf"].as_bool().unwrap(),
    };
    (Arc::new(worker), journal)
}

fn told(headers: &Headers) -> Pairs {
    let pair = |(name, value): &(_, nemorouter_openai::headers::Text)| {
        (NAMES[*name as usize].to_owned(), value.as_str().to_owned())
    };
    headers.iter().map(pair).collect()
}

fn whole(answer: &Answer) -> Sent {
    (answer.status, told(&answer.headers), answer.body.to_vec())
}

/// What is sent of an answer that has `own` headers and `body`.
fn reply(reply: Reply, own: &Pairs, body: &[u8]) -> Sent {
    let mut headers = told(&reply.first);
    if reply.keep {
        headers.extend(own.iter().filter(|(name, _)| !reply.replaces(name.as_bytes())).cloned());
    }
    headers.extend(told(&reply.last));
    let body = reply.body.map_or_else(|| body.to_vec(), Cow::into_owned);
    (reply.status, headers, body)
}

/// Answer as an upstream, or as a wrapped app.
fn answered(exchange: &mut Exchange, answer: &Value) -> Sent {
    let status = answer["status"].as_u64().unwrap() as u16;
    let own = pairs(&answer["headers"]);
    let theirs = Theirs::read(own.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let end = match answer["end"].as_str() {
        Some("failed") => End::Failed,
        Some("late") => End::Late,
        _ => End::Whole,
    };
    if status == 0 {
        let Last::Whole(last) = exchange.end(end).unwrap() else { panic!("nothing had begun") };
        return reply(last, &own, b"");
    }
    let Some(chunks) = answer["chunks"].as_array() else {
        let body = text(answer, "body");
        return reply(
            exchange.whole(status, theirs, body.as_bytes(), None).unwrap(),
            &own,
            body.as_bytes(),
        );
    };
    let mut sent = reply(exchange.begin(status, theirs), &own, b"");
    for chunk in chunks {
        let chunk = chunk.as_str().unwrap().as_bytes();
        match exchange.chunk(chunk).unwrap() {
            Shown::Same => sent.2.extend_from_slice(chunk),
            Shown::Other(bytes) => sent.2.extend_from_slice(&bytes),
        }
    }
    if let Last::Bytes(left) = exchange.end(end).unwrap() {
        sent.2.extend_from_slice(&left);
    }
    sent
}

fn replay(vector: &Value, worker: &Arc<Worker>) -> Sent {
    let [method, path, root, query, body] =
        ["method", "path", "root", "query", "body"].map(|name| text(vector, name));
    let head = Head {
        method: &method,
        path: &path,
        root: &root,
        query: query.as_bytes(),
        peer: read_hop(text(vector, "peer").as_bytes()),
    };
    let headers = pairs(&vector["headers"]);
    let headers = headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
    let mut exchange = match worker.open(&head, headers) {
        Opened::Refused(answer) => return whole(&answer),
        Opened::Exchange(exchange) => exchange,
        Opened::Place(_) | Opened::Unguarded => panic!("the vector is an exchange"),
    };
    let step =
        if exchange.wants_body() { exchange.body(body.as_bytes()) } else { exchange.admit(b"") };
    match step {
        Step::Whole(answer) => whole(&answer),
        Step::Wait { .. } => panic!("nothing is being written"),
        Step::Call { body: sent } => {
            if let (Some(meant), None) = (vector["sent"].as_str(), &worker.guard) {
                assert_eq!(sent.as_deref().unwrap_or(body.as_bytes()), meant.as_bytes());
            }
            answered(&mut exchange, &vector["answer"])
        }
    }
}

fn row(slot: Slot) -> Value {
    let optional = |value: u64| (value != NONE).then_some(value);
    let end = slot.end();
    let meta = slot.meta();
    json!({
        "status": end.status,
        "outcome": end.outcome,
        "endpoint": meta.endpoint,
        "model": slot.model().text(),
        "stream": u8::from(meta.stream),
        "input_tokens": end.input,
        "cached_tokens": end.cached,
        "output_tokens": end.output,
        "cost_nano": meta.priced.then_some(end.cost),
        "ttft_us": optional(end.ttft_us),
    })
}

fn check(vector: &Value, wrapped: bool) {
    let name = &vector["name"];
    let (worker, journal) = worker(vector, wrapped);
    let (status, headers, body) = replay(vector, &worker);
    let id = &headers.iter().find(|(name, _)| name == "x-nemo-request-id").unwrap().1[4..];
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| json!([name, value.replace(id, "ID")])).collect();
    let body = String::from_utf8(body).unwrap().replace(id, "ID");
    let out = json!({"status": status, "headers": headers, "body": body});
    assert_eq!(out, vector["out"], "{name}");
    let rows: Vec<Value> = journal.ended().map(|(_, _, slot)| row(slot)).collect();
    let meant: Vec<Value> =
        Some(vector["row"].clone()).into_iter().filter(|row| !row.is_null()).collect();
    assert_eq!(rows, meant, "{name}");
}

#[test]
fn the_exchange_does_what_was_recorded() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/exchanges.json");
    let all: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(all.len() > 40);
    for vector in &all {
        let mode = vector["mode"].as_str().unwrap();
        if mode != "wrapped" {
            check(vector, false);
        }
        if mode != "gateway" {
            check(vector, true);
        }
    }
}
