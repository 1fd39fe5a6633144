//! What must work when something is wrong already: human gates, ways back, tables that cannot be made.

use serde_json::json;

use super::experiments::table;
use super::rollouts::{halfway, settled, step, yes};
use super::world::{DIGEST_1, DIGEST_2, Pods, World};
use crate::observed::Elsewhere;

fn steps(steps: serde_json::Value) -> World {
    let mut world = settled();
    world.rollout(json!({"steps": steps, "requireApproval": true}));
    world.path("v2");
    world
}

#[test]
fn all_of_the_traffic_in_a_step_passes_no_human_by() {
    for replicas in [1, 2, 4] {
        let mut world = steps(json!([{"setWeight": 100}, {"pause": {}}]));
        world.respec(|model| model.spec.replicas = Some(replicas));
        world.rounds(60);
        assert_eq!(step(&world), Some((2, "Pause".to_owned())), "{replicas}");
        assert_eq!(world.weight(), 100);
        assert!(
            world.sizes().iter().all(|size| *size > 0),
            "somebody to go back to"
        );
        world.command("resume/1");
        world.rounds(20);
        assert_eq!(
            world.condition("Paused"),
            yes("AwaitingApproval"),
            "{replicas}"
        );
        world.rollout(json!({"steps": [{"setWeight": 100}, {"pause": {}}]}));
        world.settle();
        assert_eq!(
            world.stable_digest().as_deref(),
            Some(DIGEST_2),
            "no approval is asked for any more"
        );
    }
}

#[test]
fn a_rollback_acts_also_while_the_spec_is_suspended_or_wrong() {
    for wrong in [false, true] {
        let mut world = halfway();
        world.command("resume/1");
        world.settle();
        world.respec(|model| {
            model.spec.suspend = !wrong;
            if wrong {
                model.spec.model.source.pvc.as_mut().unwrap().path = Some("/outside".to_owned());
            }
        });
        world.command("rollback/2");
        world.rounds(30);
        assert_eq!(
            world.stable_digest().as_deref(),
            Some(DIGEST_1),
            "wrong: {wrong}"
        );
    }
}

#[test]
fn rules_that_no_router_takes_are_refused_and_keep_nobody_from_going_back() {
    for rules in [
        json!({"errorRate": "1.5"}),
        json!({"slowFactor": "0.5"}),
        json!({"window": "50ms"}),
    ] {
        let mut world = halfway();
        world.rollout(json!({"cutOff": rules}));
        world.rounds(3);
        assert_eq!(world.condition("Stalled"), yes("InvalidSpec"), "{rules}");
        assert!(world.message().contains("cutOff"), "{}", world.message());
        world.command("abort/1");
        world.rounds(3);
        assert_eq!(world.weight(), 0, "the routers are told all the same");
        world.rounds(20);
        assert_eq!(world.sizes(), [4]);
    }
}

#[test]
fn a_fix_may_be_fixed_while_what_serves_was_sent_away() {
    let mut world = halfway();
    world.command("resume/1");
    world.settle();
    // Back to v1, which has failed by now, so that v2 serves although a human has sent it away.
    world.command("rollback/2");
    world.rounds(1);
    world.command("abort/3");
    world.rounds(30);
    for path in ["v3", "v4"] {
        world.answers.insert(
            format!("/models/{path}"),
            world.answers["/models/v2"].clone(),
        );
    }
    world.pods = Pods::Starting;
    world.path("v3");
    world.rounds(5);
    assert_eq!(step(&world), Some((0, "Load".to_owned())));
    world.pods = Pods::Ready;
    world.path("v4");
    world.rounds(120);
    assert_eq!(world.weight(), 50, "{}", world.message());
}

#[test]
fn what_begins_takes_its_turn_from_the_beginning() {
    let mut world = settled();
    world.pods = Pods::Starting;
    world.path("v2");
    let mut loads = Vec::new();
    for _ in 0..8 {
        let wanted = world.plan();
        let begins = wanted
            .status
            .rollout
            .is_some_and(|rollout| rollout.step.is_some());
        loads.push((begins, wanted.loads));
        world.round();
    }
    assert!(loads.contains(&(true, true)));
    assert!(
        loads.iter().all(|(begins, loads)| begins == loads),
        "{loads:?}"
    );
}

#[test]
fn a_router_that_is_away_takes_no_turn() {
    let mut world = settled();
    world.routers_away = true;
    world.rounds(3);
    assert!(!world.plan().loads);
}

#[test]
fn recreate_that_is_held_stops_no_pod_that_serves_and_goes_on_where_it_has() {
    let mut world = settled();
    world.rollout(json!({"strategy": "Recreate"}));
    world.settle();
    world.path("v2");
    world.respec(|model| model.spec.suspend = true);
    for _ in 0..20 {
        world.round();
        assert!(world.serving() >= 4);
    }
    world.respec(|model| model.spec.suspend = false);
    while world.serving() >= 4 {
        world.round();
    }
    world.respec(|model| model.spec.suspend = true);
    world.rounds(30);
    assert_eq!(
        world.stable_digest().as_deref(),
        Some(DIGEST_2),
        "nobody else serves"
    );
}

#[test]
fn what_spec_traffic_says_is_in_force_before_it_is_called_ready() {
    let mut world = settled();
    world.observed.elsewhere = Elsewhere {
        loading: 3,
        at_once: 3,
    };
    world.respec(|model| {
        model.spec.traffic = Some(serde_json::from_value(json!({"timeout": "3s"})).unwrap());
    });
    world.rounds(5);
    assert_eq!(world.condition("Ready").unwrap().0, "False");
    assert!(
        world.message().contains("spec.traffic"),
        "{}",
        world.message()
    );
    world.observed.elsewhere.loading = 0;
    world.settle();
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    // Another image of the operator's own is none of the user's.
    world.observed.elsewhere.loading = 3;
    world.observed.settings.server_image = "server:2".to_owned();
    world.rounds(3);
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
}

#[test]
fn an_abort_of_what_another_version_began_is_an_abort() {
    let mut world = halfway();
    let mut status = serde_json::to_value(world.observed.model.status.clone()).unwrap();
    status["rollout"]["step"]["kind"] = "Levitate".into();
    world.observed.model.status = Some(serde_json::from_value(status).unwrap());
    world.routers_follow = false;
    world.command("abort/1");
    world.rounds(10);
    assert_eq!(world.weight(), 0);
    assert_eq!(world.revisions().len(), 2, "until the routers know");
    world.routers_follow = true;
    world.rounds(30);
    assert_eq!(world.sizes(), [4]);
    assert_eq!(world.condition("Stalled"), yes("AbortedByUser"));
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

#[test]
fn a_gate_takes_no_place_from_a_pod_that_serves() {
    let mut world = settled();
    world.rollout(json!({
        "steps": [{"setWeight": 10}],
        "capacity": {"maxSurge": 0, "onUnschedulable": "Abort", "unschedulableAfter": "1m"},
    }));
    world.pods = Pods::Gated;
    world.path("v2");
    for _ in 0..100 {
        world.round();
        assert_eq!(world.serving(), 4);
    }
    assert_eq!(world.condition("Stalled"), None);
    world.pods = Pods::Ready;
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

#[test]
fn a_revision_that_was_recorded_before_the_routers_is_told_who_it_is() {
    let mut world = halfway();
    world.command("resume/1");
    world.settle();
    world.cool();
    let stable = world.stable();
    for revision in world.revision_hashes() {
        if revision == stable {
            continue;
        }
        world.change_record(&revision, |content| {
            let args = &mut content["template"]["spec"]["containers"][0]["args"];
            let mut kept = args.as_array().unwrap().clone();
            let at = kept.iter().position(|arg| arg == "--revision").unwrap();
            kept.drain(at..at + 2);
            *args = kept.into();
        });
    }
    world.path("v1");
    world.rounds(120);
    assert_eq!(world.weight(), 50, "{}", world.message());
}

/// Where the routers find a user.
fn key(world: &World) -> Option<String> {
    let header = &table(world)["key"]["header"];
    header.as_str().map(str::to_owned)
}

#[test]
fn a_user_key_that_changes_in_flight_moves_nobody_and_holds_from_the_next_rollout_on() {
    let mut world = steps(json!([{"setWeight": 50}, {"pause": {}}]));
    world.rounds(30);
    assert_eq!((world.weight(), key(&world)), (50, None));
    world.respec(|model| {
        let traffic = json!({"key": {"header": "x-user"}});
        model.spec.traffic = Some(serde_json::from_value(traffic).unwrap());
    });
    world.rounds(5);
    assert_eq!((world.weight(), key(&world)), (50, None));
    world.command("promote/1");
    world.settle();
    assert_eq!(key(&world).as_deref(), Some("x-user"));
}

#[test]
fn a_rollout_that_began_beside_the_old_revision_ends_so_whatever_the_strategy_is_by_then() {
    let mut world = steps(json!([{"setWeight": 50}, {"pause": {}}]));
    world.rounds(30);
    let sizes = world.sizes();
    world.rollout(json!({"strategy": "Recreate"}));
    for _ in 0..30 {
        world.rounds(1);
        assert!(world.serving() >= 2, "{:?} of {sizes:?}", world.sizes());
    }
    world.command("resume/1");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}
