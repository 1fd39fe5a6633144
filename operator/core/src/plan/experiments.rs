//! What an experiment on its endpoint makes of a model.

use serde_json::{Value, json};

use super::rollouts::{halfway, settled, step, yes};
use super::world::{DIGEST_1, DIGEST_2, Pods, World};
use crate::identity::RevisionHash;
use crate::observed::{Kind, ObjectKey, Split, Standing, Winner};
use crate::records::ModelFacts;

fn standing() -> Standing {
    Standing {
        name: "v2-vs-v1".to_owned(),
        split: Split::By(json!({
            "name": "v2-vs-v1", "uid": "x", "epoch": 1, "salt": "s", "mode": "Split", "control": "v1",
            "key": {"header": "x-user"}, "onMissingKey": "Control",
            "variants": [
                {"name": "v1", "slots": [[0, 5000]]},
                {"name": "v2", "revision": "0123456789", "service": "other-0123456789", "slots": [[5000, 10000]]},
            ],
            "metrics": [{"name": "latency", "signal": "Latency"}],
        })),
        holds: true,
        winner: None,
    }
}

fn compared() -> World {
    let mut world = settled();
    world.observed.experiment = Some(standing());
    world.settle();
    world
}

fn wins(world: &mut World, path: &str) {
    let mut winner = world.observed.model.spec.model.clone();
    winner.source.pvc.as_mut().unwrap().path = Some(path.to_owned());
    world.observed.experiment = Some(Standing {
        holds: false,
        winner: Some(Winner {
            model: winner,
            facts: ModelFacts {
                digest: DIGEST_2.into(),
                bytes: Some(3),
                parameters: None,
                architecture: None,
                load_seconds: None,
            },
            against: RevisionHash::parse(&world.stable()),
        }),
        ..standing()
    });
}

pub(super) fn table(world: &World) -> Value {
    let key = ObjectKey {
        kind: Kind::ConfigMap,
        name: "helpfulness-traffic".to_owned(),
    };
    let object = world.observed.children.live(&key).unwrap().unwrap();
    serde_json::from_str(object["data"]["table.json"].as_str().unwrap()).unwrap()
}

#[test]
fn an_experiment_is_in_the_table_as_long_as_it_stands() {
    let mut world = compared();
    assert_eq!(table(&world)["experiment"]["name"], "v2-vs-v1");
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    world.observed.experiment = None;
    world.settle();
    assert_eq!(table(&world)["experiment"], Value::Null);
}

#[test]
fn users_stay_as_they_are_dealt_while_an_experiment_is_about_to_say_something_else() {
    let mut world = compared();
    let before = table(&world)["experiment"].clone();
    world.observed.experiment.as_mut().unwrap().split = Split::AsGiven;
    world.settle();
    assert_eq!(table(&world)["experiment"], before);
}

#[test]
fn an_experiment_that_no_router_would_take_leaves_the_model_as_it_was() {
    let mut world = compared();
    world.observed.experiment.as_mut().unwrap().split = Split::By(json!({"name": "no"}));
    world.settle();
    assert_eq!(table(&world)["experiment"], Value::Null);
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
}

#[test]
fn rollouts_wait_for_an_experiment_and_say_for_which() {
    let mut world = compared();
    world.path("v2");
    world.rounds(60);
    assert_eq!(world.condition("Paused"), yes("ExperimentRunning"));
    assert!(world.message().contains("v2-vs-v1"), "{}", world.message());
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    world.observed.experiment = None;
    world.rounds(120);
    assert_eq!(world.weight(), 50, "{}", world.message());
}

#[test]
fn a_rollout_in_flight_goes_on_when_an_experiment_comes() {
    let mut world = halfway();
    world.observed.experiment = Some(standing());
    world.command("resume/1");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
}

#[test]
fn a_winner_is_rolled_out_ahead_of_the_spec_and_the_spec_stays_as_git_has_it() {
    let mut world = compared();
    let (spec, before) = (world.observed.model.spec.clone(), world.stable());
    wins(&mut world, "v2");
    world.rounds(120);
    assert_eq!(
        step(&world).unwrap().1,
        "Pause",
        "its steps are the endpoint's"
    );
    assert_eq!(
        table(&world)["experiment"]["name"],
        "v2-vs-v1",
        "its users stay with it"
    );
    world.command("resume/1");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(world.condition("Ready"), yes("PromotedAheadOfSpec"));
    assert_eq!(world.observed.model.spec, spec);
    let promoted = world.stable();
    let annotations = world.observed.model.metadata.annotations.clone().unwrap();
    let written = &annotations[crds::labels::OVERRIDE];
    assert_eq!(*written, format!("{promoted}@{before}"));
    // It outlives the experiment.
    world.observed.experiment = None;
    world.settle();
    assert_eq!(world.stable(), promoted);
    // What was promoted is committed: nothing is left to roll out.
    world.path("v2");
    world.settle();
    assert_eq!(world.stable(), promoted);
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    // And a spec that returns to its older text gets what it says.
    let annotations = world.observed.model.metadata.annotations.clone().unwrap();
    assert_eq!(annotations.get(crds::labels::OVERRIDE), None);
    world.path("v1");
    world.rounds(120);
    world.command("resume/2");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

#[test]
fn a_model_that_the_spec_asked_for_while_the_experiment_ran_goes_before_the_winner() {
    let mut world = compared();
    let answer = world.answers["/models/v1"].clone();
    world.answers.insert("/models/v3".to_owned(), answer);
    world.path("v3");
    world.rounds(20);
    assert_eq!(world.condition("Paused"), yes("ExperimentRunning"));
    wins(&mut world, "v2");
    world.rounds(120);
    world.command("resume/1");
    world.settle();
    let annotations = world.observed.model.metadata.annotations.clone();
    let written = annotations.unwrap_or_default();
    assert_eq!(written.get(crds::labels::OVERRIDE), None);
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

#[test]
fn a_winner_that_is_given_up_leaves_the_endpoint_as_its_spec_says() {
    let mut world = compared();
    wins(&mut world, "v2");
    world.pods = Pods::Failing;
    world.rounds(120);
    let status = world.observed.model.status.clone().unwrap();
    assert_eq!(status.failed_revisions.unwrap().len(), 1);
    let annotations = world.observed.model.metadata.annotations.clone();
    let written = annotations.unwrap_or_default();
    assert_eq!(written.get(crds::labels::OVERRIDE), None);
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    assert_eq!(world.condition("Stalled"), None);
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
}

#[test]
fn what_the_spec_changed_beside_the_model_is_rolled_out_with_the_winner() {
    let mut world = compared();
    world.respec(|model| {
        let server = json!({"dtype": "F32"});
        model.spec.server = Some(serde_json::from_value(server).unwrap());
    });
    wins(&mut world, "v2");
    world.rounds(120);
    world.command("resume/1");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_2));
    assert_eq!(world.condition("Ready"), yes("PromotedAheadOfSpec"));
}

#[test]
fn an_override_ends_when_the_spec_asks_for_something_else() {
    let mut world = compared();
    wins(&mut world, "v2");
    world.rounds(120);
    world.command("resume/1");
    world.settle();
    world.observed.experiment = None;
    world.respec(|model| {
        let server = json!({"dtype": "F32"});
        model.spec.server = Some(serde_json::from_value(server).unwrap());
    });
    world.rounds(150);
    world.command("resume/2");
    world.settle();
    assert_eq!(world.stable_digest().as_deref(), Some(DIGEST_1));
    assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
}

#[test]
fn an_override_of_another_spec_or_of_no_record_is_none() {
    for text in ["0123456789@0123456789", "nonsense", "0123456789@"] {
        let mut world = settled();
        let before = world.stable();
        let annotations = world
            .observed
            .model
            .metadata
            .annotations
            .get_or_insert_default();
        annotations.insert(crds::labels::OVERRIDE.to_owned(), text.to_owned());
        world.settle();
        assert_eq!(world.stable(), before, "{text}");
        assert_eq!(world.condition("Ready"), yes("RolloutComplete"));
    }
}
