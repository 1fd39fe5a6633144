//! The steps of rollouts, by the audit log of the API server.
//!
//! Invariant: only what was written is read (an answer of 200), in the order in which it was.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// What the log says of one RewardModel.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rollouts {
    /// The steps of each rollout, in the order in which they were entered.
    pub entered: BTreeMap<String, Vec<String>>,
    /// Steps that were entered more than once, and shares that were taken back though nothing had failed.
    pub wrong: Vec<String>,
    /// Who wrote the status, and how often.
    pub writers: BTreeMap<String, usize>,
    /// Writes that were refused because somebody else had written.
    pub conflicts: usize,
}

/// Reads the lines of a log, of the model of that namespace and name.
pub fn read<'a>(lines: impl Iterator<Item = &'a str>, namespace: &str, model: &str) -> Rollouts {
    let mut rollouts = Rollouts::default();
    let mut last: Option<Place> = None;
    for line in lines {
        let Some(write) = serde_json::from_str(line)
            .ok()
            .and_then(|event| Write::of(&event, namespace, model))
        else {
            continue;
        };
        *rollouts.writers.entry(write.by).or_default() += 1;
        match write.outcome {
            Outcome::Conflict => rollouts.conflicts += 1,
            Outcome::Other => {}
            Outcome::Written(place) => {
                if let Some(place) = &place {
                    rollouts.enter(last.as_ref(), place);
                }
                last = place;
            }
        }
    }
    rollouts
}

impl Rollouts {
    fn enter(&mut self, last: Option<&Place>, place: &Place) {
        let steps = self.entered.entry(place.rollout.clone()).or_default();
        let same = last.filter(|last| last.rollout == place.rollout);
        if same.is_none_or(|last| last.step != place.step) {
            if steps.contains(&place.step) {
                self.wrong.push(format!(
                    "{} is entered again in {}",
                    place.step, place.rollout
                ));
            }
            steps.push(place.step.clone());
        }
        let goes_back = place.step.ends_with("RollBack") || place.step.ends_with("Retreat");
        if let Some(last) = same
            && last.weight > place.weight
            && !goes_back
        {
            self.wrong.push(format!(
                "{} falls from {} to {} % in {}",
                place.rollout, last.weight, place.weight, place.step
            ));
        }
    }
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    rollout: String,
    step: String,
    weight: i64,
}

impl Place {
    fn of(status: &Value) -> Option<Self> {
        let rollout = status.get("rollout")?;
        let step = rollout.get("step")?;
        let canary = status.pointer("/canary/revision")?;
        let shares = status.get("traffic").and_then(Value::as_array);
        let mut shares = shares.into_iter().flatten();
        let share = shares.find(|share| share.get("revision") == Some(canary));
        Some(Self {
            rollout: rollout.get("id")?.as_str()?.to_owned(),
            step: format!("{} {}", step.get("index")?, step.get("kind")?.as_str()?),
            weight: share
                .and_then(|share| share.get("specWeight")?.as_i64())
                .unwrap_or(0),
        })
    }
}

enum Outcome {
    Written(Option<Place>),
    Conflict,
    Other,
}

struct Write {
    by: String,
    outcome: Outcome,
}

impl Write {
    fn of(event: &Value, namespace: &str, model: &str) -> Option<Self> {
        let object = event.get("objectRef")?;
        let is =
            |field: &str, wanted: &str| object.get(field).and_then(Value::as_str) == Some(wanted);
        let ours = is("resource", "rewardmodels")
            && is("subresource", "status")
            && is("namespace", namespace)
            && is("name", model);
        if !ours {
            return None;
        }
        let code = event
            .pointer("/responseStatus/code")
            .and_then(Value::as_i64);
        let outcome = match code {
            Some(200) => {
                Outcome::Written(event.pointer("/responseObject/status").and_then(Place::of))
            }
            Some(409) => Outcome::Conflict,
            Some(_) | None => Outcome::Other,
        };
        // A pod's token names the pod: two operators of one account are two writers.
        let pod = event.pointer("/user/extra/authentication.kubernetes.io~1pod-name/0");
        let user = event.pointer("/user/username");
        Some(Self {
            by: pod.or(user)?.as_str()?.to_owned(),
            outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn write(code: i64, index: i64, kind: &str, weight: i64) -> String {
        json!({
            "objectRef": {"resource": "rewardmodels", "subresource": "status", "namespace": "n", "name": "m"},
            "user": {"username": "u", "extra": {"authentication.kubernetes.io/pod-name": ["operator-1"]}},
            "responseStatus": {"code": code},
            "responseObject": {"status": {
                "canary": {"revision": "b"},
                "traffic": [{"revision": "a", "specWeight": 100 - weight}, {"revision": "b", "specWeight": weight}],
                "rollout": {"id": "b-1", "step": {"index": index, "kind": kind}},
            }},
        })
        .to_string()
    }

    fn of(lines: &[String]) -> Rollouts {
        read(lines.iter().map(String::as_str), "n", "m")
    }

    #[test]
    fn steps_that_are_entered_once_are_right() {
        let read = of(&[
            write(200, 0, "Load", 0),
            write(409, 1, "SetWeight", 0),
            write(200, 1, "SetWeight", 0),
            write(200, 1, "SetWeight", 10),
            "no JSON".to_owned(),
            write(200, 2, "Pause", 10),
            write(200, 0, "RollBack", 0),
        ]);
        assert_eq!(read.wrong, [""; 0]);
        assert_eq!(
            read.entered["b-1"],
            ["0 Load", "1 SetWeight", "2 Pause", "0 RollBack"]
        );
        assert_eq!((read.conflicts, read.writers["operator-1"]), (1, 6));
    }

    #[test]
    fn a_step_that_comes_back_and_a_share_that_falls_are_wrong() {
        let read = of(&[
            write(200, 1, "SetWeight", 10),
            write(200, 2, "Pause", 10),
            write(200, 1, "SetWeight", 10),
            write(200, 1, "SetWeight", 5),
        ]);
        assert_eq!(read.wrong.len(), 2, "{:?}", read.wrong);
    }
}
