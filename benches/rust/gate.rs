//! Time the decision in the core without Python, by criterion: whole requests, and each refusal.
//!
//! Every group checks its answer before it is timed. `make bench-rust` runs the program.
#![allow(clippy::unwrap_used)]

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
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

/// The number of tickets between two drains: what a busy worker admits in a cycle of the drainer.
const BATCH: usize = 256;

/// A refusal: its name, its code, and the change of policy that causes it.
type Spoilt = (&'static str, Code, fn(&mut Policy));

struct World {
    gate: Gate<Arc<Arena>, Arc<Journal>>,
    journal: Arc<Journal>,
    headers: Vec<String>,
}

fn scope(kind: u8, id: u64) -> Policy {
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
        // A user's rates are left out, as they were before users had any: counts stay comparable.
        limits: if kind == 3 { [None; RATE_COUNT] } else { RATES.map(|rate| Some(rate.most)) },
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

/// Build a gate with `keys` keys of one team, user and org, all with limits and budgets.
///
/// `change` alters the policy of each key.
fn world(keys: u64, change: impl Fn(&mut Policy)) -> World {
    let arena = Arc::new(Arena::private(keys as usize + 8).unwrap());
    let journal = Arc::new(Journal::private(16_384, &[], 1).unwrap());
    let pepper = Pepper::new(1, [7; 32]);
    for kind in 1..=3 {
        arena.put(&scope(kind, u64::from(kind))).unwrap();
    }
    let price =
        Price { input: 2_500_000_000, cached: 1_250_000_000, output: 1_000_000_000, request: 0 };
    arena.put_price(&model(), 1, Known { price: Some(price), max_output: 4_096 }).unwrap();
    let name = |i: u64| format!("sk-nemo-{i:020}");
    for i in 0..keys {
        let mut policy = scope(4, 10 + i);
        policy.digest = pepper.hash(name(i).as_bytes()).as_bytes().to_vec();
        change(&mut policy);
        arena.put(&policy).unwrap();
    }
    // The keys come in a fixed order in which no two neighbours are neighbours in memory.
    let headers =
        (0..BATCH as u64).map(|i| format!("Bearer {}", name(i * 2_654_435_761 % keys))).collect();
    let gate = Gate::new(arena, journal.clone(), vec![pepper], Clock::System).unwrap();
    World { gate, journal, headers }
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

impl World {
    /// Free the slots of all tickets that have ended.
    fn drain(&self) {
        let ended: Vec<usize> = self.journal.ended().map(|(at, ..)| at).collect();
        self.journal.free(ended.into_iter());
    }

    /// Identify, admit and settle one request for each header.
    fn whole(&self) {
        for header in &self.headers {
            let index = self.gate.identify(header.as_bytes(), || "127.0.0.1", 0).unwrap();
            let ticket = self.gate.admit(&request(index)).unwrap();
            black_box(self.gate.settle(ticket, &USAGE).unwrap());
        }
    }
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("identify + admit + settle");
    group.throughput(Throughput::Elements(BATCH as u64));
    for keys in [1_000, 1_000_000] {
        let world = world(keys, |_| {});
        world.whole();
        assert_eq!(world.journal.ended().count(), BATCH, "every ticket became a row");
        group.bench_function(format!("{keys} keys"), |b| {
            b.iter_batched(|| world.drain(), |()| world.whole(), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn refusals(c: &mut Criterion) {
    let mut group = c.benchmark_group("refuse");
    let spoilt: [Spoilt; 3] = [
        ("rpm", Code::RateLimitExceeded, |p| p.limits[0] = Some(0)),
        ("tpm", Code::TpmLimitExceeded, |p| p.limits[1] = Some(0)),
        ("budget", Code::BudgetExceeded, |p| p.cap = Some(0)),
    ];
    for (name, code, change) in spoilt {
        let world = world(1_000, change);
        let index = world.gate.identify(world.headers[0].as_bytes(), || "127.0.0.1", 0).unwrap();
        assert_eq!(world.gate.admit(&request(index)).unwrap_err().code, code);
        group.bench_function(name, |b| {
            b.iter(|| world.gate.admit(black_box(&request(index))).unwrap_err());
        });
    }
    let world = world(1_000, |_| {});
    for (name, header) in [
        ("unknown key", "Bearer sk-nemo-ZZZZZZZZZZZZZZZZZZZZ"),
        ("malformed key", "Bearer sk-nemo-Z"),
    ] {
        assert!(world.gate.identify(header.as_bytes(), || "127.0.0.1", 0).is_err());
        group.bench_function(name, |b| {
            b.iter(|| world.gate.identify(black_box(header.as_bytes()), || "127.0.0.1", 0));
        });
    }
    group.finish();
}

criterion_group!(benches, whole, refusals);
criterion_main!(benches);
