//! What strikes real clusters, each kind told as it happens to a resource.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::world::{DIGEST_1, DIGEST_2, FREE, Pods, Verify, World};
use crate::observed::{Claim, Kind, ObjectKey};

fn world() -> World {
    World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 2,
    }))
}

fn settled() -> World {
    let mut world = world();
    world.settle();
    world
}

fn is(world: &World, kind: &str, status: &str, reason: &str) {
    let expected = Some((status.to_owned(), reason.to_owned()));
    assert_eq!(
        world.condition(kind),
        expected,
        "{kind}: {}",
        world.message()
    );
}

fn key(world: &World, kind: Kind) -> ObjectKey {
    ObjectKey {
        kind,
        name: format!("helpfulness-{}", world.stable()),
    }
}

// --- replicas -----------------------------------------------------------------------------------

#[test]
fn taking_replicas_away_changes_no_pod() {
    let mut world = settled();
    world.respec(|model| model.spec.replicas = Some(3));
    world.settle();
    let pods = world.observed.children.pods.clone();
    world.respec(|model| model.spec.replicas = None);
    assert_eq!(world.plan().set_replicas, Some(3));
    for _ in 0..3 {
        // Even where the write does not come through.
        world.act(1);
        world.follow();
        assert_eq!(world.sizes(), [3]);
    }
    world.settle();
    assert_eq!(world.observed.children.pods, pods);
    assert_eq!(world.observed.model.spec.replicas, Some(3));
}

#[test]
fn a_model_that_was_scaled_to_zero_comes_back_in_its_last_size() {
    let mut world = settled();
    world.respec(|model| model.spec.replicas = Some(0));
    world.settle();
    is(&world, "Available", "True", "ScaledToZero");
    world.respec(|model| model.spec.replicas = None);
    world.settle();
    assert_eq!(world.sizes(), [2]);
}

#[test]
fn recreate_never_writes_zero_into_the_spec() {
    let mut world = settled();
    world.rollout(json!({"strategy": "Recreate"}));
    world.respec(|model| model.spec.replicas = None);
    world.path("v2");
    for _ in 0..30 {
        assert_ne!(world.plan().set_replicas, Some(0));
        world.act(2);
        world.follow();
        world.second += 1;
    }
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(world.sizes(), [2]);
}

/// What an autoscaler does with the scale subresource at a load of 100 % of its target: the count of
/// `status.replicas` has to be that of the pods that `status.selector` finds.
/// Whether an autoscaler finds a pod by a selector of the forms that we write.
fn selects(selector: &str, pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    let (pairs, sets) = match selector.split_once(" in (") {
        Some((before, set)) => {
            let (pairs, key) = before.rsplit_once(',').unwrap();
            (pairs, Some((key, set.trim_end_matches(')'))))
        }
        None => (selector, None),
    };
    let value = |key: &str| pod.labels().get(key).map(String::as_str);
    let mut pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
    pairs.all(|(key, wanted)| value(key) == Some(wanted))
        && sets.is_none_or(|(key, set)| {
            value(key).is_some_and(|have| set.split(',').any(|one| one == have))
        })
}

#[test]
fn an_autoscaler_computes_right_in_the_middle_of_a_rollout() {
    let mut world = settled();
    world.path("v2");
    for _ in 0..20 {
        world.round();
        // The status of this round speaks of the pods of the round before.
        let status = world.plan().status;
        let selector = status.selector.clone().unwrap();
        let pods = world.observed.children.pods.iter();
        let selected: Vec<_> = pods.filter(|pod| selects(&selector, pod)).collect();
        assert_eq!(status.replicas, i32::try_from(selected.len()).ok());
        // Whoever takes traffic is measured: else it would compute on a part of the load.
        for share in status.traffic.unwrap() {
            let takes = share.spec_weight.max(share.applied_weight) > Some(0);
            let is_measured = selected
                .iter()
                .any(|pod| pod.labels().get(crds::labels::REVISION) == Some(&share.revision));
            assert_eq!(takes, is_measured, "{selector}");
        }
    }
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

// --- pods that are over ---------------------------------------------------------------------------

#[test]
fn evicted_pods_do_not_block_recreate() {
    let mut world = settled();
    world.rollout(json!({"strategy": "Recreate"}));
    world.settle();
    world.evict(0);
    world.path("v2");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

#[test]
fn evicted_pods_do_not_count() {
    let mut world = settled();
    world.evict(0);
    world.settle();
    assert_eq!(
        world
            .observed
            .children
            .pods
            .iter()
            .filter(|pod| pod.labels().contains_key(crds::labels::REVISION))
            .count(),
        3
    );
    assert_eq!(
        world.observed.model.status.as_ref().unwrap().replicas,
        Some(2)
    );
    is(&world, "Ready", "True", "RolloutComplete");
}

#[test]
fn pods_on_their_way_out_still_hold_their_gpu() {
    let mut world = settled();
    world.rollout(json!({"strategy": "Recreate"}));
    world.pods_linger = true;
    world.path("v2");
    for _ in 0..20 {
        world.act(usize::MAX);
        let leaving = world
            .observed
            .children
            .pods
            .iter()
            .filter(|pod| pod.labels().contains_key(crds::labels::REVISION))
            .any(|pod| pod.metadata.deletion_timestamp.is_some());
        // While both are there; afterwards the old one's Deployment is gone, and its pods go.
        let both = world.revisions().len() == 2;
        let asked = world.sizes().iter().sum::<i32>();
        assert!(!leaving || !both || asked == 0, "started beside them");
        world.follow();
        world.second += 1;
    }
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

// --- what a user can mend -------------------------------------------------------------------------

#[test]
fn an_image_that_cannot_be_pulled_is_named_after_the_deadline_and_mends_itself() {
    let mut world = world();
    world.verify = Verify::PullsInVain;
    for _ in 0..3 {
        world.round();
    }
    is(&world, "Reconciling", "True", "Resolving");
    assert!(
        world.message().contains("ImagePullBackOff"),
        "{}",
        world.message()
    );
    let requeue = world.plan().requeue.as_secs();
    assert!(requeue <= 900, "nobody looks again: {requeue} s");
    world.second += 900;
    world.round();
    is(&world, "Stalled", "True", "DeadlineExceeded");
    assert!(
        world.message().contains("ImagePullBackOff"),
        "{}",
        world.message()
    );
    world.verify = Verify::Answers;
    world.settle();
    is(&world, "Ready", "True", "RolloutComplete");
}

#[test]
fn a_changed_image_resource_or_placement_reads_the_model_anew() {
    for change in [
        json!({"image": "mended:1"}),
        json!({"resources": {"limits": {"memory": "2Gi"}}}),
        json!({"podTemplate": {"nodeSelector": {"a": "b"}}}),
    ] {
        let mut world = world();
        world
            .answers
            .insert("/models/v1".to_owned(), (1, "out of memory".to_owned()));
        world.settle();
        is(&world, "Stalled", "True", "LoadFailed");
        let sound = world.answers["/models/v2"].clone();
        world.answers.insert("/models/v1".to_owned(), sound);
        world.respec(|model| model.spec.server = Some(serde_json::from_value(change).unwrap()));
        world.settle();
        is(&world, "Ready", "True", "RolloutComplete");
    }
}

#[test]
fn a_pod_that_recovered_is_not_dead() {
    let text = r#"{"ok":false,"reason":"ModelInvalid","message":"broken"}"#;
    let pod = |state: Value, ready: &str| {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "server", "image": "", "imageID": "", "ready": false, "restartCount": 5, "state": state,
                "lastState": {"terminated": {"exitCode": 1, "message": text}}}],
        }}))
        .unwrap()
    };
    let fatal = |state, ready| crate::reading::pods::fatal(&pod(state, ready)).is_some();
    assert!(fatal(
        json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        "False"
    ));
    assert!(!fatal(json!({"running": {}}), "False"));
    assert!(!fatal(json!({"running": {}}), "True"));
}

#[test]
fn no_room_and_no_quota_never_brand_a_revision_failed() {
    for (pods, kind, reason) in [
        (Pods::Unplaced, "Reconciling", "WaitingForCapacity"),
        (Pods::Refused, "Stalled", "QuotaExceeded"),
    ] {
        let mut world = settled();
        world.pods = pods;
        world.path("v2");
        for _ in 0..20 {
            world.round();
            world.second += 3_600;
        }
        is(&world, kind, "True", reason);
        assert_eq!(
            world
                .observed
                .model
                .status
                .as_ref()
                .unwrap()
                .failed_revisions,
            None
        );
        // There is room now: loading has its whole time.
        world.pods = Pods::Starting;
        world.round();
        world.round();
        world.second += 600;
        world.round();
        is(&world, "Reconciling", "True", "LoadingModel");
        world.pods = Pods::Ready;
        world.settle();
        assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    }
}

#[test]
fn pods_that_come_no_further_are_given_up_after_the_deadline() {
    let mut world = settled();
    world.pods = Pods::Starting;
    world.path("v2");
    for _ in 0..5 {
        world.round();
    }
    let requeue = world.plan().requeue.as_secs();
    assert!(requeue <= 900, "nobody looks again: {requeue} s");
    let status = world.observed.model.status.clone().unwrap();
    assert!(status.rollout.unwrap().deadline.is_some());
    world.second += 900;
    world.settle();
    is(&world, "Stalled", "True", "DeadlineExceeded");
    is(&world, "Ready", "False", "RolledBack");
}

// --- decisions ------------------------------------------------------------------------------------

#[test]
fn what_failed_is_remembered_by_the_status_though_its_record_was_never_marked() {
    let mut world = settled();
    world.pods = Pods::Failing;
    world.path("v2");
    // The status of the failure is written, and then the operator dies, for ever so often.
    for _ in 0..20 {
        let before = world.observed.model.status.clone().unwrap();
        let failing = world.plan().status.failed_revisions.is_some();
        world.act(if failing { 1 } else { usize::MAX });
        world.follow();
        world.second += 1;
        if before.failed_revisions.is_some() {
            break;
        }
    }
    world.pods = Pods::Ready;
    world.settle();
    assert_eq!(
        world.stable_digest().as_deref(),
        Some(DIGEST_1),
        "tried again"
    );
    is(&world, "Stalled", "True", "ModelInvalid");
    // And by the records where the status is lost.
    world.observed.model.status = None;
    world.settle();
    is(&world, "Ready", "False", "RolledBack");
}

#[test]
fn the_first_rollout_is_ready_only_when_the_service_leads_to_its_pods() {
    let mut world = world();
    for _ in 0..20 {
        world.act(usize::MAX);
        if world
            .condition("Ready")
            .is_some_and(|(status, _)| status == "True")
        {
            assert_eq!(world.reachable(), 2, "Ready before clients get an answer");
            return;
        }
        world.follow();
        world.second += 1;
    }
    panic!("never Ready");
}

// --- pinning --------------------------------------------------------------------------------------

#[test]
fn pinning_what_runs_changes_nothing_at_rest() {
    let mut world = settled();
    let pods = world.observed.children.pods.clone();
    for digest in [Some(DIGEST_1), None, Some(DIGEST_1)] {
        world.respec(|model| model.spec.model.digest = digest.map(Into::into));
        let plan = world.plan();
        assert!(plan.delete.is_empty());
        for _ in 0..4 {
            world.round();
            is(&world, "Ready", "True", "RolloutComplete");
        }
        assert_eq!(world.observed.children.pods, pods);
    }
}

#[test]
fn pinning_what_is_rolled_out_does_not_begin_anew() {
    let mut world = settled();
    world.pods = Pods::Starting;
    world.path("v2");
    for _ in 0..6 {
        world.round();
    }
    let canary = world.observed.model.status.clone().unwrap().canary.unwrap();
    world.respec(|model| model.spec.model.digest = Some(DIGEST_2.into()));
    world.round();
    let status = world.observed.model.status.clone().unwrap();
    assert_eq!(
        status.canary.map(|canary| canary.revision),
        Some(canary.revision)
    );
    world.pods = Pods::Ready;
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(
        world.observed.model.status.unwrap().history.unwrap().len(),
        2
    );
}

#[test]
fn a_target_that_is_being_read_supersedes_nothing() {
    let mut world = settled();
    world.pods = Pods::Starting;
    world.path("v2");
    for _ in 0..6 {
        world.round();
    }
    world.verify = Verify::PullsInVain;
    world
        .answers
        .insert("/models/v3".to_owned(), world.answers["/models/v1"].clone());
    world.path("v3");
    world.pods = Pods::Ready;
    for _ in 0..5 {
        world.round();
    }
    let status = world.observed.model.status.clone().unwrap();
    assert!(
        status.canary.is_some(),
        "given up for a model that nobody knows"
    );
    assert_eq!(
        world.stable_digest().as_deref(),
        Some(DIGEST_1),
        "promoted although the spec has moved on"
    );
}

#[test]
fn pinning_other_files_than_were_read_is_a_mismatch_that_moves_nothing() {
    let mut world = settled();
    let mismatch = json!({"ok": false, "reason": "DigestMismatch", "message": "other files"});
    world
        .answers
        .insert("/models/v1".to_owned(), (1, mismatch.to_string()));
    world.respec(|model| model.spec.model.digest = Some(DIGEST_2.into()));
    world.settle();
    is(&world, "Stalled", "True", "DigestMismatch");
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    assert_eq!(world.reachable(), 2);
}

// --- a claim for one pod --------------------------------------------------------------------------

#[test]
fn a_claim_for_one_pod_gets_past_its_second_revision_and_back() {
    let mut world = World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 1,
        "rollout": {"strategy": "Recreate"},
    }));
    world.claim = Claim::Present {
        lost: false,
        one_pod_only: true,
    };
    world.settle();
    world.path("v2");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    is(&world, "Ready", "True", "RolloutComplete");
    // A model that is bad gives the claim back.
    world.path("bad");
    world.settle();
    is(&world, "Stalled", "True", "DigestMismatch");
    is(&world, "Available", "True", "MinimumReplicas");
    // A claim that others may use at once is left to whoever serves.
    world.claim = FREE;
    assert_eq!(world.sizes(), [1]);
}

#[test]
fn records_of_the_first_version_are_read_once_more_and_move_no_pod() {
    let mut world = settled();
    let record = key(&world, Kind::ControllerRevision);
    world.meddle(&record, |body| {
        let annotations = body["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.retain(|name, _| name == crds::labels::ROLE);
        annotations.insert(crds::labels::VERIFIED.to_owned(), "0123456789".into());
    });
    let pods = world.observed.children.pods.clone();
    world.settle();
    is(&world, "Ready", "True", "RolloutComplete");
    assert_eq!(world.observed.children.pods, pods);
    let marks = world.observed.children.live(&record).unwrap().unwrap();
    let marks = &marks["metadata"]["annotations"];
    assert_eq!(marks[crds::labels::DIGEST], DIGEST_1);
    assert!(
        marks[crds::labels::VERIFIED]
            .as_str()
            .unwrap()
            .ends_with(".0")
    );
}

#[test]
fn a_new_model_gets_the_claim_for_one_pod_from_a_revision_that_loads() {
    let mut world = World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 1,
        "rollout": {"strategy": "Recreate"},
    }));
    world.claim = Claim::Present {
        lost: false,
        one_pod_only: true,
    };
    world.settle();
    world.pods = Pods::Starting;
    world.path("v2");
    for _ in 0..12 {
        world.round();
    }
    let sound = world.answers["/models/v1"].clone();
    world.answers.insert("/models/v3".to_owned(), sound);
    world.path("v3");
    world.pods = Pods::Ready;
    world.settle();
    is(&world, "Ready", "True", "RolloutComplete");
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

// --- what cannot be built -------------------------------------------------------------------------

#[test]
fn recreate_stops_nobody_for_pods_that_cannot_be_built() {
    let mut world = settled();
    world.rollout(json!({"strategy": "Recreate"}));
    world.settle();
    world.respec(|model| {
        let server = json!({"env": [{"name": 5}]});
        model.spec.server = Some(serde_json::from_value(server).unwrap());
    });
    for _ in 0..10 {
        world.round();
        assert_eq!(world.reachable(), 2);
    }
    is(&world, "Stalled", "True", "InvalidSpec");
    is(&world, "Available", "True", "MinimumReplicas");
}

#[test]
fn a_verify_pod_that_says_nothing_is_told_and_not_made_for_ever() {
    let mut world = world();
    world
        .answers
        .insert("/models/v1".to_owned(), (0, "hello".to_owned()));
    world.settle();
    is(&world, "Stalled", "True", "LoadFailed");
    assert!(world.message().contains("without a report"));
    assert_eq!(world.observed.children.jobs.len(), 1);
}

// --- what status says -----------------------------------------------------------------------------

#[test]
fn while_a_fix_rolls_out_its_progress_is_what_status_says() {
    let mut world = settled();
    // The stable pods break; the fix is on its way.
    world.pods = Pods::Failing;
    for deployment in &mut world.observed.children.deployments {
        std::sync::Arc::make_mut(deployment).status = None;
    }
    world.follow();
    world.settle();
    is(&world, "Stalled", "True", "ModelInvalid");
    world.verify = Verify::PullsInVain;
    world.path("v2");
    world.round();
    world.round();
    is(&world, "Reconciling", "True", "Resolving");
    assert_eq!(world.condition("Stalled"), None);
    world.verify = Verify::Answers;
    world.pods = Pods::Starting;
    for _ in 0..4 {
        world.round();
    }
    is(&world, "Reconciling", "True", "LoadingModel");
    assert_eq!(world.condition("Stalled"), None);
}

#[test]
fn a_scale_up_is_not_degraded() {
    let mut world = settled();
    world.respec(|model| model.spec.replicas = Some(4));
    world.act(usize::MAX);
    // Two of four are ready.
    let phase = |world: &World| world.plan().status.phase.unwrap().known().unwrap();
    assert_eq!(
        phase(&world),
        crds::v1alpha1::reward_model::status::Phase::Progressing
    );
    world.act(usize::MAX);
    is(&world, "Available", "True", "MinimumReplicas");
    is(&world, "Reconciling", "True", "LoadingModel");
}

#[test]
fn suspend_holds_a_promotion_in_flight() {
    let mut world = settled();
    world.pods = Pods::Starting;
    world.path("v2");
    for _ in 0..6 {
        world.round();
    }
    world.respec(|model| model.spec.suspend = true);
    world.pods = Pods::Ready;
    for _ in 0..5 {
        world.round();
        world.second += 3_600;
    }
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    is(&world, "Paused", "True", "UserRequested");
    assert!(
        world
            .observed
            .model
            .status
            .as_ref()
            .unwrap()
            .canary
            .is_some()
    );
    world.respec(|model| model.spec.suspend = false);
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

#[test]
fn an_event_names_its_own_revision() {
    let mut world = settled();
    world.path("v2");
    let mut promoted = Vec::new();
    for path in ["v2", "v1"] {
        world.path(path);
        for _ in 0..30 {
            promoted.extend(
                world
                    .plan()
                    .notices
                    .into_iter()
                    .filter(|notice| notice.reason == "Promoted"),
            );
            world.round();
        }
    }
    assert_eq!(promoted.len(), 2);
    for notice in &promoted {
        assert!(notice.message.contains(notice.revision.as_deref().unwrap()));
    }
    assert_ne!(promoted[0].revision, promoted[1].revision);
}

// --- versions -------------------------------------------------------------------------------------

#[test]
fn a_status_with_unknown_words_is_held_until_a_human_aborts() {
    for unknown in [
        json!({"phase": "Levitating"}),
        json!({"rollout": {"id": "x", "step": {"kind": "Levitate", "index": 1, "total": 9}}}),
    ] {
        let mut world = settled();
        let pods = world.observed.children.pods.clone();
        let mut status = serde_json::to_value(world.observed.model.status.clone()).unwrap();
        for (field, value) in unknown.as_object().unwrap() {
            status[field] = value.clone();
        }
        world.observed.model.status = Some(serde_json::from_value(status).unwrap());
        world.path("v2");
        for _ in 0..5 {
            world.round();
        }
        is(&world, "Stalled", "True", "UnknownState");
        assert_eq!(world.observed.children.pods, pods);
        let model = &world.observed.model;
        assert_eq!(
            model.status.as_ref().unwrap().observed_generation,
            model.metadata.generation,
            "who waits for the newest spec does not hear that it is stalled"
        );
        let written = serde_json::to_value(world.observed.model.status.clone()).unwrap();
        for (field, value) in unknown.as_object().unwrap() {
            assert_eq!(&written[field], value, "the other version's words are lost");
        }
        world.command("retry/1");
        world.round();
        let last = world
            .observed
            .model
            .status
            .clone()
            .unwrap()
            .last_command
            .unwrap();
        assert_eq!(last.result, "Refused");
        world.command("abort/2");
        world.settle();
        assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    }
}

#[test]
fn the_content_of_a_record_is_written_once() {
    let mut world = settled();
    world.path("v2");
    for _ in 0..20 {
        let records = world
            .plan()
            .apply
            .into_iter()
            .filter(|object| object.key.kind == Kind::ControllerRevision);
        for record in records {
            let known = world
                .observed
                .children
                .records
                .iter()
                .any(|old| old.name_any() == record.key.name);
            assert_eq!(
                record.body.get("data").is_some_and(|data| !data.is_null()),
                !known
            );
        }
        world.round();
    }
}

// --- drift ----------------------------------------------------------------------------------------

#[test]
fn what_somebody_adds_is_repaired_once_where_it_matters() {
    let meddlings: [(Kind, &str, Value); 4] = [
        (Kind::Service, "/spec/selector/extra", json!("key")),
        (
            Kind::Deployment,
            "/spec/template/spec/containers/0/env/-",
            json!({"name": "X", "value": "y"}),
        ),
        (
            Kind::Deployment,
            "/spec/template/spec/hostNetwork",
            json!(true),
        ),
        (
            Kind::Deployment,
            "/spec/template/spec/nodeSelector",
            json!({"a": "b"}),
        ),
    ];
    for (kind, at, added) in meddlings {
        let mut world = settled();
        let key = key(&world, kind);
        let before = world.observed.children.live(&key).unwrap().unwrap();
        world.meddle(&key, |body| {
            let (parent, name) = at.rsplit_once('/').unwrap();
            let parent = body.pointer_mut(parent).unwrap();
            match parent.as_array_mut() {
                Some(list) => list.push(added),
                None => parent[name] = added,
            }
        });
        world.settle();
        let after = world.observed.children.live(&key).unwrap().unwrap();
        assert_eq!(after["spec"], before["spec"], "{at}");
        assert_eq!(world.empty_writes, 0);
    }
}

#[test]
fn what_kubernetes_puts_there_is_left_alone() {
    let mut world = settled();
    let (deployment, service) = (key(&world, Kind::Deployment), key(&world, Kind::Service));
    world.meddle(&deployment, |body| {
        body["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
        body["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        body["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] =
            json!("IfNotPresent");
        body["spec"]["template"]["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/restartedAt": "now"});
    });
    world.meddle(&service, |body| {
        body["spec"]["clusterIPs"] = json!(["None"]);
        body["spec"]["sessionAffinity"] = json!("None");
    });
    let before = world.observed.children.live(&deployment).unwrap();
    world.settle();
    assert_eq!(world.observed.children.live(&deployment).unwrap(), before);
}

#[test]
fn the_date_that_templates_see_is_that_of_the_revision_s_birth_for_ever() {
    let mut world = settled();
    let key = key(&world, Kind::Deployment);
    let before = world.observed.children.live(&key).unwrap().unwrap();
    let args = before
        .pointer("/spec/template/spec/containers/0/args")
        .unwrap()
        .to_string();
    assert!(args.contains("\"--special-date\",\"1970-01-01\""), "{args}");
    world.second += 86_400 * 40;
    world.respec(|model| model.spec.replicas = Some(3));
    world.settle();
    let after = world.observed.children.live(&key).unwrap().unwrap();
    assert_eq!(
        after.pointer("/spec/template"),
        before.pointer("/spec/template")
    );
}

#[test]
fn an_annotation_on_a_deployment_flips_no_condition() {
    let mut world = settled();
    let deployment = key(&world, Kind::Deployment);
    world.meddle(&deployment, |body| {
        body["metadata"]["annotations"] = json!({"touched": "1"});
        body["metadata"]["generation"] = json!(7);
        body["status"]["observedGeneration"] = json!(6);
    });
    let plan = world.plan();
    assert_eq!(Some(&plan.status), world.observed.model.status.as_ref());
}

#[test]
fn children_block_the_deletion_of_their_owner() {
    let world = settled();
    for object in world.plan().apply {
        let owner = &object.body["metadata"]["ownerReferences"][0];
        assert_eq!(owner["blockOwnerDeletion"], true, "{:?}", object.key);
        assert_eq!(owner["controller"], true);
    }
}
