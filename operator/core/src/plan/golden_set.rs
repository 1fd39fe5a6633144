//! The golden set as its users see it: what is scored when, and what becomes of a set that is missing,
//! broken or changed.

use serde_json::{Value, json};

use super::rollouts::{step, yes};
use super::world::{DIGEST_1, DIGEST_2, World};
use crate::golden::SetFile;

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn holds(digit: char) -> SetFile {
    SetFile::Holds(digest(digit).as_str().into())
}

/// What `evaluate` leaves: of 100 pairs `right`, and of them `stable` by the other one.
#[expect(clippy::unnecessary_wraps, reason = "a pod that works has none yet")]
fn scores(set: char, right: u64, stable: Option<u64>) -> Option<(i32, Value)> {
    let against =
        stable.map(|right| json!({"right": right, "meanScore": 0.5, "rankCorrelation": 0.9}));
    let document = json!({"ok": true, "set": digest(set), "pairs": 100, "right": right, "meanScore": 0.6, "against": against});
    Some((0, document))
}

fn gated(golden: Value) -> Value {
    json!({
        "gates": [{"name": "set", "interval": "5s", "golden": golden}],
        "goldenSet": {"configMapRef": {"name": "pairs", "key": "set.jsonl"}},
        "steps": [{"setWeight": 10}, {"pause": {}}],
    })
}

/// A model that serves v1, and has a golden gate from now on.
fn world(golden: Value) -> World {
    let mut world = World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 4,
        "rollout": {},
    }));
    world.settle();
    world.rollout(gated(golden));
    world.golden_set = holds('a');
    world
}

fn accurate() -> World {
    world(json!({"minAccuracy": "0.7", "maxAccuracyDrop": "0.05"}))
}

fn told(world: &World) -> crds::v1alpha1::reward_model::status::GateStatus {
    let status = world.observed.model.status.clone().unwrap();
    status.gates.unwrap().remove(0)
}

fn judged_by(world: &World) -> Option<String> {
    let status = world.observed.model.status.clone().unwrap();
    Some(status.rollout?.golden_set?.digest)
}

fn golden_jobs(world: &World) -> Vec<String> {
    let jobs = world.observed.children.jobs.iter();
    let names = jobs.map(|job| job.metadata.name.clone().unwrap());
    names.filter(|name| name.contains("-golden-")).collect()
}

#[test]
fn a_set_is_scored_before_anything_goes_to_the_new_revision() {
    let mut world = accurate();
    world.path("v2");
    world.rounds(40);
    assert_eq!(step(&world), Some((0, "Load".to_owned())));
    assert_eq!(golden_jobs(&world).len(), 1);
    assert_eq!((world.weight(), judged_by(&world)), (0, None));
    let message = world.message();
    assert!(message.contains("scores the golden set"), "{message}");
    world.scores = scores('a', 90, Some(80));
    world.rounds(30);
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
    assert_eq!(judged_by(&world), Some(digest('a')));
    let gate = told(&world);
    assert_eq!(gate.samples, Some(100));
    let message = gate.message.unwrap();
    assert!(message.contains("accuracy 90 %"), "{message}");
    assert_eq!(world.scored.len(), 1, "once");
}

#[test]
fn a_revision_that_the_set_refuses_never_gets_a_request() {
    let mut world = accurate();
    world.scores = scores('a', 60, Some(80));
    world.path("v2");
    for _ in 0..60 {
        world.round();
        assert_eq!(world.weight(), 0);
    }
    assert_eq!(world.condition("Stalled"), yes("GateFailed"));
    assert!(
        world.message().contains("accuracy 60 %"),
        "{}",
        world.message()
    );
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    assert_eq!(judged_by(&world), Some(digest('a')));
}

#[test]
fn a_set_that_is_missing_is_told_and_takes_nothing_back_and_is_scored_once_it_is_there() {
    let mut world = accurate();
    world.golden_set = SetFile::Missing;
    world.path("v2");
    world.rounds(60);
    assert_eq!(world.condition("Paused"), yes("MetricsUnavailable"));
    assert!(
        world.message().contains("ConfigMap \"pairs\""),
        "{}",
        world.message()
    );
    assert_eq!((world.weight(), golden_jobs(&world).len()), (0, 0));
    assert!(!world.plan().loads, "nobody else has to wait for the set");
    world.golden_set = holds('a');
    world.scores = scores('a', 90, Some(80));
    world.rounds(30);
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
}

#[test]
fn a_broken_line_is_named_and_never_a_failure_and_a_mended_set_goes_on_by_itself() {
    let mut world = accurate();
    let why = json!({"ok": false, "message": "/golden/set.jsonl, line 7: write {..}"});
    world.scores = Some((1, why));
    world.path("v2");
    world.rounds(300);
    let gate = told(&world);
    assert!(gate.message.unwrap().contains("line 7"));
    assert_eq!(world.condition("Paused"), yes("MetricsUnavailable"));
    assert_eq!(step(&world), Some((0, "Load".to_owned())));
    let tries = world.scored.len();
    assert!((2..6).contains(&tries), "{tries} tries in 5 minutes");
    world.golden_set = holds('b');
    world.scores = scores('b', 90, Some(80));
    world.rounds(30);
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
    assert_eq!(judged_by(&world), Some(digest('b')));
    assert_eq!(golden_jobs(&world).len(), 1, "the one that failed is gone");
}

#[test]
fn servers_that_answer_errors_are_asked_again() {
    let mut world = accurate();
    world.scores = Some((1, json!({"ok": false, "message": "http://c answers 500"})));
    world.path("v2");
    world.rounds(40);
    assert!(told(&world).message.unwrap().contains("answers 500"));
    world.scores = scores('a', 90, Some(80));
    world.rounds(120);
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
}

#[test]
fn a_set_that_changes_while_it_is_scored_is_scored_anew_and_one_that_changes_later_is_for_the_next_rollout()
 {
    let mut world = accurate();
    world.path("v2");
    world.rounds(40);
    let first = golden_jobs(&world);
    world.golden_set = holds('b');
    world.rounds(5);
    assert_ne!(golden_jobs(&world), first);
    world.scores = scores('b', 90, Some(80));
    world.rounds(30);
    assert_eq!(judged_by(&world), Some(digest('b')));
    // The verdict stays with the set that it was made on.
    world.golden_set = holds('c');
    world.scores = scores('c', 10, Some(80));
    world.rounds(30);
    assert_eq!(judged_by(&world), Some(digest('b')));
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
    assert_eq!(world.scored.len(), 1);
}

#[test]
fn a_pod_that_has_read_another_set_than_the_operator_is_no_answer() {
    let mut world = accurate();
    world.scores = scores('b', 10, Some(80));
    world.path("v2");
    world.rounds(60);
    assert_eq!(step(&world), Some((0, "Load".to_owned())));
    let message = told(&world).message.unwrap();
    assert!(message.contains("changed while it was scored"), "{message}");
}

/// v2 is promoted with the set a, and v3 is on its way.
fn next(golden: Value) -> World {
    let mut world = world(golden);
    world.scores = scores('a', 90, Some(80));
    world.path("v2");
    world.rounds(60);
    world.command("resume/1");
    world.rounds(60);
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    let third = json!({"ok": true, "digest": digest('3'), "bytes": 3});
    world
        .answers
        .insert("/models/v3".to_owned(), (0, third.to_string()));
    world.scored.clear();
    world
}

#[test]
fn what_the_stable_revision_scores_on_a_set_is_not_found_out_again() {
    let mut world = next(json!({"maxAccuracyDrop": "0.05", "maxScoreShift": "0.2"}));
    world.scores = scores('a', 80, None);
    world.path("v3");
    world.rounds(60);
    let args = world.scored[0].join(" ");
    let known = format!("--against-known {}", digest('a'));
    assert!(args.contains(&known), "{args}");
    // 80 of 100 after the 90 that v2 had as a new revision.
    assert_eq!(world.condition("Stalled"), yes("GateFailed"));
    assert!(
        world.message().contains("a loss of 10 %"),
        "{}",
        world.message()
    );
}

#[test]
fn a_rank_correlation_takes_both_revisions_at_once() {
    let mut world = next(json!({"minRankCorrelation": "0.8"}));
    world.scores = scores('a', 80, Some(90));
    world.path("v3");
    world.rounds(60);
    let args = world.scored[0].join(" ");
    assert!(
        args.contains("--against http") && !args.contains("--against-known"),
        "{args}"
    );
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
}

#[test]
fn another_set_is_scored_by_both_again() {
    let mut world = next(json!({"maxAccuracyDrop": "0.05"}));
    world.golden_set = holds('b');
    world.scores = scores('b', 80, Some(82));
    world.path("v3");
    world.rounds(60);
    assert!(!world.scored[0].join(" ").contains("--against-known"));
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
    assert_eq!(judged_by(&world), Some(digest('b')));
}

#[test]
fn of_a_set_in_a_claim_the_pod_says_what_it_was() {
    let mut world = accurate();
    let mut rollout = gated(json!({"minAccuracy": "0.7"}));
    rollout["goldenSet"] = json!({"claim": {"claimName": "sets", "path": "pairs.jsonl"}});
    world.rollout(rollout);
    world.golden_set = SetFile::InClaim;
    world.scores = scores('e', 90, Some(80));
    world.path("v2");
    world.rounds(60);
    assert_eq!(judged_by(&world), Some(digest('e')));
    assert_eq!(
        (world.condition("Paused"), world.scored.len()),
        (yes("PauseStep"), 1)
    );
}

#[test]
fn a_first_revision_is_held_to_its_own_accuracy_alone() {
    let mut world = World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 2,
        "rollout": gated(json!({"minAccuracy": "0.7", "maxAccuracyDrop": "0", "minRankCorrelation": "0.9"})),
    }));
    world.golden_set = holds('a');
    world.scores = scores('a', 90, None);
    world.rounds(40);
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert!(!world.scored[0].join(" ").contains("--against"));
    let message = told(&world).message.unwrap();
    assert!(
        message.contains("accuracy 90 %") && message.contains("passed over"),
        "{message}"
    );
}

#[test]
fn recreate_compares_with_what_is_known_of_the_revision_that_has_gone() {
    let mut world = next(json!({"minAccuracy": "0.5", "maxAccuracyDrop": "0.05"}));
    let mut rollout = gated(json!({"minAccuracy": "0.5", "maxAccuracyDrop": "0.05"}));
    rollout["strategy"] = "Recreate".into();
    rollout.as_object_mut().unwrap().remove("steps");
    world.rollout(rollout);
    world.scores = scores('a', 80, None);
    world.path("v3");
    world.rounds(80);
    assert!(!world.scored[0].join(" ").contains("--against"));
    let status = world.observed.model.status.clone().unwrap();
    let reason = status.history.unwrap()[0].reason.clone().unwrap();
    assert!(reason.contains("a loss of 10 %"), "{reason}");
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

#[test]
fn a_dry_run_reports_and_holds_nothing() {
    let mut world = accurate();
    let mut rollout = gated(json!({"minAccuracy": "0.7"}));
    rollout["gates"][0]["dryRun"] = true.into();
    world.rollout(rollout);
    world.scores = scores('a', 10, Some(80));
    world.path("v2");
    world.rounds(60);
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
    let message = told(&world).message.unwrap();
    assert!(message.contains("accuracy 10 %"), "{message}");
}

#[test]
fn promote_goes_past_a_set_that_nobody_can_score() {
    let mut world = accurate();
    world.golden_set = SetFile::Missing;
    world.path("v2");
    world.rounds(40);
    world.command("promote/1");
    world.rounds(60);
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(golden_jobs(&world).len(), 0);
}

#[test]
fn an_operator_that_loses_its_status_scores_no_set_twice() {
    let mut world = accurate();
    world.scores = scores('a', 90, Some(80));
    world.path("v2");
    world.rounds(60);
    world.observed.model.status = None;
    world.rounds(30);
    assert_eq!(world.scored.len(), 1);
    assert_eq!(world.weight(), 10);
}

#[test]
fn a_job_is_gone_when_another_revision_is_tried_and_stays_to_be_read_until_then() {
    let mut world = next(json!({"minAccuracy": "0.5"}));
    assert_eq!(golden_jobs(&world).len(), 1, "its words can be read");
    let before = golden_jobs(&world);
    world.scores = scores('a', 80, None);
    world.path("v3");
    world.rounds(60);
    let after = golden_jobs(&world);
    assert_eq!(after.len(), 1);
    assert_ne!(before, after);
}

#[test]
fn only_where_there_is_a_set_may_its_pods_reach_the_servers() {
    let peers = |world: &World| {
        let mut policies = world.observed.children.policies.iter();
        let own = policies.find(|p| p.metadata.name.as_deref() == Some("helpfulness-servers"));
        serde_json::to_value(own.unwrap().as_ref()).unwrap()["spec"]["ingress"][0]["from"].clone()
    };
    let mut world = accurate();
    world.rounds(5);
    assert_eq!(
        peers(&world)[2]["podSelector"]["matchLabels"]["betterai.dev/component"],
        "golden"
    );
    world.rollout(json!({}));
    world.rounds(5);
    assert_eq!(peers(&world).as_array().unwrap().len(), 2);
}
