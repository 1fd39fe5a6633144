//! A calibration belongs to the revision that it was written for, and makes none.

use serde_json::{Value, json};

use super::rollouts::{halfway, settled, yes};
use super::world::World;
use crate::observed::{Kind, ObjectKey};

fn calibrate(world: &mut World, calibration: Value) {
    world.respec(|model| {
        model.spec.model.calibration = serde_json::from_value(calibration).unwrap();
    });
}

/// What routers make confidences of, by role.
fn calibrations(world: &World) -> Vec<(String, Value)> {
    let key = ObjectKey {
        kind: Kind::ConfigMap,
        name: "helpfulness-traffic".to_owned(),
    };
    let object = world.observed.children.live(&key).unwrap().unwrap();
    let table = object["data"]["table.json"].as_str().unwrap();
    let table: Value = serde_json::from_str(table).unwrap();
    let rows = table["revisions"].as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["role"].as_str().unwrap().to_owned(),
            row["calibration"].clone(),
        )
    })
    .collect()
}

#[test]
fn a_calibration_reaches_the_routers_and_makes_no_revision() {
    let mut world = settled();
    let before = world.stable();
    let stable = |written| vec![("Stable".to_owned(), written)];
    assert_eq!(calibrations(&world), stable(Value::Null));
    calibrate(&mut world, json!({"scale": "2", "shift": "-0.5"}));
    world.settle();
    let written = json!({"scale": "2", "shift": "-0.5"});
    assert_eq!(calibrations(&world), stable(written));
    assert_eq!(world.stable(), before);
    calibrate(&mut world, Value::Null);
    world.settle();
    assert_eq!(calibrations(&world), stable(Value::Null));
}

#[test]
fn the_revision_that_serves_keeps_its_calibration_while_one_with_another_comes() {
    let mut world = halfway();
    calibrate(&mut world, json!({"scale": "3"}));
    world.rounds(5);
    let new = json!({"scale": "3", "shift": "0"});
    let all = calibrations(&world);
    assert!(all.contains(&("Stable".to_owned(), Value::Null)), "{all:?}");
    assert!(all.contains(&("Canary".to_owned(), new.clone())), "{all:?}");
    world.command("resume/1");
    world.settle();
    calibrate(&mut world, json!({"scale": "4"}));
    world.path("v1");
    world.settle();
    // Back at the revision that was warm, the other one keeps what was written for it.
    let all = calibrations(&world);
    assert!(
        all.contains(&("Stable".to_owned(), json!({"scale": "4", "shift": "0"}))),
        "{all:?}"
    );
    assert!(
        all.iter()
            .all(|(role, one)| role != "Previous" || *one == new),
        "{all:?}"
    );
}

#[test]
fn a_calibration_that_routers_would_refuse_is_told() {
    let mut world = settled();
    calibrate(&mut world, json!({"scale": "-1"}));
    world.settle();
    assert_eq!(world.condition("Stalled"), yes("InvalidSpec"));
    assert!(
        world.message().contains("calibration.scale"),
        "{}",
        world.message()
    );
}
