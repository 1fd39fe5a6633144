//! What others in the cluster do to a resource: no room, quotas, gates, sidecars, strangers, older
//! versions.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};

use super::rollouts::{halfway, settled, step, yes};
use super::world::{DIGEST_1, DIGEST_2, Pods, Verify, World};
use crate::observed::{Elsewhere, Holder, Kind, ObjectKey};

fn endpoint(world: &World) -> Value {
    let key = ObjectKey {
        kind: Kind::Service,
        name: "helpfulness".to_owned(),
    };
    world.observed.children.live(&key).unwrap().unwrap()["spec"]["selector"].clone()
}

/// Replaces the arguments of a revision's server, as an operator of before the routers wrote them.
fn forget_routers(world: &mut World, revision: &str) {
    let key = ObjectKey {
        kind: Kind::Deployment,
        name: format!("helpfulness-{revision}"),
    };
    world.change_record(revision, |content| {
        let args = &mut content["template"]["spec"]["containers"][0]["args"];
        let mut kept = args.as_array().unwrap().clone();
        let at = kept.iter().position(|arg| arg == "--revision").unwrap();
        kept.drain(at..at + 2);
        *args = kept.into();
    });
    world.meddle(&key, |object| {
        let args = &mut object["spec"]["template"]["spec"]["containers"][0]["args"];
        let mut kept = args.as_array().unwrap().clone();
        let at = kept.iter().position(|arg| arg == "--revision").unwrap();
        kept.drain(at..at + 2);
        *args = kept.into();
    });
}

#[test]
fn clients_stay_with_pods_that_know_no_router_until_others_have_all_the_traffic() {
    let mut world = settled();
    let old = world.stable();
    forget_routers(&mut world, &old);
    // As an operator of before the routers left it.
    let service = ObjectKey {
        kind: Kind::Service,
        name: "helpfulness".to_owned(),
    };
    let direct = json!({"betterai.dev/model": "helpfulness", "betterai.dev/component": "server", "betterai.dev/revision": old});
    world.meddle(&service, |object| {
        object["spec"]["selector"] = direct.clone();
    });
    world.settle();
    assert_eq!(endpoint(&world), direct);
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    world.path("v2");
    for _ in 0..60 {
        world.round();
        assert!(world.reachable() > 0);
        if endpoint(&world) != direct {
            assert_eq!(world.weight_of_the_new(&old), 100);
        }
    }
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(endpoint(&world)["betterai.dev/component"], "router");
}

#[test]
fn a_rollout_without_room_waits_and_says_who_has_it() {
    let mut world = settled();
    world.respec(|model| {
        let gpu = json!({"resources": {"limits": {"nvidia.com/gpu": "1"}}});
        model.spec.server = Some(serde_json::from_value(gpu).unwrap());
    });
    world.pods = Pods::Unplaced;
    let holder = |namespace: &str, name: &str| Holder {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        gpus: 2,
    };
    world.holders = vec![
        holder("team", "training-7"),
        holder("others", "secret-name"),
    ];
    world.rounds(40);
    assert_eq!(world.condition("Reconciling"), yes("WaitingForCapacity"));
    let message = world.message();
    assert!(message.contains("no GPU"), "{message}");
    assert!(message.contains("training-7 (2)"), "{message}");
    assert!(
        message.contains("pods of other namespaces (2)"),
        "{message}"
    );
    world.second += 100_000;
    world.rounds(3);
    assert_eq!(world.condition("Stalled"), None, "waiting is not failing");
    assert_eq!(world.sizes()[0], 4, "{:?}", world.sizes());
}

#[rstest]
#[case::borrow("Borrow")]
#[case::abort("Abort")]
fn where_no_node_has_room_the_spec_says_what_happens(#[case] then: &str) {
    let mut world = settled();
    world.rollout(json!({
        "steps": [{"setWeight": 10}],
        "capacity": {"onUnschedulable": then, "unschedulableAfter": "1m"},
    }));
    world.room = Some(4);
    world.path("v2");
    world.rounds(50);
    assert_eq!(world.condition("Reconciling"), yes("WaitingForCapacity"));
    assert_eq!(world.weight(), 0);
    for _ in 0..150 {
        world.round();
        assert!(world.placed() <= 4, "{:?}", world.sizes());
        assert!(world.serving() >= 2, "{:?}", world.sizes());
    }
    if then == "Abort" {
        assert_eq!(world.condition("Stalled"), yes("InsufficientCapacity"));
        assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
        assert_eq!(world.sizes(), [4]);
    } else {
        assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    }
}

#[test]
fn a_gate_that_holds_pods_back_is_waited_for() {
    let mut world = settled();
    world.pods = Pods::Gated;
    world.path("v2");
    world.rounds(20);
    world.second += 100_000;
    world.rounds(3);
    assert_eq!(world.condition("Stalled"), None);
    assert_eq!(world.condition("Reconciling"), yes("WaitingForCapacity"));
    assert!(world.message().contains("gate"), "{}", world.message());
}

#[test]
fn a_quota_in_the_way_of_the_verify_pod_is_named() {
    let mut world = settled();
    world.verify = Verify::Refused;
    world.job_events = vec!["pods \"x\" is forbidden: exceeded quota: team-pods".to_owned()];
    world.path("v2");
    world.rounds(10);
    assert!(world.plan().requeue.as_secs() <= 10, "Events wake nobody");
    assert_eq!(world.condition("Stalled"), yes("QuotaExceeded"));
    assert!(world.message().contains("team-pods"), "{}", world.message());
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    // Once there is room it goes on by itself.
    world.verify = Verify::Answers;
    world.rounds(120);
    assert_eq!(world.weight(), 50);
}

#[test]
fn a_container_is_known_by_its_name_wherever_it_stands() {
    let mut world = settled();
    world.sidecar = true;
    world.pods = Pods::Failing;
    world.path("v2");
    world.settle();
    assert_eq!(world.condition("Stalled"), yes("ModelInvalid"));
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

#[test]
fn pods_of_strangers_with_our_labels_count_for_nothing() {
    let mut world = settled();
    world.pods = Pods::Starting;
    world.path("v2");
    world.rounds(5);
    let deployments = world.revisions();
    let new = deployments.iter().find(|d| {
        !d.metadata
            .name
            .as_deref()
            .unwrap()
            .contains(&world.stable())
    });
    let labels = new
        .unwrap()
        .spec
        .clone()
        .unwrap()
        .template
        .metadata
        .unwrap()
        .labels;
    world.strangers = vec![Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": "copy.0", "uid": "x", "labels": labels},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap(),
    )];
    world.rounds(20);
    assert_eq!(
        step(&world),
        Some((0, "Load".to_owned())),
        "nothing of it is ready"
    );
    assert_eq!(world.weight(), 0);
}

#[test]
fn a_new_revision_waits_its_turn_and_says_so_but_going_back_does_not() {
    let mut world = halfway();
    world.command("resume/1");
    world.settle();
    world.observed.elsewhere = Elsewhere {
        loading: 3,
        at_once: 3,
    };
    world
        .answers
        .insert("/models/v3".to_owned(), world.answers["/models/v1"].clone());
    world.rollout(json!({"steps": [{"setWeight": 20}, {"pause": {}}]}));
    world.respec(|model| {
        model.spec.server = Some(serde_json::from_value(json!({"dtype": "F32"})).unwrap());
    });
    world.rounds(20);
    assert_eq!(step(&world), None);
    assert_eq!(world.condition("Reconciling"), yes("WaitingForCapacity"));
    assert!(
        world.message().starts_with("3 other RewardModels"),
        "{}",
        world.message()
    );
    assert!(
        world.plan().requeue.as_secs() <= 10,
        "nobody tells it when one is done"
    );
    world.respec(|model| model.spec.server = None);
    world.path("v1");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    world.observed.elsewhere.loading = 2;
    world.path("v3");
    world.rounds(10);
    assert_eq!(step(&world), Some((2, "Pause".to_owned())));
}

#[test]
fn what_was_taken_back_stays_until_the_routers_know_also_when_the_status_is_lost() {
    let mut world = halfway();
    world.command("abort/1");
    world.routers_follow = false;
    world.rounds(5);
    world.observed.model.status = None;
    world.rounds(20);
    assert_eq!(world.revisions().len(), 2, "a router may still lead to it");
    assert_eq!(world.weight(), 0);
    world.routers_follow = true;
    world.rounds(20);
    assert_eq!(world.sizes(), [4]);
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

#[test]
fn a_command_whose_answer_is_lost_is_not_carried_out_again() {
    let mut world = halfway();
    world.command("resume/1");
    world.settle();
    world.command("rollback/2");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    world.path("v3");
    world
        .answers
        .insert("/models/v3".to_owned(), world.answers["/models/v2"].clone());
    world.observed.model.status = None;
    world.rounds(60);
    let status = world.observed.model.status.clone().unwrap();
    let last = status.last_command.unwrap();
    assert_eq!(
        (last.nonce.as_str(), last.result.as_str()),
        ("2", "Refused")
    );
}

#[test]
fn a_canary_whose_pods_hang_after_they_were_lost_has_a_deadline() {
    let mut world = halfway();
    world.pods = Pods::Starting;
    world.lose(2);
    world.rounds(3);
    assert_eq!(world.condition("Paused"), yes("CanaryUnavailable"));
    world.second += 16 * 60;
    world.rounds(30);
    assert_eq!(world.condition("Stalled"), yes("DeadlineExceeded"));
    assert_eq!(world.sizes(), [4]);
}

#[test]
fn each_shift_of_traffic_and_each_pause_is_told() {
    let mut world = settled();
    world.path("v2");
    let mut told = Vec::new();
    for _ in 0..120 {
        told.extend(world.plan().notices.into_iter().map(|notice| notice.reason));
        world.round();
    }
    told.retain(|reason| reason == "TrafficShifted" || reason == "PauseStep");
    assert_eq!(
        told,
        ["TrafficShifted", "PauseStep", "TrafficShifted", "PauseStep"]
    );
}

#[test]
fn what_a_user_changes_and_does_not_see_at_work_is_said() {
    let mut world = halfway();
    world.respec(|model| {
        model.spec.traffic = Some(serde_json::from_value(json!({"timeout": "3s"})).unwrap());
    });
    world.rollout(json!({"steps": [{"setWeight": 20}]}));
    world.rounds(3);
    let conditions = world.observed.model.status.clone().unwrap().conditions;
    let routers = conditions
        .iter()
        .find(|c| c.type_ == "RoutersInSync")
        .unwrap();
    assert!(
        routers.message.contains("spec.traffic"),
        "{}",
        routers.message
    );
    assert!(world.message().contains("steps"), "{}", world.message());
}
