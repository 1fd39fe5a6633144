//! What an experiment wants of the model that is its endpoint.
//!
//! Owns the reading of the resources that it names. It must not decide: what an experiment's status has decided
//! is all that is acted upon. Invariant: while what is known does not suffice, users stay as they are dealt.

use std::sync::Arc;

use crds::{ABExperiment, RewardModel};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use operator_core::experiment::standing::{self, Wanted};
use operator_core::observed::Standing;

use super::context::Context;
use crate::controllers::shared::error::Error;
use crate::controllers::surroundings;

impl Context {
    /// The experiment on `model`, where there is one in force.
    pub(super) async fn standing(&self, model: &RewardModel) -> Result<Option<Standing>, Error> {
        let namespace = model.namespace().unwrap_or_default();
        let all = self.experiments.of(&namespace, &model.name_any());
        for experiment in all.iter().filter(|one| standing::has_begun(one)) {
            if let Some(standing) = self.of(experiment, model).await? {
                return Ok(Some(standing));
            }
        }
        Ok(None)
    }

    async fn of(
        &self,
        experiment: &Arc<ABExperiment>,
        model: &RewardModel,
    ) -> Result<Option<Standing>, Error> {
        let others = surroundings::models(&self.client, experiment, Some(model)).await?;
        let wanted = standing::of(experiment, &others, Timestamp::now());
        let Some(Wanted {
            mut standing,
            winner,
        }) = wanted
        else {
            return Ok(None);
        };
        if let Some(chosen) = winner
            && let Some(winner) = others.get(&chosen.model)
        {
            let namespace = model.namespace().unwrap_or_default();
            let record = surroundings::record(&self.client, &namespace, &chosen).await?;
            standing.winner = record.and_then(|record| standing::winner(winner, &record, &chosen));
        }
        Ok(Some(standing))
    }
}
