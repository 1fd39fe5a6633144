//! What an experiment wants of its endpoint: read off its status, for the RewardModel's controller.
//!
//! Invariants: only what the status has decided is acted upon; where the next step of the experiment is not in its
//! status yet, users stay as they are dealt.

use std::collections::BTreeMap;

use crds::v1alpha1::reward_model::model::Model as ModelSpec;
use crds::{ABExperiment, RewardModel};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::machine::{self, Standing as Stands};
use super::seen::{Model, Seen};
use super::state::{Action, State};
use super::table;
use crate::identity::{RevisionHash, names};
use crate::observed::{Split, Standing, Winner};
use crate::records;

/// What is wanted, and the RewardModel of the variant that has won.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What is wanted, without the winner.
    pub standing: Standing,
    /// The name of the winner's RewardModel.
    pub winner: Option<String>,
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
        promoted: None,
        dealt: true,
        now,
    };
    let decided = State::read(experiment.status.as_ref()).ok()?;
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
    let promoted = step.state.conclusion.as_ref().filter(|conclusion| {
        conclusion.action == Action::Promote && conclusion.approved_at.is_some()
    });
    let variant = promoted.and_then(|conclusion| conclusion.variant.as_deref());
    let design = step.design.as_ref()?;
    let winner = variant.and_then(|name| {
        let mut variants = design.variants.iter();
        variants.find(|one| one.name == name)
    });
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
        winner: winner.map(|one| one.model.clone()),
    })
}

/// The stable revision of a model.
pub fn stable(model: &RewardModel) -> Option<RevisionHash> {
    let stable = model.status.as_ref()?.stable.as_ref()?;
    RevisionHash::parse(&stable.revision)
}

/// The model of a variant as it serves now, by the record of its stable revision.
pub fn winner(of: &RewardModel, record: &ControllerRevision) -> Option<Winner> {
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
    })
}

/// The variant of `experiment` that its endpoint serves by now, where that was decided.
pub fn promoted(
    experiment: &ABExperiment,
    models: &BTreeMap<String, RewardModel>,
) -> Option<String> {
    let state = State::read(experiment.status.as_ref()).ok()?;
    let variant = state.conclusion?.variant?;
    let mut variants = experiment.spec.variants.iter();
    let model = &variants.find(|one| one.name == variant)?.model_ref.name;
    let digest = |name: &str| {
        let stable = models.get(name)?.status.as_ref()?.stable.as_ref()?;
        stable.digest.clone()
    };
    let endpoint = models.get(&experiment.spec.endpoint.name)?;
    let is_at_rest = !Model::of(endpoint).rolling;
    let serves = digest(&experiment.spec.endpoint.name)? == digest(model)?;
    (is_at_rest && serves).then_some(variant)
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
