//! What an experiment wants of its endpoint: read off its status, for the RewardModel's controller.
//!
//! Invariants: only what the status has decided is acted upon; where the next step of the experiment is not in its
//! status yet, users stay as they are dealt.

use std::collections::BTreeMap;

use crds::conditions::{
    ConditionType, ExperimentConditionType, ExperimentStalledReason, PausedReason,
};
use crds::v1alpha1::reward_model::model::Model as ModelSpec;
use crds::{ABExperiment, RewardModel};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::machine::{self, Standing as Stands};
use super::seen::{Model, Seen};
use super::state::{Action, Conclusion, State};
use super::table;
use crate::identity::{self, RevisionHash, names};
use crate::observed::{Split, Standing, Winner};
use crate::records;

/// What is wanted, and the variant that has won.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What is wanted, without the winner.
    pub standing: Standing,
    /// Who has won.
    pub winner: Option<Chosen>,
}

/// A variant that was compared, has won, and was approved: whatever its RewardModel serves by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its RewardModel.
    pub model: String,
    /// The revision that was compared.
    pub revision: RevisionHash,
    /// The revision of the endpoint that it was compared with.
    pub against: Option<RevisionHash>,
}

impl Chosen {
    fn of(state: &State, experiment: &ABExperiment) -> Option<Self> {
        let conclusion = state.conclusion.as_ref()?;
        let is_approved = conclusion.action == Action::Promote && conclusion.approved_at.is_some();
        let variant = conclusion.variant.as_deref().filter(|_| is_approved)?;
        let revisions = &state.epoch.as_ref()?.revisions;
        let revision = revisions.get(variant)?;
        let against = revisions.get(&experiment.spec.control);
        let mut variants = experiment.spec.variants.iter();
        Some(Self {
            model: variants
                .find(|one| one.name == variant)?
                .model_ref
                .name
                .clone(),
            revision: RevisionHash::parse(revision)?,
            against: against.and_then(|hash| RevisionHash::parse(hash)),
        })
    }

    /// The name of the ControllerRevision that records it.
    pub fn record(&self) -> String {
        names::revision(&self.model, &self.revision)
    }
}

/// Who is on the way to the endpoint's users.
pub fn on_the_way(experiment: &ABExperiment) -> Option<Chosen> {
    let state = State::read(experiment.status.as_ref()).ok()?;
    let is_applied = state.conclusion.as_ref()?.applied_at.is_some();
    Chosen::of(&state, experiment).filter(|_| !is_applied)
}

/// Whether users may be dealt by an experiment.
pub fn has_begun(experiment: &ABExperiment) -> bool {
    let status = experiment.status.as_ref();
    status.is_some_and(|status| status.epoch.is_some())
        && experiment.metadata.deletion_timestamp.is_none()
}

/// What `experiment` wants of its endpoint; `None` where it is not in force.
pub fn of(
    experiment: &ABExperiment,
    models: &BTreeMap<String, RewardModel>,
    now: Timestamp,
) -> Option<Wanted> {
    let known = models.iter();
    let known: BTreeMap<String, Model> = known.map(|(n, m)| (n.clone(), Model::of(m))).collect();
    let seen = Seen {
        experiment,
        models: &known,
        // Whoever has begun has the endpoint.
        rivals: &[],
        look: None,
        promotion: &Promotion::UnderWay,
        // Whoever has begun was asked.
        asks_prometheus: true,
        dealt: true,
        now,
    };
    let decided = State::read(experiment.status.as_ref()).ok()?;
    // What was told to be stuck holds nobody in an arm.
    let stalled = experiment.condition(ExperimentConditionType::Stalled);
    let failed = ExperimentStalledReason::PromotionFailed.as_str();
    if stalled.is_some_and(|stalled| stalled.reason == failed) {
        return None;
    }
    // It may be another's endpoint by now, also where this one was edited and would go on.
    if decided.conclusion.as_ref().is_some_and(Conclusion::is_over) {
        return None;
    }
    let step = machine::step(&seen);
    let standing = |split, holds| Standing {
        name: experiment.name_any(),
        split,
        holds,
        winner: None,
    };
    let is_decided = step.state.epoch.as_ref().map(|epoch| epoch.id)
        == decided.epoch.as_ref().map(|epoch| epoch.id);
    if !is_decided {
        return Some(Wanted {
            standing: standing(Split::AsGiven, true),
            winner: None,
        });
    }
    let member = table::member(&step, &seen)?;
    let holds = match &step.standing {
        Stands::Running | Stands::Paused | Stands::AwaitingApproval => true,
        Stands::Pending(_)
        | Stands::Suspended
        | Stands::Applying
        | Stands::Applied
        | Stands::Stalled(..) => false,
    };
    Some(Wanted {
        standing: standing(Split::By(member), holds),
        winner: Chosen::of(&step.state, experiment),
    })
}

/// The stable revision of a model.
pub fn stable(model: &RewardModel) -> Option<RevisionHash> {
    let stable = model.status.as_ref()?.stable.as_ref()?;
    RevisionHash::parse(&stable.revision)
}

/// The model of a variant as it was compared, by the record of the revision that was `chosen`.
pub fn winner(of: &RewardModel, record: &ControllerRevision, chosen: &Chosen) -> Option<Winner> {
    let text = record.data.as_ref()?.0.to_string();
    let content = records::content(&text).ok()?;
    let model: ModelSpec = serde_json::from_value(content.spec.get("model")?.clone()).ok()?;
    Some(Winner {
        model: ModelSpec {
            // Neither makes a revision, so that the record has none.
            cache: of.spec.model.cache.clone(),
            calibration: of.spec.model.calibration.clone(),
            ..model
        },
        facts: content.model,
        against: chosen.against.clone(),
    })
}

/// What has become of the revision that won, at the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// It is on its way, or nobody knows.
    UnderWay,
    /// The endpoint serves this variant.
    Done(String),
    /// The endpoint has tried this revision, and given it up.
    GivenUp(String),
    /// The endpoint serves this revision by now, which is neither the winner nor what it was compared with.
    Overtaken(String),
}

impl Promotion {
    /// Why nothing will come of it by itself, and what to do; `None` where it is under way or done.
    pub fn failure(&self, endpoint: &str) -> Option<String> {
        match self {
            Self::UnderWay | Self::Done(_) => None,
            Self::GivenUp(revision) => Some(format!(
                "the RewardModel {endpoint} has given revision {revision} up, which won: its events and status.history say why; everybody is control's. Put the winner's model into its spec to try it again, and end this experiment with the command abort"
            )),
            Self::Overtaken(revision) => Some(format!(
                "the RewardModel {endpoint} serves revision {revision} by now, which nobody has compared: its spec asked for another model while the experiment ran, and goes before a winner; put the winner into its spec if that is still wanted, and end this experiment with the command abort"
            )),
        }
    }
}

/// What has become of a decided promotion of `experiment`; `record` is that of [`on_the_way`]. Files alone say
/// little: two variants may differ by a template only.
pub fn promotion(
    experiment: &ABExperiment,
    models: &BTreeMap<String, RewardModel>,
    record: Option<&ControllerRevision>,
) -> Promotion {
    let known = || {
        let state = State::read(experiment.status.as_ref()).ok()?;
        let chosen = Chosen::of(&state, experiment)?;
        let endpoint = models.get(&experiment.spec.endpoint.name)?;
        let winner = winner(models.get(&chosen.model)?, record?, &chosen)?;
        Some((state.conclusion?.variant?, endpoint, winner))
    };
    let Some((variant, endpoint, winner)) = known() else {
        return Promotion::UnderWay;
    };
    let mut spec = endpoint.spec.clone();
    spec.model = winner.model;
    let wanted = identity::revision_hash(&spec, &winner.facts.digest);
    let status = endpoint.status.as_ref();
    let mut failed = status
        .iter()
        .filter_map(|status| status.failed_revisions.as_ref())
        .flatten();
    let serves = stable(endpoint).as_ref() == Some(&wanted);
    let rests = !Model::of(endpoint).rolling;
    let against = winner.against.as_ref();
    let other = stable(endpoint).filter(|stable| against.is_some_and(|against| stable != against));
    if rests && serves {
        Promotion::Done(variant)
    } else if rests && failed.any(|one| one == wanted.as_str()) {
        Promotion::GivenUp(wanted.to_string())
    } else if let (true, Some(other)) = (rests, other) {
        Promotion::Overtaken(other.to_string())
    } else {
        Promotion::UnderWay
    }
}

impl Model {
    /// What an experiment needs of a model.
    pub fn of(model: &RewardModel) -> Self {
        let status = model.status.clone().unwrap_or_default();
        let rolling = status.rollout.as_ref().is_some_and(|r| r.step.is_some());
        let unseen = status.observed_generation != model.metadata.generation;
        let stable = stable(model);
        Self {
            revision: stable.as_ref().map(ToString::to_string),
            digest: status
                .stable
                .as_ref()
                .and_then(|stable| stable.digest.as_ref())
                .map(ToString::to_string),
            service: stable.map(|hash| names::revision(&model.name_any(), &hash)),
            ready: status
                .stable
                .as_ref()
                .and_then(|stable| stable.ready_replicas)
                .is_some_and(|ready| ready > 0),
            rolling: rolling || unseen,
            waits: model
                .condition(ConditionType::Paused)
                .is_some_and(|paused| {
                    paused.status == "True"
                        && paused.reason == PausedReason::ExperimentRunning.as_str()
                }),
            key: model
                .spec
                .traffic
                .as_ref()
                .and_then(|traffic| traffic.key.clone()),
            calibration: model.spec.model.calibration.clone(),
            capacity: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{World, design, users};
    use super::*;

    fn digest() -> String {
        format!("sha256:{}", "1".repeat(64))
    }

    fn model(name: &str, template: Option<&str>) -> RewardModel {
        let mut model = json!({"source": {"pvc": {"claimName": "models", "path": "v1"}}});
        if let Some(template) = template {
            model["input"] = json!({"promptTemplate": template});
        }
        serde_json::from_value(json!({
            "apiVersion": "betterai.dev/v1alpha1", "kind": "RewardModel",
            "metadata": {"name": name, "namespace": "n"},
            "spec": {"model": model},
        }))
        .unwrap()
    }

    fn hash(model: &RewardModel) -> RevisionHash {
        identity::revision_hash(&model.spec, &digest().as_str().into())
    }

    /// `model` serves a revision.
    fn serving(mut model: RewardModel, revision: &RevisionHash) -> RewardModel {
        let status = json!({"phase": "Ready", "stable": {"revision": revision.to_string(), "digest": digest()}});
        model.status = Some(serde_json::from_value(status).unwrap());
        model
    }

    /// The record of a model's revision.
    fn record(model: &RewardModel) -> ControllerRevision {
        let content = json!({
            "spec": identity::revision_spec(&model.spec),
            "model": {"digest": digest(), "bytes": 1, "architecture": "BertForSequenceClassification"},
            "template": {"spec": {"containers": []}},
        });
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
            "metadata": {"name": "m2-x", "namespace": "n"}, "data": content,
        }))
        .unwrap()
    }

    #[test]
    fn a_winner_of_the_same_files_is_promoted_only_when_what_was_compared_serves() {
        let patch = json!({});
        let mut world = World::new(&patch);
        let (plain, other) = (model("m1", None), model("m2", Some("{{ prompt }}")));
        let compared = hash(&other);
        world.models.get_mut("m1").unwrap().revision = Some(hash(&plain).to_string());
        world.models.get_mut("m2").unwrap().revision = Some(compared.to_string());
        world.step();
        world.dealt = true;
        world.totals = Some(users(&[(5_000, 500), (5_000, 700)]).totals(&design(&patch)));
        world.now = 7_200;
        world.step();
        assert_eq!(on_the_way(&world.experiment), None, "nobody has approved");
        world.command("approve/1");
        world.step();
        let chosen = on_the_way(&world.experiment).unwrap();
        assert_eq!((chosen.model.as_str(), &chosen.revision), ("m2", &compared));
        let record = record(&other);
        // Its model serves something newer by now, which nobody has compared.
        let newer = serving(
            model("m2", Some("{{ response }}")),
            &hash(&model("m2", Some("{{ response }}"))),
        );
        let of = |endpoint: RewardModel, record: Option<&ControllerRevision>| {
            let models = [("m1", endpoint), ("m2", newer.clone())];
            let models = models.map(|(name, model)| (name.to_owned(), model));
            promotion(&world.experiment, &models.into(), record)
        };
        let at = |revision: &RevisionHash| serving(plain.clone(), revision);
        let under_way = Promotion::UnderWay;
        assert_ne!(hash(&plain), compared);
        // The files are the same, the template is not.
        assert_eq!(of(at(&hash(&plain)), Some(&record)), under_way);
        assert_eq!(
            of(at(&compared), None),
            under_way,
            "nobody knows what was compared"
        );
        assert_eq!(
            of(at(&compared), Some(&record)),
            Promotion::Done("v2".to_owned())
        );
        // The endpoint has given it up, before this experiment or by it.
        // Its spec asked for something else while the experiment ran.
        assert_eq!(
            of(at(&hash(&newer)), Some(&record)),
            Promotion::Overtaken(hash(&newer).to_string())
        );
        let mut failed = at(&hash(&plain));
        failed.status.as_mut().unwrap().failed_revisions = Some(vec![compared.to_string()]);
        assert_eq!(
            of(failed, Some(&record)),
            Promotion::GivenUp(compared.to_string())
        );
    }
}
