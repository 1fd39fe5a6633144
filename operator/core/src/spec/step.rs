//! The steps of a rollout, as they were when it began.

use std::time::Duration;

use crds::v1alpha1::reward_model::rollout::Step as Written;

use crate::capacity::Percent;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So much of the traffic goes to the new revision.
    SetWeight(Percent),
    /// It stays as it is for this time, or until a human says `resume`.
    Pause(Option<Duration>),
}

impl Step {
    /// A step as a spec has it.
    ///
    /// # Errors
    /// What is wrong with it, or that this version does not carry it out.
    pub fn read(written: &Written) -> Result<Self, String> {
        if let Some(weight) = written.set_weight {
            return Ok(Self::SetWeight(Percent::clamped(weight)));
        }
        if let Some(pause) = &written.pause {
            let duration = pause.duration.as_ref().map(|duration| {
                let read = duration.to_std();
                read.map_err(|error| format!("pause.duration: {error}"))
            });
            return Ok(Self::Pause(duration.transpose()?));
        }
        Err("this version of the operator carries out setWeight and pause only".to_owned())
    }

    /// The word as it stands in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SetWeight(_) => "SetWeight",
            Self::Pause(_) => "Pause",
        }
    }
}
