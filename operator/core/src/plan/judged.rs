//! Gates as their users see them: what is looked at when, and what the status says.

use serde_json::json;

use super::rollouts::{step, yes};
use super::world::{DIGEST_1, World};
use crate::gates::{Measurement, PrometheusAnswer, collection, due, read};
use crate::reading::Reading;
use crate::rollout;

/// A rollout at 10 % whose last step waits for a gate, which a query decides.
fn at_gate() -> World {
    let mut world = World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 4,
        "rollout": {"steps": [{"setWeight": 10}, {"pause": {}}]},
    }));
    world.settle();
    world.path("v2");
    world.rounds(60);
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
    let status = world.observed.model.status.as_mut().unwrap();
    let rollout = status.rollout.as_mut().unwrap();
    rollout.steps.as_mut().unwrap()[1] = "Gate g within 600s".to_owned();
    rollout.step.as_mut().unwrap().kind = "Gate".to_owned();
    world.rollout(json!({
        "gates": [{"name": "g", "interval": "10s", "prometheus": {"query": "up", "threshold": {"min": "1"}}}],
        "steps": [{"setWeight": 10}, {"gate": {"names": ["g"], "maxDuration": "10m"}}],
    }));
    world
}

fn answers(world: &mut World, answer: PrometheusAnswer) {
    let measurements = &mut world.observed.gathered.measurements;
    measurements.insert("g".to_owned(), Measurement::Prometheus(answer));
}

fn gate(world: &World) -> crds::v1alpha1::reward_model::status::GateStatus {
    world
        .observed
        .model
        .status
        .clone()
        .unwrap()
        .gates
        .unwrap()
        .remove(0)
}

#[test]
fn a_gate_is_looked_at_once_in_its_interval_and_the_status_says_what_it_saw() {
    let mut world = at_gate();
    answers(&mut world, PrometheusAnswer::Value(0.5));
    for _ in 0..8 {
        world.act(usize::MAX);
        world.second += 1;
    }
    let told = gate(&world);
    assert_eq!(told.beyond, Some(1));
    assert_eq!(told.estimate.unwrap().as_str(), "0.5");
    assert!(told.message.unwrap().contains("beyond the threshold of 1"));
    assert_eq!(step(&world), Some((2, "Gate".to_owned())));
    // What is due is asked for, once in the interval.
    world.observed.gathered.measurements.clear();
    assert!(world.plan().due.is_empty());
    world.second += 10;
    assert_eq!(world.plan().due.len(), 1);
}

#[test]
fn after_promotion_a_gate_is_looked_at_in_its_interval_and_fails_in_time() {
    let mut world = at_gate();
    answers(&mut world, PrometheusAnswer::Value(1.0));
    for _ in 0..60 {
        world.act(usize::MAX);
        world.follow();
        world.second += 1;
    }
    let status = world.observed.model.status.clone().unwrap();
    assert!(
        status.previous.is_some(),
        "it is promoted, and within its window"
    );
    answers(&mut world, PrometheusAnswer::Value(0.5));
    let mut waited = std::time::Duration::ZERO;
    while world.condition("Stalled").is_none() {
        let requeue = world.plan().requeue.max(std::time::Duration::from_secs(1));
        waited += requeue;
        assert!(waited.as_secs() < 60, "nobody looks: {requeue:?}");
        world.act(usize::MAX);
        world.follow();
        world.second += i64::try_from(requeue.as_secs()).unwrap();
    }
    assert_eq!(world.condition("Stalled"), yes("GateFailed"));
}

#[test]
fn a_verdict_is_an_event_once() {
    let mut world = at_gate();
    let reasons = |world: &World| -> Vec<String> {
        let notices = world.plan().notices;
        notices.into_iter().map(|notice| notice.reason).collect()
    };
    answers(&mut world, PrometheusAnswer::Value(0.5));
    world.act(usize::MAX);
    answers(&mut world, PrometheusAnswer::Value(1.0));
    world.second += 10;
    assert!(reasons(&world).contains(&"GatePassed".to_owned()));
    world.act(usize::MAX);
    assert!(!reasons(&world).contains(&"GatePassed".to_owned()));
    answers(&mut world, PrometheusAnswer::Value(0.5));
    for _ in 0..2 {
        world.second += 10;
        world.act(usize::MAX);
    }
    world.second += 10;
    assert!(reasons(&world).contains(&"GateFailed".to_owned()));
}

#[test]
fn a_gate_that_fails_takes_the_revision_back_also_where_the_spec_is_refused() {
    let mut world = at_gate();
    answers(&mut world, PrometheusAnswer::Value(0.5));
    for _ in 0..60 {
        world.act(usize::MAX);
        world.follow();
        world.second += 1;
    }
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    let status = world.observed.model.status.clone().unwrap();
    let last = status.history.unwrap().remove(0);
    let reason = last.reason.unwrap();
    assert!(
        reason.starts_with("GateFailed: gate g: the query answers 0.5"),
        "{reason}"
    );
    assert_eq!(world.weight(), 0);
}

#[test]
fn a_prometheus_that_is_away_rolls_nothing_back_and_goes_on_when_it_is_there() {
    let mut world = at_gate();
    answers(
        &mut world,
        PrometheusAnswer::Unreachable("connection refused".to_owned()),
    );
    for _ in 0..100 {
        world.act(usize::MAX);
        world.second += 10;
    }
    assert_eq!(
        (world.weight(), step(&world)),
        (10, Some((2, "Gate".to_owned())))
    );
    assert_eq!(
        gate(&world).verdict.unwrap().known(),
        Some(crds::v1alpha1::reward_model::status::Verdict::Error)
    );
    answers(&mut world, PrometheusAnswer::Value(1.0));
    let reading = Reading::of(&world.observed, world.now());
    let state = reading.state.clone().unwrap();
    let mut signals = rollout::signals(&reading, &state, world.now());
    // The spec is refused by this version, which holds everything but the way back.
    signals.held = false;
    let next = rollout::advance(&state, &signals, world.now()).next;
    assert_eq!(
        next.rollout.unwrap().stage,
        crate::state::Stage::Step {
            index: 2,
            since: world.now()
        }
    );
}

#[test]
fn what_is_to_be_measured_is_known_beforehand() {
    let mut world = at_gate();
    let rollout = world.observed.model.spec.rollout.clone().unwrap();
    let gates = read(&rollout).unwrap();
    let names = |world: &World| {
        let reading = Reading::of(&world.observed, world.now());
        let (due, next) = due(&gates, &reading.state.unwrap(), world.now());
        let names: Vec<String> = due.iter().map(|gate| gate.name.clone()).collect();
        (names, next)
    };
    assert_eq!(names(&world).0, ["g"]);
    answers(&mut world, PrometheusAnswer::Value(0.5));
    world.act(usize::MAX);
    world.second += 3;
    let (none, next) = names(&world);
    assert!(none.is_empty());
    assert_eq!(next.unwrap().as_secs(), 7);
    let reading = Reading::of(&world.observed, world.now());
    let collected = collection(&reading.state.unwrap(), &gates, world.now()).unwrap();
    assert_eq!((collected.shadow, collected.slower_than.len()), (None, 0));
}
