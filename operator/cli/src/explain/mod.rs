//! `explain`: why an endpoint serves what its spec does not, and what to commit; how an experiment stands.
//!
//! Owns the words. It must not know how objects are read. Invariant: what is not so is said too, and is no error.

#[cfg(test)]
mod tests;
pub(crate) mod verdict;

use crds::conditions::{ConditionType, ReadyReason};
use crds::v1alpha1::reward_model::model::Model;
use crds::{ABExperiment, RewardModel, labels};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt;
use kube::core::PartialObjectMetaExt;
use operator_core::identity::RevisionHash;
use operator_core::records;
use serde_json::json;

use crate::failure::Failure;

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Model(String),
    Experiment(String),
}

impl Subject {
    /// `NAME`, `rewardmodel/NAME`, `abexperiment/NAME`, with the short and plural names of both.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let (kind, name) = text.split_once('/').unwrap_or(("rewardmodel", text));
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(Failure::Usage(format!(
                "{name:?} is no name of an object: write NAME of a RewardModel, or abexperiment/NAME"
            )));
        }
        match kind.to_ascii_lowercase().as_str() {
            "rewardmodel" | "rewardmodels" | "rwm" => Ok(Self::Model(name.to_owned())),
            "abexperiment" | "abexperiments" | "abx" => Ok(Self::Experiment(name.to_owned())),
            _ => Err(Failure::Usage(format!(
                "{kind} is none of ours: write rewardmodel/NAME or abexperiment/NAME"
            ))),
        }
    }
}

/// An experiment in words.
pub(crate) fn experiment(experiment: &ABExperiment) -> String {
    let name = experiment.name_any();
    match &experiment.status {
        Some(status) => verdict::text(&name, status),
        None => format!("{name}: the operator has not seen it yet. Is it running?\n"),
    }
}

/// Why `model` serves what it does; `revisions` are its ControllerRevisions, `experiments` those of its namespace.
pub(crate) fn model(
    model: &RewardModel,
    revisions: &[ControllerRevision],
    experiments: &[ABExperiment],
) -> Result<String, Failure> {
    let verdict = headline(model);
    reason(model, revisions, experiments).map(|why| format!("{verdict}\n{why}"))
}

/// How it is doing, in one line.
fn headline(model: &RewardModel) -> String {
    let name = model.name_any();
    let Some(ready) = model.condition(ConditionType::Ready) else {
        return format!("{name}: the operator has not seen it yet. Is it running?");
    };
    let verdict = match ready.status.as_str() {
        "True" => "ready",
        _ => "not ready",
    };
    format!("{name} is {verdict} ({}): {}.", ready.reason, ready.message)
}

/// Why it serves what its spec does not ask for, if it does so.
fn reason(
    model: &RewardModel,
    revisions: &[ControllerRevision],
    experiments: &[ABExperiment],
) -> Result<String, Failure> {
    let name = model.name_any();
    let Some(written) = model.annotations().get(labels::OVERRIDE) else {
        return Ok(format!(
            "No experiment has promoted a model ahead of the spec of {name}.\n"
        ));
    };
    let parsed = written.split_once('@').and_then(|(revision, at)| {
        Some((RevisionHash::parse(revision)?, RevisionHash::parse(at)?))
    });
    let Some((revision, at)) = parsed else {
        return Ok(format!(
            "The annotation {} of {name} is {written:?}, which names no revision, and the operator takes no notice of it.\n",
            labels::OVERRIDE
        ));
    };
    let whose = winner(&name, experiments);
    let standing = Standing::of(model, &revision.to_string());
    let why = match standing {
        Standing::Ahead => format!(
            "{name} serves the revision {revision}, which {whose} has promoted ahead of spec.model (revision {at}). It does so until its spec asks for another revision than {at}; nothing that Git owns was changed."
        ),
        Standing::OnItsWay => format!(
            "{name} is rolling out the revision {revision}, which {whose} has promoted ahead of spec.model (revision {at}). It goes through the endpoint's own steps, and its spec stays as it is."
        ),
        Standing::Committed => {
            return Ok(format!(
                "{name} serves the revision {revision}, which {whose} has promoted, and its spec asks for the same by now: nothing is left to commit.\n"
            ));
        }
        Standing::Over => {
            return Ok(format!(
                "{whose} had promoted the revision {revision} ahead of the spec of {name}, and what the spec asks for was changed since, which ended that.\n"
            ));
        }
        Standing::GivenUp => {
            return Ok(format!(
                "{whose} had promoted the revision {revision} ahead of the spec of {name}, and {name} has given it up.\n"
            ));
        }
    };
    let promoted = promoted(revisions, &revision).ok_or_else(|| {
        Failure::Failed(format!(
            "{why}\nThe record of {revision} does not have the model of it: see the ControllerRevisions of {name}"
        ))
    })?;
    let yaml = serde_yaml::to_string(&json!({ "spec": { "model": promoted } }));
    let yaml = yaml.map_err(|error| {
        Failure::Failed(format!("the model cannot be written as YAML: {error}"))
    })?;
    Ok(format!(
        "{why}\n\nCommit this to the manifest of {name}, and nothing is rolled out again:\n\n{yaml}"
    ))
}

/// Where a promotion stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ahead,
    OnItsWay,
    Committed,
    Over,
    GivenUp,
}

impl Standing {
    fn of(model: &RewardModel, revision: &str) -> Self {
        let ready = model.condition(ConditionType::Ready);
        let reason = ready.map(|ready| ready.reason.as_str());
        let status = model.status.as_ref();
        let stable = status.and_then(|status| status.stable.as_ref());
        let serves = stable.is_some_and(|stable| stable.revision == revision);
        let canary = status.and_then(|status| status.canary.as_ref());
        let rolls = canary.is_some_and(|canary| canary.revision == revision);
        let mut failed = status
            .iter()
            .filter_map(|status| status.failed_revisions.as_ref())
            .flatten();
        if reason == Some(ReadyReason::PromotedAheadOfSpec.as_str()) {
            Self::Ahead
        } else if rolls {
            Self::OnItsWay
        } else if serves && reason == Some(ReadyReason::RolloutComplete.as_str()) {
            Self::Committed
        } else if failed.any(|one| one == revision) {
            Self::GivenUp
        } else if serves {
            // It serves, and something else keeps it from being said.
            Self::Ahead
        } else {
            Self::Over
        }
    }
}

/// The model of a record, as the variant has it.
fn promoted(revisions: &[ControllerRevision], revision: &RevisionHash) -> Option<Model> {
    let records = revisions.iter().filter_map(|object| {
        let metadata = object
            .metadata
            .clone()
            .into_response_partial::<ControllerRevision>();
        records::read(&metadata)
    });
    let mut own = records.filter(|record| record.hash == *revision);
    own.find_map(|record| record.promoted)
}

/// The experiment of the last promotion, in words.
fn winner(endpoint: &str, experiments: &[ABExperiment]) -> String {
    let own = experiments
        .iter()
        .filter(|one| one.spec.endpoint.name == endpoint);
    let decided = own.filter_map(|one| {
        let decision = one.status.as_ref()?.decision.as_ref()?;
        let variant = decision
            .variant
            .as_ref()
            .filter(|_| decision.action == "Promote")?;
        let approved = decision.approved_at.as_ref()?;
        Some((approved.0, one, variant))
    });
    let Some((_, one, variant)) = decided.max_by_key(|(approved, ..)| *approved) else {
        return "an experiment that is gone by now".to_owned();
    };
    let mut variants = one.spec.variants.iter();
    let of = variants
        .find(|of| of.name == *variant)
        .map_or("", |of| of.model_ref.name.as_str());
    format!(
        "the experiment {} (variant {variant}, RewardModel {of})",
        one.name_any()
    )
}
