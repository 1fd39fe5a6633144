//! What the tests of experiments are told with.

use std::collections::BTreeMap;

use crds::ABExperiment;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use traffic::evidence::experiment::Subject;

use super::analysis::{self, Look, Looked};
use super::ledger::{self, Ledger, Ledgers};
use super::machine::{self, Step};
use super::seen::{Model, Rival, Seen};
use super::spec::Design;
use super::standing::Promotion;
use super::state::Epoch;
use super::totals::{Arm, Counted, Totals};
use super::{status, table};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// RFC 7396.
pub(super) fn merge(into: &mut Value, patch: &Value) {
    match (into.as_object_mut(), patch.as_object()) {
        (Some(fields), Some(patch)) => {
            for (name, value) in patch {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, _) => *into = patch.clone(),
    }
}

/// v2 against v1 on the endpoint m1, a click being the goal, with `patch` over the spec.
pub(super) fn experiment(patch: &Value) -> ABExperiment {
    let mut spec = json!({
        "endpoint": {"name": "m1"},
        "variants": [
            {"name": "v1", "modelRef": {"name": "m1"}},
            {"name": "v2", "modelRef": {"name": "m2"}},
        ],
        "control": "v1",
        "assignment": {"key": {"header": "x-user"}},
        "schedule": {"minDuration": "1h", "maxDuration": "24h"},
        "metrics": [goal(), guardrail()],
    });
    merge(&mut spec, patch);
    serde_json::from_value(json!({
        "apiVersion": "betterai.dev/v1alpha1", "kind": "ABExperiment",
        "metadata": {"name": "x", "namespace": "n", "uid": "u-1", "generation": 1},
        "spec": spec,
        // What the API server answers where there is no status.
        "status": {"observedGeneration": -1},
    }))
    .unwrap()
}

pub(super) fn goal() -> Value {
    json!({"name": "clicks", "role": "Goal", "kind": "Proportion", "source": {"feedback": {"event": "click"}}, "direction": "Increase"})
}

pub(super) fn guardrail() -> Value {
    json!({"name": "errors", "role": "Guardrail", "kind": "Ratio", "source": {"router": {"signal": "Errors"}}, "direction": "Decrease"})
}

pub(super) fn design(patch: &Value) -> Design {
    Design::read(&experiment(patch), None).unwrap()
}

/// So many users, each with one request, of whom so many have the event: by arm.
pub(super) fn users(arms: &[(u64, u64)]) -> Counts {
    Counts(arms.to_vec())
}

pub(super) struct Counts(Vec<(u64, u64)>);

impl Counts {
    /// What each metric counts of them, all events being of the first one.
    pub(super) fn totals(&self, design: &Design) -> Totals {
        let arms = self.0.iter().map(|(users, _)| Arm {
            users: *users,
            requests: *users,
            ..Arm::default()
        });
        let of = |metric: usize| {
            let each = self.0.iter().map(|(users, had)| {
                let had = if metric == 0 { *had } else { 0 };
                counted(*users, had)
            });
            each.collect()
        };
        Totals {
            arms: arms.collect(),
            metrics: (0..design.metrics.len()).map(of).collect(),
            ..Totals::default()
        }
    }
}

/// Users over 1,024 cells, one request each.
pub(super) fn counted(users: u64, had: u64) -> Counted {
    let spread = |all: u64, cell: u64| all / 1024 + u64::from(cell < all % 1024);
    let cells = (0..1024_u64).map(|cell| {
        let events = u32::try_from(spread(had, cell * 37 % 1024)).unwrap();
        (spread(users, cell), f64::from(events))
    });
    Counted {
        cells: cells.collect(),
        users,
        had,
        ..Counted::default()
    }
}

/// What a router records of all metrics of an epoch, and ledgers of each of which nothing was told.
pub(super) fn recorded(design: &Design, epoch: &Epoch) -> (Subject, Ledgers) {
    let subjects = ledger::subjects(design, epoch);
    let all = design.metrics.iter();
    let metrics = all.flat_map(|metric| subjects[&metric.name].metrics.clone());
    let whole = Subject {
        metrics: metrics.collect(),
        ..subjects.values().next().unwrap().clone()
    };
    let empty = |(name, subject)| (name, Ledger::new(subject));
    (whole, subjects.into_iter().map(empty).collect())
}

pub(super) fn look(design: &Design, totals: &Totals, elapsed_hours: u64) -> Look {
    let slots: Vec<u16> = super::slots::parts(
        &design
            .variants
            .iter()
            .map(|one| one.weight)
            .collect::<Vec<_>>(),
    );
    analysis::look(&Looked {
        design,
        strata: std::slice::from_ref(totals),
        tracks: &analysis::Tracks::new(),
        slots: &slots,
        out: &[],
        elapsed: std::time::Duration::from_hours(elapsed_hours),
        sample_ratio_before: 0.0,
    })
}

/// An experiment and its surroundings, moved on as the shell does.
pub(super) struct World {
    pub(super) experiment: ABExperiment,
    pub(super) models: BTreeMap<String, Model>,
    pub(super) rivals: Vec<Rival>,
    pub(super) promotion: Promotion,
    pub(super) asks_prometheus: bool,
    pub(super) dealt: bool,
    pub(super) totals: Option<Totals>,
    pub(super) now: i64,
}

impl World {
    pub(super) fn new(patch: &Value) -> Self {
        let model = |revision: &str| Model {
            revision: Some(revision.to_owned()),
            ready: true,
            ..Model::default()
        };
        let models = [
            ("m1", "aaaaaaaaaa"),
            ("m2", "bbbbbbbbbb"),
            ("m3", "cccccccccc"),
        ];
        Self {
            experiment: experiment(patch),
            models: models
                .map(|(name, revision)| (name.to_owned(), model(revision)))
                .into(),
            rivals: Vec::new(),
            promotion: Promotion::UnderWay,
            asks_prometheus: true,
            dealt: false,
            totals: None,
            now: 0,
        }
    }

    pub(super) fn edit(&mut self, patch: &Value) {
        let mut spec = serde_json::to_value(&self.experiment.spec).unwrap();
        merge(&mut spec, patch);
        self.experiment.spec = serde_json::from_value(spec).unwrap();
    }

    pub(super) fn command(&mut self, text: &str) {
        let annotations = self.experiment.metadata.annotations.get_or_insert_default();
        annotations.insert(crds::labels::COMMAND.to_owned(), text.to_owned());
    }

    fn look(&self) -> Option<Look> {
        let state = super::state::State::read(self.experiment.status.as_ref()).ok()?;
        let epoch = state.epoch.as_ref()?;
        let design = Design::read(&self.experiment, None).ok()?;
        let out: Vec<String> = state.out.keys().cloned().collect();
        Some(analysis::look(&Looked {
            design: &design,
            strata: std::slice::from_ref(self.totals.as_ref()?),
            tracks: &analysis::Tracks::new(),
            slots: &table::slots(&design, epoch),
            out: &out,
            elapsed: machine::elapsed(state.started_at, at(self.now)),
            sample_ratio_before: 0.0,
        }))
    }

    /// One step at `now`, whose status is written.
    pub(super) fn step(&mut self) -> Step {
        let look = self.look();
        let seen = Seen {
            experiment: &self.experiment,
            models: &self.models,
            rivals: &self.rivals,
            look: look.as_ref(),
            promotion: &self.promotion,
            asks_prometheus: self.asks_prometheus,
            dealt: self.dealt,
            now: at(self.now),
        };
        let step = machine::step(&seen);
        let status = status::render(&step, &seen, self.totals.as_ref());
        self.experiment.status = Some(status);
        step
    }

    pub(super) fn member(&mut self) -> Option<Value> {
        let step = self.step();
        let seen = Seen {
            experiment: &self.experiment,
            models: &self.models,
            rivals: &self.rivals,
            look: None,
            promotion: &self.promotion,
            asks_prometheus: self.asks_prometheus,
            dealt: self.dealt,
            now: at(self.now),
        };
        table::member(&step, &seen)
    }
}
