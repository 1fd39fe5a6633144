//! What the operator does, told as it happens to a resource.

use kube::ResourceExt;
use proptest::prelude::*;
use serde_json::json;

use super::world::{DIGEST_1, DIGEST_2, FREE, Pods, World};
use crate::objects::Desired;
use crate::observed::{Claim, Kind, ObjectKey};

fn world() -> World {
    World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 2,
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with an option")]
fn yes(reason: &str) -> Option<(String, String)> {
    Some(("True".to_owned(), reason.to_owned()))
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with an option")]
fn no(reason: &str) -> Option<(String, String)> {
    Some(("False".to_owned(), reason.to_owned()))
}

fn kinds(objects: &[Desired]) -> Vec<Kind> {
    objects.iter().map(|object| object.key.kind).collect()
}

#[test]
fn a_new_model_is_verified_before_anything_is_made_for_it() {
    assert_eq!(kinds(&world().plan().apply), [Kind::Service, Kind::Job]);
}

#[test]
fn a_sound_model_ends_ready() {
    let mut world = world();
    world.settle();
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert_eq!(world.condition("Available"), yes("MinimumReplicas"));
    assert_eq!(world.condition("ModelVerified"), yes("AsExpected"));
    assert_eq!(world.condition("Reconciling"), None);
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

#[test]
fn the_objects_of_a_ready_model_are_as_they_were() {
    let mut world = world();
    world.settle();
    let objects = &world.plan().apply;
    let json: Vec<_> = objects.iter().map(|object| &object.body).collect();
    insta::assert_yaml_snapshot!("objects_of_a_ready_model", json);
    insta::assert_yaml_snapshot!("status_of_a_ready_model", world.observed.model.status);
}

#[test]
fn a_settled_model_is_left_alone() {
    let mut world = world();
    world.settle();
    let plan = world.plan();
    assert_eq!(Some(&plan.status), world.observed.model.status.as_ref());
    assert!(plan.delete.is_empty() && plan.notices.is_empty());
    world.act(0);
    assert_eq!(world.empty_writes, 0);
}

#[test]
fn a_changed_model_takes_over_and_the_old_one_goes() {
    let mut world = world();
    world.settle();
    world.path("v2");
    world.settle();
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    let mut sizes = world.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2], "the old one is kept warm with a pod");
    world.cool();
    assert_eq!(world.sizes(), [2]);
    assert_eq!(world.observed.children.records.len(), 2);
    let history = world
        .observed
        .model
        .status
        .as_ref()
        .unwrap()
        .history
        .as_ref()
        .unwrap();
    assert_eq!(history.len(), 2);
}

#[test]
fn clients_are_led_to_the_router_and_a_revision_that_loads_is_in_no_table() {
    let mut world = world();
    world.settle();
    let before = world.observed.children.tables.clone();
    world.pods = Pods::Starting;
    world.path("v2");
    for _ in 0..10 {
        world.act(usize::MAX);
        world.follow();
        let mut services = world.observed.children.services.iter();
        let service = services.find(|s| s.name_any() == "helpfulness").unwrap();
        let selector = service.spec.as_ref().unwrap().selector.clone().unwrap();
        assert_eq!(selector[crds::labels::COMPONENT], "router");
        assert_eq!(world.observed.children.tables, before);
        assert!(world.revisions().len() <= 2);
    }
    assert_eq!(world.condition("Ready"), no("Progressing"));
    assert_eq!(world.condition("Reconciling"), yes("LoadingModel"));
}

#[test]
fn a_model_that_does_not_match_its_digest_leaves_the_old_one_serving() {
    let mut world = world();
    world.settle();
    world.path("bad");
    world.settle();
    assert_eq!(world.condition("Stalled"), yes("DigestMismatch"));
    assert_eq!(world.condition("Ready"), no("Stalled"));
    assert_eq!(world.condition("Available"), yes("MinimumReplicas"));
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    let status = world.observed.model.status.clone().unwrap();
    assert_eq!(
        status.model.unwrap().last_failure.unwrap().reason,
        "DigestMismatch"
    );
    // Going back to the old manifest is enough.
    world.path("v1");
    world.settle();
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert_eq!(world.condition("Stalled"), None);
}

#[test]
fn a_revision_whose_pods_fail_never_serves_and_is_not_tried_again() {
    let mut world = world();
    world.settle();
    world.pods = Pods::Failing;
    world.path("v2");
    world.settle();
    assert_eq!(world.condition("Ready"), no("RolledBack"));
    assert_eq!(world.condition("Stalled"), yes("ModelInvalid"));
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    assert_eq!(world.revisions().len(), 1);
    world.pods = Pods::Ready;
    world.settle();
    assert_eq!(
        world.stable_digest().as_deref(),
        Some(DIGEST_1),
        "tried again without being told"
    );
    world.command("retry/1");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
}

#[test]
fn a_model_that_was_mended_in_place_is_read_again_on_retry() {
    let mut world = world();
    world.path("bad");
    world.settle();
    assert_eq!(world.condition("Stalled"), yes("DigestMismatch"));
    let mended = world.answers["/models/v2"].clone();
    world.answers.insert("/models/bad".to_owned(), mended);
    world.command("retry/1");
    world.settle();
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert_eq!(
        world
            .observed
            .model
            .status
            .unwrap()
            .last_command
            .unwrap()
            .result,
        "Done"
    );
}

#[test]
fn an_operator_with_other_defaults_restarts_no_model() {
    let mut world = world();
    world.settle();
    let before = world.revisions();
    world.observed.settings.server_image = "server:2".to_owned();
    world.settle();
    assert_eq!(world.revisions(), before);
}

#[test]
fn a_lost_status_is_rebuilt_from_the_records() {
    let mut world = world();
    world.settle();
    let deployments = world.observed.children.deployments.clone();
    world.observed.model.status = None;
    world.settle();
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert_eq!(world.observed.children.deployments, deployments);
}

#[test]
fn a_foreign_object_of_a_needed_name_is_never_touched() {
    let mut world = world();
    let key = ObjectKey {
        kind: Kind::Service,
        name: "helpfulness".to_owned(),
    };
    world.observed.conflicts.push(key.clone());
    let plan = world.plan();
    assert!(plan.apply.iter().all(|object| object.key != key));
    assert_eq!(kinds(&plan.apply), [], "nothing new starts on a taken name");
    world.act(usize::MAX);
    assert_eq!(world.condition("Stalled"), yes("NameConflict"));
}

#[test]
fn a_missing_claim_is_named_and_waited_for() {
    let mut world = world();
    world.claim = Claim::Missing;
    let plan = world.plan();
    world.act(usize::MAX);
    assert_eq!(world.condition("Stalled"), yes("VolumeUnavailable"));
    assert!(plan.requeue.as_secs() <= 10);
    world.claim = FREE;
    world.settle();
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
}

#[test]
fn a_suspended_model_keeps_what_it_has() {
    let mut world = world();
    world.settle();
    world.path("v2");
    world.respec(|model| model.spec.suspend = true);
    world.settle();
    assert_eq!(world.condition("Ready"), no("Suspended"));
    assert_eq!(world.condition("Paused"), yes("UserRequested"));
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

#[test]
fn recreate_stops_the_old_pods_first_and_starts_them_again_if_the_new_ones_fail() {
    let mut world = world();
    world.rollout(json!({"strategy": "Recreate"}));
    world.settle();
    world.pods = Pods::Failing;
    world.path("v2");
    let mut sizes = Vec::new();
    for _ in 0..12 {
        world.act(usize::MAX);
        world.follow();
        sizes.push(world.sizes());
    }
    assert!(
        sizes.iter().all(|all| all.iter().sum::<i32>() <= 2),
        "{sizes:?}"
    );
    assert!(sizes.contains(&vec![0, 2]), "{sizes:?}");
    world.pods = Pods::Ready;
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    assert_eq!(world.condition("Available"), yes("MinimumReplicas"));
}

#[test]
fn replicas_are_written_once_where_the_spec_has_none() {
    let mut world = world();
    world.respec(|model| model.spec.replicas = None);
    assert_eq!(world.plan().set_replicas, Some(1));
    world.settle();
    assert_eq!(world.plan().set_replicas, None);
}

#[test]
fn a_model_that_is_being_deleted_gets_nothing() {
    let mut world = world();
    world.observed.model.metadata.deletion_timestamp = Some(
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now()),
    );
    let plan = world.plan();
    assert!(plan.apply.is_empty() && plan.delete.is_empty());
}

#[test]
fn old_records_are_kept_up_to_the_limit() {
    let mut world = world();
    world.rollout(json!({"revisionHistoryLimit": 1}));
    for round in 0..4 {
        world.respec(|model| {
            let server = json!({"args": ["--threads", round.to_string()]});
            model.spec.server = Some(serde_json::from_value(server).unwrap());
        });
        world.settle();
        world.cool();
    }
    assert_eq!(world.observed.children.records.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Killed after any number of writes, with caches that are behind: the next operator begins with
    /// what the cluster has.
    #[test]
    fn an_operator_that_is_killed_anywhere_reaches_the_same_end(
        kills in prop::collection::vec((0_usize..14, any::<bool>()), 0..25)
    ) {
        let mut world = world();
        world.settle();
        world.path("v2");
        for (writes, caches_follow) in kills {
            world.caches_follow = caches_follow;
            world.act(writes);
            world.follow();
            world.second += 1;
            prop_assert!(world.reachable() >= 2, "clients were left without a pod");
        }
        world.caches_follow = true;
        world.settle();
        prop_assert_eq!(world.stable_digest(), Some(DIGEST_2.to_owned()));
        prop_assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
        world.cool();
        prop_assert_eq!(world.sizes(), [2]);
        prop_assert_eq!(world.empty_writes, 0);
    }

    #[test]
    fn a_retry_is_never_lost_between_its_acknowledgement_and_its_effect(
        kills in prop::collection::vec(0_usize..6, 0..12)
    ) {
        let mut world = world();
        world.settle();
        world.pods = Pods::Failing;
        world.path("v2");
        world.settle();
        world.pods = Pods::Ready;
        world.command("retry/1");
        for writes in kills {
            world.act(writes);
            world.follow();
            world.second += 1;
        }
        world.settle();
        prop_assert_eq!(world.stable_digest(), Some(DIGEST_2.to_owned()));
        let jobs = &world.observed.children.jobs;
        prop_assert!(jobs.iter().any(|job| job.name_any().ends_with("-1")), "the model was not read anew");
    }
}
