//! Run one operation of the core many times, so that callgrind can count its instructions.
//!
//! The name of the operation is the only argument; `make bench-gate` runs the program once for
//! each. Every answer is checked.
#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, env, hint::black_box, process::ExitCode, sync::Arc};

use nemorouter_core::{
    arena::Arena,
    clock::Clock,
    digest::Pepper,
    gate::{Gate, Request, Usage},
    journal::Journal,
    model::ModelName,
    policy::Policy,
    price::Known,
    quota::{RATE_COUNT, RATES},
    units::Price,
    verdict::Code,
};
use nemorouter_openai::sse::{Scanner, Shown};

/// How often an operation runs; `count.py` divides by this number.
const TIMES: u64 = 1_000;
const KEYS: u64 = 64;

/// Run one step. Callgrind is told to count the instructions below this function alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "Rust" fn counted_step(step: &mut dyn FnMut(u64), at: u64) {
    step(at);
}

/// The limits of the scopes.
#[derive(Clone, Copy, PartialEq)]
enum Limits {
    /// Requests and tokens a minute, for key, team and org.
    Minute,
    /// Every rate of the table, for all four scopes.
    All,
}

fn scope(kind: u8, id: u64, limits: Limits) -> Policy {
    let of = |owner: u64, below: bool| if below { owner } else { 0 };
    Policy {
        kind,
        id,
        version: 1,
        status: 1,
        org: of(1, kind > 1),
        team: of(2, kind == 4),
        user: of(3, kind == 4),
        digest: vec![],
        limits: std::array::from_fn(|rate| {
            (limits == Limits::All || kind != 3 && rate < 2).then_some(RATES[rate].most)
        }),
        bursts: [None; RATE_COUNT],
        cap: Some(5_000_000_000_000_000),
        duration: 3,
        expires_ms: None,
        endpoints: 0,
        models: vec![],
        ips: vec![],
        name: String::new(),
        last4: String::new(),
    }
}

fn secret(number: u64) -> String {
    format!("Bearer sk-nemo-{number:020}")
}

fn world(limits: Limits, change: impl Fn(&mut Policy)) -> Gate<Arc<Arena>, Arc<Journal>> {
    let arena = Arc::new(Arena::private(KEYS as usize + 8).unwrap());
    let journal = Arc::new(Journal::private(TIMES as usize + 16, &[], 1).unwrap());
    let pepper = Pepper::new(1, [7; 32]);
    for kind in 1..=3 {
        arena.put(&scope(kind, u64::from(kind), limits)).unwrap();
    }
    let price =
        Price { input: 2_500_000_000, cached: 1_250_000_000, output: 10_000_000_000, request: 0 };
    arena.put_price(&model(), 1, Known { price: Some(price), max_output: 4_096 }).unwrap();
    for number in 0..KEYS {
        let mut policy = scope(4, 10 + number, limits);
        policy.digest = pepper.hash(&secret(number).as_bytes()[7..]).as_bytes().to_vec();
        change(&mut policy);
        arena.put(&policy).unwrap();
    }
    Gate::new(arena, journal, vec![pepper], Clock::System).unwrap()
}

fn model() -> ModelName {
    ModelName::new("gpt-4o").unwrap()
}

fn request(index: u32) -> Request {
    Request {
        index,
        model: model(),
        endpoint: 0,
        upstream: 0,
        prompt_bytes: 200,
        stored_input: 0,
        max_tokens: Some(100),
        choices: 1,
        stream: false,
    }
}

const USAGE: Usage = Usage {
    input: 40,
    cached: 0,
    output: 10,
    status: 200,
    outcome: 1,
    latency_us: 900,
    ttft_us: u64::MAX,
};

fn run(mut step: impl FnMut(u64)) {
    for at in 0..TIMES {
        counted_step(&mut step, at);
    }
}

fn index_of(gate: &Gate<Arc<Arena>, Arc<Journal>>, number: u64) -> u32 {
    gate.identify(secret(number).as_bytes(), || "127.0.0.1", 0).unwrap()
}

fn identify() {
    let gate = world(Limits::Minute, |_| {});
    let headers: Vec<String> = (0..KEYS).map(secret).collect();
    run(|at| {
        let header = headers[(at % KEYS) as usize].as_bytes();
        assert!(gate.identify(black_box(header), || "127.0.0.1", 0).is_ok());
    });
}

fn admit(limits: Limits) {
    let gate = world(limits, |_| {});
    let indices: Vec<u32> = (0..KEYS).map(|number| index_of(&gate, number)).collect();
    run(|at| assert!(gate.admit(black_box(&request(indices[(at % KEYS) as usize]))).is_ok()));
}

fn settle(limits: Limits) {
    let gate = world(limits, |_| {});
    let indices: Vec<u32> = (0..KEYS).map(|number| index_of(&gate, number)).collect();
    let tickets: Vec<_> =
        (0..TIMES).map(|at| gate.admit(&request(indices[(at % KEYS) as usize])).unwrap()).collect();
    run(|at| assert!(gate.settle(black_box(tickets[at as usize]), &USAGE).is_ok()));
}

fn refuse(code: Code, change: impl Fn(&mut Policy)) {
    let gate = world(Limits::Minute, change);
    let index = index_of(&gate, 1);
    run(|_| assert_eq!(gate.admit(black_box(&request(index))).unwrap_err().code, code));
}

fn refuse_key(header: &str) {
    let gate = world(Limits::Minute, |_| {});
    run(|_| assert!(gate.identify(black_box(header.as_bytes()), || "127.0.0.1", 0).is_err()));
}

/// A chunk of a streamed answer as most chunks are: one whole event with a few letters of text.
const CHUNK: &[u8] = concat!(
    r#"data: {"id":"chatcmpl-00000000000000000000000000000000","object":"chat.completion.chunk","#,
    r#""created":1704067200,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"word"},"#,
    r#""logprobs":null,"finish_reason":null}]}"#,
    "\n\n",
)
.as_bytes();

fn chunk() {
    let mut stream = Scanner::new(true);
    run(|_| {
        assert_eq!(stream.feed(black_box(CHUNK), |_| Ok::<_, Infallible>(None)), Ok(Shown::Same));
    });
    assert_eq!(stream.told.produced, 4 * TIMES);
}

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("nothing") => run(|at| {
            black_box(at);
        }),
        Some("identify") => identify(),
        Some("admit") => admit(Limits::Minute),
        Some("settle") => settle(Limits::Minute),
        Some("admit-all-limits") => admit(Limits::All),
        Some("settle-all-limits") => settle(Limits::All),
        Some("refuse-rpm") => refuse(Code::RateLimitExceeded, |policy| policy.limits[0] = Some(0)),
        Some("refuse-tpm") => refuse(Code::TpmLimitExceeded, |policy| policy.limits[1] = Some(0)),
        Some("refuse-budget") => refuse(Code::BudgetExceeded, |policy| policy.cap = Some(0)),
        Some("refuse-unknown") => refuse_key("Bearer sk-nemo-ZZZZZZZZZZZZZZZZZZZZ"),
        Some("refuse-malformed") => refuse_key("Bearer sk-nemo-Z"),
        Some("chunk") => chunk(),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}
