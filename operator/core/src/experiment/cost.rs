//! What evidence costs: four variants and eight metrics, each user with three requests and two events, over two
//! routers. The normal run holds a thousand users against the bounds; the ignored one (`-- --ignored
//! --nocapture`) prints a row for each number of users.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use traffic::assignment::{Assigner, Key};
use traffic::evidence::Unit;
use traffic::evidence::experiment::{Ended, Evidence, Happening, Recorder};
use traffic::table::experiment::Arm;

use super::analysis::{self, Looked, Tracks};
use super::ledger::{self, Ledger};
use super::testing::{World, experiment, recorded};

/// What is measured for a number of users.
#[derive(Debug)]
struct Cost {
    users: u32,
    /// Of the documents of one router of a whole, and of the largest of a metric.
    document: usize,
    largest: usize,
    /// Of all objects that keep it, of the experiment, as JSON.
    kept: usize,
    /// Of the router, for one document of all metrics.
    snapshot: Duration,
    /// Of the operator: reading and folding the documents of a poll, and the look.
    fold: Duration,
    look: Duration,
}

impl Cost {
    fn row(&self) -> String {
        let kib = |bytes: usize| bytes / 1024;
        format!(
            "| {} | {} | {} | {} | {:.1} | {:.1} | {:.1} |",
            self.users,
            kib(self.document),
            kib(self.largest),
            kib(self.kept),
            self.snapshot.as_secs_f64() * 1e3,
            self.fold.as_secs_f64() * 1e3,
            self.look.as_secs_f64() * 1e3,
        )
    }
}

fn spec() -> Value {
    let feedback = |name: &str, kind: &str, role: &str| json!({"name": name, "role": role, "kind": kind, "source": {"feedback": {"event": name}}, "direction": "Increase"});
    let router = |name: &str, kind: &str, signal: &str| json!({"name": name, "role": "Guardrail", "kind": kind, "source": {"router": {"signal": signal}}, "direction": "Decrease"});
    let mut slow = router("slow", "SlowFraction", "Latency");
    slow["slowerThan"] = json!("250ms");
    json!({
        "variants": [
            {"name": "v1", "modelRef": {"name": "m1"}}, {"name": "v2", "modelRef": {"name": "m2"}},
            {"name": "v3", "modelRef": {"name": "m3"}}, {"name": "v4", "modelRef": {"name": "m4"}},
        ],
        "schedule": {"minDuration": "0s", "maxDuration": "300h"},
        "metrics": [
            feedback("accepted", "Proportion", "Goal"),
            feedback("stars", "Mean", "Info"),
            feedback("edits", "Ratio", "Info"),
            {"name": "prefers", "role": "Info", "kind": "PairedAccuracy", "source": {"preferences": {}}, "direction": "Increase"},
            router("errors", "Ratio", "Errors"),
            router("failed", "Proportion", "Errors"),
            slow,
            {"name": "score", "role": "Info", "kind": "Mean", "source": {"router": {"signal": "Score"}}, "direction": "Increase"},
        ],
    })
}

fn fill(router: &mut Recorder, assigner: &Assigner, users: u32, request: u32) {
    for user in 0..users {
        let key = format!("user {user}");
        let place = assigner.place(Key::prompt(key.as_bytes()));
        let arm = Arm::new(usize::from(place.slot.get() / 2_500)).unwrap();
        let unit = Unit(assigner.unit(Key::prompt(key.as_bytes())));
        let took = Duration::from_millis(5 + place.hash % 300);
        router.expose(unit, arm);
        let ended = Ended {
            is_error: place.hash % 97 == u64::from(request),
            is_remembered: false,
            is_fallback: false,
            took: Some(took),
        };
        router.ended(unit, arm, ended);
        router.scored(unit, arm, [f64::from(user % 31) / 7.0]);
        for (event, of) in [("accepted", 3), ("stars", 2)] {
            if place.hash.is_multiple_of(of) {
                let event = Happening {
                    event,
                    value: 1.0,
                    id: None,
                };
                router.happened(unit, true, event);
            }
        }
        if request == 0 {
            let right = |arm: u64| Some(!(place.hash >> arm).is_multiple_of(4));
            router.judged(unit, &[right(0), right(1), right(2), right(3)]);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "time is what is measured")]
fn cost(users: u32) -> Cost {
    let mut world = World::new(&spec());
    let fourth = world.models["m3"].clone();
    world.models.insert("m4".to_owned(), fourth);
    let step = world.step();
    let design = step.design.unwrap();
    let (whole, mut ledgers) = recorded(&design, step.state.epoch.as_ref().unwrap());
    let assigner = Assigner::new(&design.salt);
    let mut routers = ["a", "b"].map(|name| Recorder::new(name.into(), name.into(), whole.clone()));
    for request in 0..3 {
        // A user meets both routers.
        fill(
            &mut routers[request as usize % 2],
            &assigner,
            users,
            request,
        );
    }
    let began = Instant::now();
    let snapshot = routers[0].snapshot();
    let each = design.metrics.iter().map(|metric| {
        let only = snapshot.clone().only(&metric.name).unwrap();
        (metric.name.clone(), only.to_bytes())
    });
    let documents: BTreeMap<String, Vec<u8>> = each.collect();
    let snapshot = began.elapsed();
    let began = Instant::now();
    for (metric, bytes) in &documents {
        let document = Evidence::from_bytes(bytes).unwrap();
        assert!(ledgers.get_mut(metric).unwrap().take(document));
    }
    let fold = began.elapsed();
    let began = Instant::now();
    let totals = ledger::totals(&design, &ledgers, &BTreeMap::new());
    let looked = analysis::look(&Looked {
        design: &design,
        strata: std::slice::from_ref(&totals),
        tracks: &Tracks::new(),
        slots: &[2_500; 4],
        out: &[],
        elapsed: Duration::from_secs(30),
        sample_ratio_before: 0.0,
    });
    let look = began.elapsed();
    assert!(looked.decision.is_ok());
    let object = |(metric, ledger): (&String, &Ledger)| {
        let object = ledger.object(&experiment(&json!({})), metric);
        serde_json::to_vec(&object).unwrap().len()
    };
    let kept: Vec<usize> = ledgers.iter().map(object).collect();
    assert!(kept.iter().all(|bytes| *bytes < 1 << 20), "{kept:?}");
    Cost {
        users,
        document: documents.values().map(Vec::len).sum(),
        largest: documents.values().map(Vec::len).max().unwrap(),
        kept: kept.iter().sum(),
        snapshot,
        fold,
        look,
    }
}

#[test]
fn a_user_costs_a_few_bytes_of_each_document() {
    let cost = cost(1_000);
    // Cells are sums: their size does not depend on the users. What does are the exact sets.
    assert!(cost.document < 200_000, "{cost:?}");
}

#[test]
#[ignore = "a hundred thousand users: a minute"]
fn what_evidence_costs_by_users() {
    println!(
        "| users | KiB of a poll | the largest | KiB kept | ms snapshot | ms fold | ms look |"
    );
    println!("|---|---|---|---|---|---|---|");
    for users in [1_000, 10_000, 50_000, 100_000] {
        println!("{}", cost(users).row());
    }
}
