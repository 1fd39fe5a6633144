//! The HTTPRoute as its users see it.

use serde_json::{Value, json};

use super::rollouts::{settled, yes};
use super::world::{DIGEST_2, World};
use crate::observed::{GatewayApi, Kind, ObjectKey};

fn gateway(world: &mut World, gateway: Option<Value>) {
    world.respec(|model| {
        model.spec.traffic =
            gateway.map(|gateway| serde_json::from_value(json!({"gateway": gateway})).unwrap());
    });
}

fn public() -> Value {
    json!({"parentRefs": [{"name": "public"}], "hostnames": ["rewards.example"]})
}

fn ready(world: &World) -> (String, String) {
    world.condition("Ready").unwrap()
}

fn no(reason: &str) -> (String, String) {
    ("False".to_owned(), reason.to_owned())
}

#[test]
fn a_route_is_waited_for_until_its_gateway_has_accepted_it_as_it_is_now() {
    let mut world = settled();
    gateway(&mut world, Some(public()));
    world.rounds(5);
    assert_eq!(world.observed.children.routes.len(), 1);
    assert_eq!(ready(&world), no("Progressing"));
    assert!(
        world.message().contains("Gateway public"),
        "{}",
        world.message()
    );
    assert!(world.plan().requeue.as_secs() <= 10, "nobody watches it");
    world.gateway = Some(("True", "Accepted", ""));
    world.rounds(5);
    assert_eq!(
        ready(&world),
        ("True".to_owned(), "RolloutComplete".to_owned())
    );
    let status = world
        .observed
        .model
        .status
        .clone()
        .unwrap()
        .gateway
        .unwrap();
    assert!(status.accepted, "{}", status.message);
    // Words about the route as it was are none about the one that is.
    world.gateway = None;
    gateway(
        &mut world,
        Some(json!({"parentRefs": [{"name": "public"}]})),
    );
    world.rounds(5);
    assert_eq!(ready(&world), no("Progressing"));
}

#[test]
fn a_route_that_a_gateway_refuses_says_what_the_gateway_said() {
    let mut world = settled();
    gateway(&mut world, Some(public()));
    world.gateway = Some(("False", "NotAllowedByListeners", "no listener takes team"));
    world.rounds(5);
    assert_eq!(world.condition("Stalled"), yes("InvalidSpec"));
    let message = world.message();
    assert!(
        message.contains("NotAllowedByListeners: no listener takes team"),
        "{message}"
    );
    world.gateway = Some(("True", "Accepted", ""));
    world.rounds(5);
    assert_eq!(world.condition("Stalled"), None);
}

#[test]
fn without_the_gateway_api_it_is_told_to_install_it_and_all_else_goes_on() {
    let mut world = settled();
    world.gateway_api = GatewayApi::Absent;
    gateway(&mut world, Some(public()));
    world.rounds(5);
    assert_eq!(world.condition("Stalled"), yes("InvalidSpec"));
    assert!(
        world.message().contains("install it"),
        "{}",
        world.message()
    );
    assert_eq!(world.observed.children.routes.len(), 0);
    assert_eq!(world.condition("Available"), yes("MinimumReplicas"));
    world.path("v2");
    world.rounds(120);
    world.command("resume/1");
    world.rounds(60);
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    world.gateway_api = GatewayApi::Present;
    world.gateway = Some(("True", "Accepted", ""));
    world.rounds(10);
    assert_eq!(world.condition("Stalled"), None);
}

#[test]
fn no_rollout_changes_the_route() {
    let mut world = settled();
    gateway(&mut world, Some(public()));
    world.gateway = Some(("True", "Accepted", ""));
    world.rounds(5);
    let key = ObjectKey {
        kind: Kind::HttpRoute,
        name: "helpfulness".to_owned(),
    };
    let before = world.observed.children.live(&key).unwrap();
    world.path("v2");
    for _ in 0..120 {
        world.round();
        assert_eq!(world.observed.children.live(&key).unwrap(), before);
    }
    assert_eq!(world.weight(), 50);
}

#[test]
fn a_route_that_nobody_wants_any_more_goes_and_a_changed_one_is_mended() {
    let mut world = settled();
    gateway(&mut world, Some(public()));
    world.gateway = Some(("True", "Accepted", ""));
    world.rounds(5);
    let key = ObjectKey {
        kind: Kind::HttpRoute,
        name: "helpfulness".to_owned(),
    };
    world.meddle(&key, |route| {
        route["spec"]["hostnames"] = json!(["other.example"]);
    });
    world.rounds(3);
    let live = world.observed.children.live(&key).unwrap().unwrap();
    assert_eq!(live["spec"]["hostnames"], json!(["rewards.example"]));
    gateway(&mut world, None);
    world.settle();
    assert_eq!(world.observed.children.routes.len(), 0);
    assert_eq!(world.observed.model.status.clone().unwrap().gateway, None);
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
}

#[test]
fn a_model_without_a_gateway_asks_for_none() {
    let world = settled();
    let observed = &world.observed;
    let plan = super::plan(observed, world.now());
    assert!(!plan.questions.contains(&crate::observed::Question::Route));
}

#[test]
fn a_parent_without_a_name_is_refused() {
    let mut world = settled();
    gateway(
        &mut world,
        Some(json!({"parentRefs": [{"namespace": "a"}]})),
    );
    world.rounds(3);
    assert_eq!(world.condition("Stalled"), yes("InvalidSpec"));
    assert!(
        world.message().contains("parentRefs[0] has no name"),
        "{}",
        world.message()
    );
}

#[test]
fn every_parent_has_to_accept_it() {
    let mut world = settled();
    let two = json!({"parentRefs": [{"name": "public"}, {"name": "private"}]});
    gateway(&mut world, Some(two));
    world.gateway = Some(("True", "Accepted", ""));
    world.rounds(5);
    assert_eq!(ready(&world), no("Progressing"));
    assert!(
        world.message().contains("Gateway private"),
        "{}",
        world.message()
    );
}
