//! The steps of a rollout, as they were when it began.
//!
//! Invariant: `from_words(to_words(step)) == step`: what a spec left out is filled in when it is read.

use std::time::Duration;

use crds::v1alpha1::reward_model::rollout::{GateStep, ShadowStep, Step as Written};
use crds::value::Duration as WrittenDuration;

use crate::capacity::Percent;

/// Pairs of a shadow step that says nothing of them: those that a paired gate needs for a verdict
/// (stats.md 1.6).
const PAIRS: u64 = 1000;
/// How long a shadow or gate step waits where it does not say.
const LONGEST: Duration = Duration::from_hours(1);

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// So much of the traffic goes to the new revision.
    SetWeight(Percent),
    /// It stays as it is for this time, or until a human says `resume`.
    Pause(Option<Duration>),
    /// Copies of so many of the requests go to it, until so many pairs of scores are there.
    Shadow {
        /// The part of the requests.
        percent: Percent,
        /// Pairs that end it.
        pairs: u64,
        /// How long it may take before it is inconclusive.
        within: Duration,
    },
    /// It stays as it is until all these gates pass.
    Gate {
        /// Their names.
        names: Vec<String>,
        /// How long that may take before it is inconclusive.
        within: Duration,
    },
}

impl Step {
    /// A step as a spec has it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(written: &Written) -> Result<Self, String> {
        let kinds = [
            written.set_weight.is_some(),
            written.pause.is_some(),
            written.shadow.is_some(),
            written.gate.is_some(),
        ];
        if kinds.iter().filter(|kind| **kind).count() > 1 {
            return Err(
                "it has more than one kind: keep one of shadow, setWeight, pause and gate, and make another step of each other"
                    .to_owned(),
            );
        }
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
        if let Some(step) = &written.shadow {
            return shadow(step);
        }
        if let Some(step) = &written.gate {
            return gate(step);
        }
        Err("it does nothing: set one of shadow, setWeight, pause and gate".to_owned())
    }

    /// Whether copies of requests go to the new revision.
    pub const fn is_shadow(&self) -> bool {
        match self {
            Self::Shadow { .. } => true,
            Self::SetWeight(_) | Self::Pause(_) | Self::Gate { .. } => false,
        }
    }

    /// The step as a status has it: `SetWeight 10`, `Pause 5s`, `Pause`, `Shadow 20, 1000 pairs within
    /// 3600s`, `Gate a,b within 3600s`.
    pub fn to_words(&self) -> String {
        match self {
            Self::SetWeight(weight) => format!("SetWeight {}", weight.get()),
            Self::Pause(None) => "Pause".to_owned(),
            Self::Pause(Some(time)) => format!("Pause {}", time_words(*time)),
            Self::Shadow {
                percent,
                pairs,
                within,
            } => format!(
                "Shadow {}, {pairs} pairs within {}",
                percent.get(),
                time_words(*within)
            ),
            Self::Gate { names, within } => {
                format!("Gate {} within {}", names.join(","), time_words(*within))
            }
        }
    }

    /// The step as a column has it: without the times that it would be too long with.
    pub fn to_short_words(&self) -> String {
        match self {
            Self::SetWeight(_) | Self::Pause(_) => self.to_words(),
            Self::Shadow { percent, .. } => format!("Shadow {}", percent.get()),
            Self::Gate { names, .. } => format!("Gate {}", names.join(",")),
        }
    }

    /// A step as a status has it.
    ///
    /// # Errors
    /// The words, where they are none of ours.
    pub fn from_words(words: &str) -> Result<Self, String> {
        let read = match words.split_once(' ') {
            None if words == "Pause" => Some(Self::Pause(None)),
            Some(("Pause", time)) => time_read(time).map(|time| Self::Pause(Some(time))),
            Some(("SetWeight", weight)) => percent(weight).map(Self::SetWeight),
            Some(("Shadow", rest)) => shadow_words(rest),
            Some(("Gate", rest)) => gate_words(rest),
            Some(_) | None => None,
        };
        read.ok_or_else(|| format!("the step is {words:?}"))
    }

    /// The word as it stands in the status.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SetWeight(_) => "SetWeight",
            Self::Pause(_) => "Pause",
            Self::Shadow { .. } => "Shadow",
            Self::Gate { .. } => "Gate",
        }
    }
}

fn shadow(written: &ShadowStep) -> Result<Step, String> {
    let percent = written.percent.unwrap_or(100);
    if !(1..=100).contains(&percent) {
        return Err(format!(
            "shadow.percent is {percent}: write 1 to 100, the part of the requests"
        ));
    }
    let pairs = match written.min_pairs {
        None => Some(PAIRS),
        Some(pairs) => u64::try_from(pairs).ok().filter(|pairs| *pairs > 0),
    };
    Ok(Step::Shadow {
        percent: Percent::clamped(percent),
        pairs: pairs
            .ok_or("shadow.minPairs is below 1: write how many pairs of scores end the step")?,
        within: longest("shadow", written.max_duration.as_ref())?,
    })
}

fn gate(written: &GateStep) -> Result<Step, String> {
    if written.names.is_empty() {
        return Err("gate.names is empty: name the gates that it waits for".to_owned());
    }
    Ok(Step::Gate {
        names: written.names.clone(),
        within: longest("gate", written.max_duration.as_ref())?,
    })
}

fn longest(step: &str, written: Option<&WrittenDuration>) -> Result<Duration, String> {
    let Some(written) = written else {
        return Ok(LONGEST);
    };
    let time = written
        .to_std()
        .map_err(|error| format!("{step}.maxDuration: {error}"))?;
    if time.is_zero() {
        return Err(format!(
            "{step}.maxDuration is 0, in which nothing could ever finish: write how long it may take, such as 30m"
        ));
    }
    Ok(time)
}

fn time_words(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}

fn time_read(words: &str) -> Option<Duration> {
    WrittenDuration::from(words).to_std().ok()
}

fn percent(words: &str) -> Option<Percent> {
    let percent = words.parse().ok();
    let percent = percent.filter(|percent| (0..=100).contains(percent));
    percent.map(Percent::clamped)
}

fn shadow_words(words: &str) -> Option<Step> {
    let (share, rest) = words.split_once(", ")?;
    let (pairs, time) = rest.split_once(" pairs within ")?;
    Some(Step::Shadow {
        percent: percent(share)?,
        pairs: pairs.parse().ok()?,
        within: time_read(time)?,
    })
}

fn gate_words(words: &str) -> Option<Step> {
    let (names, time) = words.split_once(" within ")?;
    let names: Vec<String> = names.split(',').map(str::to_owned).collect();
    names.iter().all(|name| !name.is_empty()).then_some(())?;
    Some(Step::Gate {
        names,
        within: time_read(time)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_as_it_was_written_and_an_unknown_one_is_told() {
        for step in [
            Step::SetWeight(Percent::clamped(10)),
            Step::Pause(None),
            Step::Pause(Some(Duration::from_mins(5))),
            Step::Pause(Some(Duration::from_millis(1_500))),
            Step::Shadow {
                percent: Percent::clamped(20),
                pairs: 500,
                within: Duration::from_mins(30),
            },
            Step::Gate {
                names: vec!["errors".to_owned(), "shift-2".to_owned()],
                within: Duration::from_millis(1_500),
            },
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
            "Shadow 5, many pairs within 5s",
            "Shadow 500, 5 pairs within 5s",
            "Shadow 5, 5 pairs within a while",
            "Gate a",
            "Gate  within 5s",
            "Gate a,,b within 5s",
            "Dance 5",
        ] {
            assert!(Step::from_words(words).is_err(), "{words}");
        }
    }

    fn read(written: serde_json::Value) -> Result<Step, String> {
        Step::read(&serde_json::from_value(written).unwrap())
    }

    #[test]
    fn what_a_step_leaves_out_is_filled_in_when_it_is_read() {
        let step = read(serde_json::json!({"shadow": {}})).unwrap();
        assert_eq!(step.to_words(), "Shadow 100, 1000 pairs within 3600s");
        let step = read(serde_json::json!({"gate": {"names": ["a", "b"]}})).unwrap();
        assert_eq!(step.to_words(), "Gate a,b within 3600s");
        assert_eq!(
            (step.to_short_words().as_str(), step.as_str()),
            ("Gate a,b", "Gate")
        );
    }

    #[test]
    fn a_step_that_could_never_finish_says_what_to_write() {
        for (written, expected) in [
            (serde_json::json!({}), "set one of"),
            (
                serde_json::json!({"setWeight": 5, "pause": {}}),
                "more than one kind",
            ),
            (serde_json::json!({"shadow": {"percent": 0}}), "1 to 100"),
            (serde_json::json!({"shadow": {"percent": 101}}), "1 to 100"),
            (
                serde_json::json!({"shadow": {"minPairs": 0}}),
                "how many pairs",
            ),
            (
                serde_json::json!({"shadow": {"maxDuration": "0s"}}),
                "nothing could ever finish",
            ),
            (
                serde_json::json!({"shadow": {"maxDuration": "soon"}}),
                "shadow.maxDuration",
            ),
            (serde_json::json!({"gate": {"names": []}}), "name the gates"),
            (
                serde_json::json!({"gate": {"names": ["a"], "maxDuration": "0s"}}),
                "nothing could ever finish",
            ),
            (
                serde_json::json!({"pause": {"duration": "soon"}}),
                "pause.duration",
            ),
        ] {
            let why = read(written).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
