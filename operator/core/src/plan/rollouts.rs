//! Rollouts in steps, as their users see them.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::json;

use crds::v1alpha1::reward_model::status::Outcome;

use super::world::{DIGEST_1, DIGEST_2, World};
use crate::observed::Kind;
use crate::plan::Notice;

pub(crate) fn settled() -> World {
    let mut world = World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 4,
        "rollout": {"steps": [
            {"setWeight": 10}, {"pause": {"duration": "1m"}}, {"setWeight": 50}, {"pause": {}},
        ]},
    }));
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    world
}

/// One that stands at its last pause, with half of the traffic.
pub(crate) fn halfway() -> World {
    let mut world = settled();
    world.path("v2");
    world.rounds(120);
    assert_eq!(
        world.condition("Paused"),
        yes("PauseStep"),
        "{}",
        world.message()
    );
    assert_eq!(world.weight(), 50);
    world
}

#[test]
fn what_was_measured_of_a_share_is_of_the_weight_that_stands_beside_it() {
    let mut world = settled();
    world.requests = 1_000;
    world.path("v2");
    let mut measured = BTreeSet::new();
    for _ in 0..120 {
        world.round();
        let status = world.observed.model.status.clone().unwrap();
        for share in status.traffic.into_iter().flatten() {
            let wanted = share.spec_weight.unwrap();
            if let Some(percent) = share.observed_percent {
                assert_eq!(percent.to_string(), format!("{wanted}.00"), "of {wanted}");
                measured.insert(wanted);
            }
        }
        if world.condition("Paused") == yes("PauseStep") && world.weight() == 50 {
            world.command("promote");
        }
    }
    assert_eq!(measured, BTreeSet::from([0, 10, 50, 90, 100]));
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is compared with what may be absent"
)]
pub(crate) fn yes(reason: &str) -> Option<(String, String)> {
    Some(("True".to_owned(), reason.to_owned()))
}

pub(crate) fn step(world: &World) -> Option<(i32, String)> {
    let rollout = world.observed.model.status.clone()?.rollout?;
    let step = rollout.step?;
    Some((step.index, step.kind))
}

fn canary(world: &World) -> String {
    world
        .observed
        .model
        .status
        .clone()
        .unwrap()
        .canary
        .unwrap()
        .revision
}

#[test]
fn a_rollout_goes_through_its_steps_and_waits_where_it_is_told_to() {
    let mut world = halfway();
    assert_eq!(step(&world), Some((4, "Pause".to_owned())));
    assert_eq!(
        world.sizes().iter().sum::<i32>(),
        5,
        "no more than one pod beyond"
    );
    world.command("resume/1");
    world.settle();
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(world.condition("RoutersInSync"), yes("AsExpected"));
    world.cool();
    assert_eq!(world.sizes(), [4]);
}

#[test]
fn a_router_that_does_not_follow_holds_the_next_share() {
    let mut world = settled();
    world.path("v2");
    world.routers_follow = false;
    world.rounds(200);
    assert_eq!(world.weight(), 10);
    assert_eq!(step(&world), Some((1, "SetWeight".to_owned())));
    assert_eq!(world.condition("RoutersInSync").unwrap().0, "False");
    world.routers_follow = true;
    world.rounds(120);
    assert_eq!(world.weight(), 50);
}

#[test]
fn a_cut_off_takes_everything_back_at_once_and_is_remembered() {
    let mut world = halfway();
    let revision = canary(&world);
    world.cut_off = Some((revision.clone(), "Errors".to_owned()));
    world.follow();
    world.act(usize::MAX);
    assert_eq!(world.weight(), 0, "in the first plan after the report");
    let table = world.observed.children.tables[0].data.clone().unwrap();
    assert!(table["table.json"].contains(r#""confirmed":{"revision""#));
    world.follow();
    world.settle();
    assert_eq!(world.condition("Stalled"), yes("CutOff"));
    assert_eq!(
        world.condition("Ready"),
        Some(("False".to_owned(), "RolledBack".to_owned()))
    );
    assert_eq!(world.condition("Available"), yes("MinimumReplicas"));
    assert_eq!(world.sizes(), [4]);
    // The same manifest does not try it again; a human may.
    world.cut_off = None;
    world.respec(|_| ());
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    world.command("retry/1");
    world.rounds(120);
    assert_eq!(world.weight(), 50);
}

#[test]
fn pods_stay_until_the_last_router_knows() {
    let mut world = halfway();
    world.command("abort/1");
    world.routers_follow = false;
    world.rounds(30);
    assert_eq!(world.weight(), 0);
    assert_eq!(world.revisions().len(), 2);
    world.routers_follow = true;
    world.settle();
    assert_eq!(world.sizes(), [4]);
    assert_eq!(world.condition("Stalled"), yes("AbortedByUser"));
}

#[test]
fn another_spec_takes_over_without_a_drop() {
    let mut world = halfway();
    world
        .answers
        .insert("/models/v3".to_owned(), world.answers["/models/v1"].clone());
    world.path("v3");
    let mut last = 50;
    for _ in 0..60 {
        world.round();
        assert!(world.serving() >= 4, "{:?}", world.sizes());
        let status = world.observed.model.status.clone().unwrap();
        if step(&world).is_some_and(|(_, kind)| kind == "Retreat") {
            let weight = status.traffic.unwrap()[1].spec_weight.unwrap();
            assert!(weight <= last);
            last = weight;
        }
    }
    assert_eq!(world.condition("Stalled"), None, "superseded is not failed");
}

#[test]
fn a_status_that_is_lost_in_the_middle_takes_no_share_back() {
    let mut world = halfway();
    let id = |world: &World| {
        world
            .observed
            .model
            .status
            .clone()
            .unwrap()
            .rollout
            .unwrap()
            .id
    };
    let before = id(&world);
    world.observed.model.status = None;
    for _ in 0..120 {
        world.round();
        assert_eq!(world.weight(), 50);
        assert!(world.serving() >= 4);
    }
    assert_eq!(id(&world), before, "users stay where they were");
    assert_eq!(step(&world), Some((4, "Pause".to_owned())));
    world.command("resume/2");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

#[test]
fn a_table_that_was_deleted_is_written_above_what_the_routers_have() {
    let mut world = halfway();
    let generation = |world: &World| {
        let table = crate::objects::router::table::read(&world.observed.children.tables[0]);
        table.unwrap().generation.0
    };
    let before = generation(&world);
    world.observed.children.tables.clear();
    world.act(usize::MAX);
    assert!(generation(&world) > before);
    assert_eq!(world.weight(), 50);
}

#[test]
fn where_nobody_may_give_its_place_nothing_is_touched() {
    let mut world = settled();
    world.rollout(json!({"capacity": {"maxSurge": 0, "minAvailable": "100%"}}));
    world.path("v2");
    world.settle();
    assert_eq!(world.condition("Stalled"), yes("InsufficientCapacity"));
    assert_eq!(world.sizes(), [4]);
}

#[test]
fn with_no_surge_a_place_is_borrowed_and_enough_always_serve() {
    let mut world = settled();
    world.rollout(json!({"capacity": {"maxSurge": 0}}));
    world.path("v2");
    for _ in 0..60 {
        world.round();
        assert!(world.serving() >= 2, "{:?}", world.sizes());
    }
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(world.sizes(), [4]);
}

#[test]
fn a_canary_that_is_lost_pauses_the_rollout_and_is_not_branded() {
    let mut world = halfway();
    let revision = canary(&world);
    let lost = |world: &mut World, ready: bool| {
        for pod in &mut world.observed.children.pods {
            if pod
                .metadata
                .labels
                .as_ref()
                .unwrap()
                .get(crds::labels::REVISION)
                == Some(&revision)
            {
                let status = if ready { "True" } else { "False" };
                let pod = std::sync::Arc::make_mut(pod);
                pod.status = Some(
                    serde_json::from_value(json!({
                        "phase": "Running", "conditions": [{"type": "Ready", "status": status}],
                    }))
                    .unwrap(),
                );
            }
        }
    };
    lost(&mut world, false);
    world.act(usize::MAX);
    assert_eq!(world.condition("Paused"), yes("CanaryUnavailable"));
    assert_eq!(world.weight(), 50, "the routers move what cannot be served");
    world.second += 10_000;
    world.act(usize::MAX);
    assert_eq!(
        world
            .observed
            .model
            .status
            .clone()
            .unwrap()
            .failed_revisions,
        None
    );
    lost(&mut world, true);
    world.act(usize::MAX);
    assert_eq!(world.condition("Paused"), yes("PauseStep"));
}

/// Goes on for so many seconds with the stable revision's pods gone; answers what was told, and the pods.
fn without_stable(world: &mut World, seconds: usize) -> (Vec<Notice>, Vec<Arc<Pod>>) {
    let stable = world.stable();
    let (mut told, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..seconds {
        let pods = &mut world.observed.children.pods;
        let revision = |pod: &Pod| {
            let labels = pod.metadata.labels.as_ref().unwrap();
            labels.get(crds::labels::REVISION).cloned()
        };
        let (away, there) = std::mem::take(pods)
            .into_iter()
            .partition(|pod| revision(pod).as_ref() == Some(&stable));
        *pods = there;
        gone.extend::<Vec<_>>(away);
        told.extend(world.plan().notices);
        world.round();
        if world.stable() != stable {
            break;
        }
    }
    (told, gone)
}

#[test]
fn a_new_revision_gets_in_where_the_old_one_is_down() {
    let mut world = halfway();
    // None of its pods comes back, and nobody says why.
    let (told, _) = without_stable(&mut world, 700);
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    let broken = told.iter().filter(|notice| notice.reason == "StableBroken");
    assert_eq!(broken.count(), 1);
}

#[test]
fn a_stable_revision_that_is_away_for_a_moment_takes_no_new_one_past_its_steps() {
    let mut world = halfway();
    let before = world.stable();
    let (told, pods) = without_stable(&mut world, 30);
    let there = &mut world.observed.children.pods;
    for pod in pods {
        if !there
            .iter()
            .any(|one| one.metadata.name == pod.metadata.name)
        {
            there.push(pod);
        }
    }
    world.rounds(100);
    assert_eq!(world.stable(), before);
    assert_eq!(step(&world).unwrap().1, "Pause");
    assert!(told.iter().all(|notice| notice.reason != "StableBroken"));
    let rollout = world
        .observed
        .model
        .status
        .as_ref()
        .unwrap()
        .rollout
        .clone();
    assert_eq!(rollout.unwrap().stable_lost_at, None);
}

#[test]
fn going_back_to_what_is_warm_is_immediate() {
    let mut world = halfway();
    world.command("resume/1");
    world.settle();
    world.path("v1");
    world.act(usize::MAX);
    assert_eq!(step(&world).unwrap().1, "Promote");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
}

#[test]
fn a_rollback_on_command_holds_against_the_manifest() {
    let mut world = halfway();
    world.command("resume/1");
    world.settle();
    world.command("rollback/2");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    assert_eq!(
        world.condition("Ready"),
        Some(("False".to_owned(), "RolledBack".to_owned()))
    );
    assert_eq!(world.condition("Available"), yes("MinimumReplicas"));
    let status = world.observed.model.status.clone().unwrap();
    let entry = &status.history.unwrap()[0];
    assert_eq!(entry.revision, world.stable());
    // One rollback is told once: of the revision that was sent away.
    assert_eq!(entry.outcome, Some(Outcome::Promoted.into()), "{entry:?}");
    assert!(entry.reason.clone().unwrap().contains("serves again"));
    // What is told of the files is told of those that serve.
    let verified = status
        .conditions
        .iter()
        .find(|c| c.type_ == "ModelVerified");
    let served = world.stable_digest().unwrap();
    assert!(verified.unwrap().message.contains(&served), "{verified:?}");
}

#[test]
fn steps_that_change_on_the_way_hold_from_the_next_rollout_on() {
    let mut world = halfway();
    world.rollout(json!({"steps": [{"setWeight": 20}]}));
    world.rounds(10);
    assert_eq!(world.weight(), 50);
    assert_eq!(step(&world), Some((4, "Pause".to_owned())));
}

#[test]
fn a_router_is_not_exchanged_in_the_middle_of_a_rollout() {
    let mut world = halfway();
    let router = |world: &World| {
        let mut all = world.observed.children.deployments.iter();
        let found = all.find(|d| d.metadata.name.as_deref() == Some("helpfulness-router"));
        found.unwrap().spec.clone().unwrap().template
    };
    let before = router(&world);
    world.observed.settings.server_image = "server:2".to_owned();
    world.round();
    assert_eq!(router(&world), before);
    world.command("resume/1");
    world.settle();
    assert_ne!(router(&world), before);
}

#[test]
fn what_somebody_opens_to_the_routers_is_closed_again() {
    let mut world = settled();
    for kind in [Kind::Role, Kind::NetworkPolicy, Kind::ConfigMap] {
        let name = if kind == Kind::ConfigMap {
            "helpfulness-traffic"
        } else {
            "helpfulness-router"
        };
        let key = crate::observed::ObjectKey {
            kind,
            name: name.to_owned(),
        };
        let before = world.observed.children.live(&key).unwrap().unwrap();
        world.meddle(&key, |object| {
            if kind == Kind::ConfigMap {
                object["data"]["table.json"] = "{}".into();
            } else if kind == Kind::Role {
                object["rules"][0]["resourceNames"] = json!(["other"]);
            } else {
                object["spec"]["ingress"][1]["from"] = json!([]);
            }
        });
        world.settle();
        let after = world.observed.children.live(&key).unwrap().unwrap();
        for part in ["data", "rules", "spec"] {
            assert_eq!(strip(&after[part]), strip(&before[part]), "{kind:?}");
        }
    }
}

/// A table is the same whatever its number.
fn strip(part: &serde_json::Value) -> String {
    let text = part.to_string();
    match (text.find("generation"), text.find("\\\"model")) {
        (Some(from), Some(to)) => format!("{}{}", &text[..from], &text[to..]),
        (_, _) => text,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Killed after any number of writes, with caches that are behind, and its status wiped at any time:
    /// the same end, no share is taken back, each step is entered once, and enough pods serve throughout.
    #[test]
    fn a_rollout_whose_operator_is_killed_anywhere_goes_through_each_step_once(
        kills in prop::collection::vec((0_usize..16, any::<bool>()), 0..60)
    ) {
        let mut world = settled();
        world.rollout(json!({"steps": [{"setWeight": 10}, {"pause": {"duration": "5s"}}, {"setWeight": 50}]}));
        world.path("v2");
        let mut entered: Vec<(i32, String)> = Vec::new();
        let (mut weight, mut kills) = (0, kills.into_iter());
        for _ in 0..200 {
            let (writes, caches_follow) = kills.next().unwrap_or((usize::MAX, true));
            world.caches_follow = caches_follow;
            world.act(writes);
            world.follow();
            world.second += 1;
            prop_assert!(world.serving() >= 2, "{:?}", world.sizes());
            if let Some(now) = step(&world).filter(|now| entered.last() != Some(now)) {
                prop_assert!(!entered.contains(&now), "{:?} again after {:?}", now, entered);
                entered.push(now);
                prop_assert!(world.weight() >= weight);
                weight = world.weight();
            }
        }
        prop_assert_eq!(world.stable_digest(), Some(DIGEST_2.to_owned()));
        prop_assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
        prop_assert_eq!(world.empty_writes, 0);
    }
}
