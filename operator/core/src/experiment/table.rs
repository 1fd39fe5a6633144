//! What the RewardModel's controller puts into the traffic table: its member `experiment`.
//!
//! Owns which slots each variant has there. It must not write the table. Invariants: a variant that is out
//! has no slots, so that its users are control's and outside the experiment; nor has control where nothing is
//! compared any more, so that its users follow the endpoint's rollouts, that of the winner among them; either
//! stays in the list, so that the routers go on counting the epoch; the revision of a variant is that of the epoch, and no other.

use crds::v1alpha1::ab_experiment::{Mode, OnMissingKey};
use crds::v1alpha1::reward_model::traffic::Key;
use serde_json::{Map, Value, json};

use super::machine::Step;
use super::seen::{Model, Seen};
use super::spec::{Design, Metric, Source, Variant};
use super::state::Epoch;

/// The member; `None` where nobody is dealt.
pub fn member(step: &Step, seen: &Seen<'_>) -> Option<Value> {
    let design = step.design.as_ref().filter(|_| step.in_force)?;
    let epoch = step.state.epoch.as_ref()?;
    let variants: Vec<Value> = design
        .variants
        .iter()
        .map(|one| {
            let is_out = step.state.out.contains_key(&one.name);
            let is_left = is_settled(step) && one.name == design.control();
            let coverage = if is_out || is_left {
                0
            } else {
                design.coverage
            };
            let slots = epoch.slots.used(&one.name, coverage);
            let slots = slots.iter().map(|(from, to)| json!([from, to])).collect();
            variant(one, seen.models.get(&one.model), epoch, design, slots)
        })
        .collect();
    let overrides = design.overrides.iter();
    let overrides = overrides.filter(|rule| !step.state.out.contains_key(&rule.variant));
    let overrides: Vec<Value> = overrides
        .map(|rule| json!({"header": rule.header, "value": rule.value, "variant": rule.variant}))
        .collect();
    Some(json!({
        "name": design.name,
        "uid": design.uid,
        "epoch": epoch.id,
        "salt": design.salt,
        "mode": match design.mode { Mode::Split => "Split", Mode::Paired => "Paired" },
        "control": design.control(),
        "key": key(&design.key),
        "onMissingKey": match design.on_missing_key {
            OnMissingKey::Control => "Control",
            OnMissingKey::Reject => "Reject",
        },
        "variants": variants,
        "overrides": overrides,
        "metrics": design.metrics.iter().filter_map(metric).collect::<Vec<_>>(),
    }))
}

/// Whether nothing is compared any more: a verdict stands, and a human, or nobody, had to agree.
fn is_settled(step: &Step) -> bool {
    let conclusion = step.state.conclusion.as_ref();
    conclusion.is_some_and(|conclusion| conclusion.approved_at.is_some())
}

/// Why no router takes the experiment as it is; `None` where they do, or nobody is dealt.
pub fn refusal(step: &Step, seen: &Seen<'_>) -> Option<String> {
    let member = member(step, seen)?;
    // What is beside it does not matter to it.
    let table = json!({
        "schemaVersion": 1, "generation": 1, "salt": "u/1", "rollout": "1",
        "model": {"namespace": "n", "name": "m", "uid": "u"},
        "revisions": [{"revision": "stable", "role": "Stable", "weight": 10_000, "service": "stable"}],
        "experiment": member,
    });
    let refused = traffic::table::Table::parse(table.to_string().as_bytes()).err()?;
    Some(format!("no router takes it: {refused}"))
}

/// The slots that each arm uses, in the order of the design.
pub fn slots(design: &Design, epoch: &Epoch) -> Vec<u16> {
    let each = design.variants.iter();
    each.map(|one| super::slots::count(epoch.slots.used(&one.name, design.coverage)))
        .collect()
}

fn variant(
    of: &Variant,
    model: Option<&Model>,
    epoch: &Epoch,
    design: &Design,
    slots: Value,
) -> Value {
    let mut fields = Map::from_iter([
        ("name".to_owned(), json!(of.name)),
        ("slots".to_owned(), slots),
    ]);
    if of.name == design.control() {
        return fields.into();
    }
    let revision = epoch.revisions.get(&of.name).cloned().unwrap_or_default();
    let same = model.filter(|model| model.revision.as_ref() == Some(&revision));
    let service = same.and_then(|model| model.service.clone());
    let service = service.unwrap_or_else(|| format!("{}-{revision}", of.model));
    fields.insert("service".to_owned(), json!(service));
    fields.insert("revision".to_owned(), json!(revision));
    if let Some(model) = same {
        if let Some(digest) = &model.digest {
            fields.insert("digest".to_owned(), json!(digest));
        }
        if let Some(calibration) = &model.calibration {
            fields.insert("calibration".to_owned(), json!(calibration));
        }
        if let Some(capacity) = model.capacity {
            fields.insert("capacity".to_owned(), json!(capacity));
        }
    }
    fields.into()
}

fn key(key: &Key) -> Value {
    let parts = [
        ("header", &key.header),
        ("jwtClaim", &key.jwt_claim),
        ("jsonPointer", &key.json_pointer),
    ];
    let named = parts.into_iter();
    let named = named.filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
    Value::Object(named.collect())
}

/// A metric as routers count it; `None` of what they do not.
fn metric(metric: &Metric) -> Option<Value> {
    let mut fields = Map::from_iter([("name".to_owned(), json!(metric.name))]);
    let (name, value) = match &metric.source {
        Source::Score => ("signal", json!("Score")),
        Source::Latency => ("signal", json!("Latency")),
        Source::Errors => ("signal", json!("Errors")),
        Source::SlowerThan(millis) => {
            fields.insert("slowerThanMs".to_owned(), json!(millis));
            ("signal", json!("Latency"))
        }
        Source::Event(event) => ("event", json!(event)),
        Source::Preferences => ("preferences", json!(true)),
        Source::Prometheus(_) => return None,
    };
    fields.insert(name.to_owned(), value);
    if let Some((min, max)) = &metric.clip {
        fields.insert("clip".to_owned(), json!({"min": min, "max": max}));
    }
    Some(fields.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{World, design, users};
    use super::*;

    /// A table as the routers read it, with this member.
    fn table(member: &Value) -> traffic::table::Table {
        let table = json!({
            "schemaVersion": 1, "generation": 7, "model": {"name": "m1", "namespace": "n", "uid": "u"},
            "salt": "s",
            "revisions": [{"revision": "aaaaaaaaaa", "role": "Stable", "weight": 10_000, "service": "m1-aaaaaaaaaa"}],
            "experiment": member,
        });
        traffic::table::Table::parse(table.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn routers_accept_what_is_written_and_count_what_the_operator_reads() {
        let mut world = World::new(&json!({
            "assignment": {"salt": "spring", "coveragePercent": 10, "overrides": [{"header": "X-Variant", "value": "b", "variant": "v2"}]},
            "metrics": [
                {"name": "clicks", "role": "Goal", "kind": "Mean", "source": {"feedback": {"event": "click"}}, "direction": "Increase", "clip": {"min": "0", "max": "1"}},
                {"name": "slow", "role": "Guardrail", "kind": "SlowFraction", "source": {"router": {"signal": "Latency"}}, "slowerThan": "250ms", "direction": "Decrease"},
                {"name": "pref", "role": "Info", "kind": "PairedAccuracy", "source": {"preferences": {}}, "direction": "Increase"},
                {"name": "up", "role": "Info", "kind": "Mean", "source": {"prometheus": {"query": "up"}}, "direction": "Increase"},
            ],
        }));
        let member = world.member().unwrap();
        let step = world.step();
        let parsed = table(&member);
        let read = parsed.experiment.as_ref().unwrap();
        assert_eq!(read.variants().len(), 2);
        let whole = traffic::evidence::experiment::Subject::of(read);
        let epoch = step.state.epoch.as_ref().unwrap();
        let subjects = super::super::ledger::subjects(step.design.as_ref().unwrap(), epoch);
        assert_eq!(subjects.len(), 3);
        for (name, subject) in subjects {
            let place = whole.place(&name).unwrap();
            assert_eq!(subject.metrics, vec![whole.metrics[place].clone()]);
            assert_eq!(
                traffic::evidence::experiment::Subject {
                    metrics: Vec::new(),
                    ..subject
                },
                traffic::evidence::experiment::Subject {
                    metrics: Vec::new(),
                    ..whole.clone()
                },
            );
        }
        let slots: Vec<u16> = read
            .variants()
            .iter()
            .map(|one| one.slots().iter().map(|s| s.until() - s.from()).sum())
            .collect();
        assert_eq!(slots, [500, 500]);
    }

    #[rstest::rstest]
    #[case::waits_for_a_human("Promote", None, [1, 1])]
    #[case::promoted("Promote", Some("approve/1"), [0, 1])]
    #[case::told("Report", None, [0, 1])]
    fn after_the_verdict_control_s_users_follow_the_endpoint_s_rollout(
        #[case] on_win: &str,
        #[case] command: Option<&str>,
        #[case] expected: [usize; 2],
    ) {
        let patch = json!({"decision": {"onWin": on_win}});
        let mut world = World::new(&patch);
        world.step();
        world.dealt = true;
        world.totals = Some(users(&[(5_000, 500), (5_000, 700)]).totals(&design(&patch)));
        world.now = 7_200;
        world.step();
        if let Some(command) = command {
            world.command(command);
        }
        world.step();
        let member = world.member().unwrap();
        let read = table(&member);
        let variants = read.experiment.as_ref().unwrap().variants();
        let slots: Vec<usize> = variants.iter().map(|one| one.slots().len()).collect();
        assert_eq!(slots, expected);
    }

    #[test]
    fn a_variant_that_is_out_keeps_its_place_and_loses_its_users() {
        let mut world = World::new(&json!({
            "variants": [
                {"name": "v1", "modelRef": {"name": "m1"}}, {"name": "v2", "modelRef": {"name": "m2"}},
                {"name": "v3", "modelRef": {"name": "m3"}},
            ],
        }));
        world.step();
        world.models.remove("m3");
        let member = world.member().unwrap();
        let read = table(&member);
        let read = read.experiment.as_ref().unwrap();
        let slots: Vec<usize> = read
            .variants()
            .iter()
            .map(|one| one.slots().len())
            .collect();
        assert_eq!(slots, [1, 1, 0]);
    }
}
