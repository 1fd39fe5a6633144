//! Routers that cannot start, as the users of a model see it.

use rstest::rstest;
use serde_json::{Value, json};

use super::rollouts::settled;
use super::world::World;

/// A router's container that waits, as a kubelet tells of it.
fn waits(reason: &str, message: Option<&str>) -> Value {
    json!({"name": "router", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}}})
}

/// One that ends again and again with these last words.
fn ends(message: &str) -> Value {
    let mut said = waits(
        "CrashLoopBackOff",
        Some("back-off 10s restarting failed container"),
    );
    said["restartCount"] = json!(2);
    said["lastState"] = json!({"terminated": {"exitCode": 1, "message": message}});
    said
}

fn told(world: &World, kind: &str) -> (String, String, String) {
    let status = world.observed.model.status.clone().unwrap();
    let found = status.conditions.into_iter().find(|c| c.type_ == kind);
    let found = found.unwrap_or_else(|| panic!("no {kind}"));
    (found.status, found.reason, found.message)
}

#[rstest]
#[case::a_secret_that_is_not_mounted(waits("ContainerCreating", None), &["ContainerCreating", "\"hs256\"", "\"tokens\""])]
#[case::a_secret_that_the_kubelet_names(waits("CreateContainerConfigError", Some("secret \"tokens\" not found")), &["secret \"tokens\" not found"])]
#[case::a_key_that_the_secret_lacks(ends("error: /secrets/hs256: no such file"), &["/secrets/hs256: no such file", "\"hs256\"", "\"tokens\""])]
#[case::an_image(waits("ImagePullBackOff", Some("no image route:1")), &["no image route:1"])]
fn routers_that_cannot_start_at_a_first_install_are_said_with_what_they_wait_for(
    #[case] said: Value,
    #[case] words: &[&str],
) {
    let mut world = World::new(json!({
        "model": {"source": {"pvc": {"claimName": "models", "path": "v1"}}},
        "replicas": 2,
        "traffic": {"auth": {"jwt": {"secretRef": {"name": "tokens", "key": "hs256"}}}},
    }));
    world.routers_stuck = Some(said);
    world.rounds(20);
    let (in_sync, reason, message) = told(&world, "RoutersInSync");
    assert_eq!(
        (in_sync.as_str(), reason.as_str()),
        ("False", "RoutersNotReady")
    );
    let ready = told(&world, "Ready");
    assert_eq!(ready.0, "False");
    for word in words {
        assert!(message.contains(word), "RoutersInSync: {message}");
        assert!(ready.2.contains(word), "Ready: {}", ready.2);
    }
    let (available, reason, _) = told(&world, "Available");
    assert_eq!(
        (available.as_str(), reason.as_str()),
        ("False", "NoReadyReplicas")
    );
    world.second += 3_600;
    world.rounds(3);
    assert_eq!(
        world.condition("Stalled"),
        None,
        "it is no fault of the revision"
    );
    world.routers_stuck = None;
    world.settle();
    assert_eq!(
        world.condition("Ready"),
        Some(("True".into(), "RolloutComplete".into()))
    );
    assert_eq!(told(&world, "Available").0, "True");
}

#[test]
fn a_router_that_is_away_for_a_while_leaves_a_model_available_and_is_said() {
    let mut world = settled();
    world.routers_stuck = Some(waits("ImagePullBackOff", Some("no image route:1")));
    world.rounds(3);
    assert_eq!(told(&world, "Available").0, "True");
    for kind in ["RoutersInSync", "Ready"] {
        let (_, _, message) = told(&world, kind);
        assert!(message.contains("no image route:1"), "{kind}: {message}");
    }
}
