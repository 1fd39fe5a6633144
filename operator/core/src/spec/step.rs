//! The steps of a rollout, as they were when it began.

use crds::v1alpha1::reward_model::rollout::Step as Written;
use crds::value::Duration;

use crate::capacity::Percent;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So much of the traffic goes to the new revision.
    SetWeight(Percent),
    /// It stays as it is for this time, or until a human says `resume`.
    Pause(Option<std::time::Duration>),
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

    /// The step as a status has it: `SetWeight 10`, `Pause 5s`, `Pause`.
    pub fn to_words(self) -> String {
        match self {
            Self::SetWeight(weight) => format!("SetWeight {}", weight.get()),
            Self::Pause(None) => "Pause".to_owned(),
            Self::Pause(Some(time)) if time.subsec_millis() == 0 => {
                format!("Pause {}s", time.as_secs())
            }
            Self::Pause(Some(time)) => format!("Pause {}ms", time.as_millis()),
        }
    }

    /// A step as a status has it.
    ///
    /// # Errors
    /// The words, where they are none of ours.
    pub fn from_words(words: &str) -> Result<Self, String> {
        let unknown = || format!("the step is {words:?}");
        if words == "Pause" {
            return Ok(Self::Pause(None));
        }
        if let Some(time) = words.strip_prefix("Pause ") {
            let read = Duration::from(time).to_std();
            return read
                .map(|time| Self::Pause(Some(time)))
                .map_err(|_| unknown());
        }
        let weight = words.strip_prefix("SetWeight ");
        let weight = weight.and_then(|weight| weight.parse().ok());
        weight
            .filter(|weight| (0..=100).contains(weight))
            .map(|weight| Self::SetWeight(Percent::clamped(weight)))
            .ok_or_else(unknown)
    }

    /// The word as it stands in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SetWeight(_) => "SetWeight",
            Self::Pause(_) => "Pause",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_as_it_was_written_and_an_unknown_one_is_told() {
        for step in [
            Step::SetWeight(Percent::clamped(10)),
            Step::Pause(None),
            Step::Pause(Some(std::time::Duration::from_mins(5))),
            Step::Pause(Some(std::time::Duration::from_millis(1_500))),
        ] {
            assert_eq!(Step::from_words(&step.to_words()), Ok(step));
        }
        for words in [
            "",
            "Pause ",
            "Pause soon",
            "SetWeight",
            "SetWeight 101",
            "Shadow 5",
        ] {
            assert!(Step::from_words(words).is_err(), "{words}");
        }
    }
}
