//! Whether the steps let every gate come to a verdict.
//!
//! Invariant: a gate that passes here is looked at some time, and can then get data.

use crds::v1alpha1::reward_model::rollout::{Rollout, Step as Written};

use crate::gates::gate::{Gate, Kind, RouterRule, Rule};
use crate::spec::Step;

/// What the steps before one have brought.
#[derive(Clone, Copy, Default)]
struct Before {
    /// The share that the new revision has.
    weight: i32,
    /// Both revisions have had requests of users.
    both_served: bool,
    /// Requests are shadowed.
    shadowed: bool,
}

pub(super) fn check(rollout: &Rollout, gates: &[Gate]) -> Result<(), String> {
    let mut before = Before::default();
    let mut mentioned: Vec<&str> = Vec::new();
    for (index, step) in rollout.steps.iter().flatten().enumerate() {
        let at = |why: String| format!("rollout.steps[{index}]: {why}");
        Step::read(step).map_err(at)?;
        for name in step.gate.iter().flat_map(|step| &step.names) {
            let gate = gates.iter().find(|gate| &gate.name == name);
            let gate = gate.ok_or_else(|| {
                at(format!("it names gate {name:?}, which rollout.gates does not have: add the gate, or correct the name"))
            })?;
            if !mentioned.contains(&name.as_str()) {
                can_have_data(gate, before).map_err(at)?;
                mentioned.push(name);
            }
        }
        before = after(before, step).map_err(at)?;
    }
    match gates.iter().find(|gate| {
        !matches!(gate.kind, Kind::Golden(_)) && !mentioned.contains(&gate.name.as_str())
    }) {
        None => Ok(()),
        Some(gate) => Err(format!(
            "rollout.gates[{0}]: no step names it, so that nobody would ever look at it: add a step `gate: {{names: [{0}]}}`",
            gate.name
        )),
    }
}

fn after(before: Before, step: &Written) -> Result<Before, String> {
    if step.shadow.is_some() && before.weight == 100 {
        return Err(
            "after setWeight 100 the stable revision answers nothing that could be shadowed: put the shadow step before it"
                .to_owned(),
        );
    }
    let weight = step.set_weight.unwrap_or(before.weight);
    Ok(Before {
        weight,
        both_served: before.both_served || (1..100).contains(&weight),
        // Requests are shadowed until users' requests come in their place.
        shadowed: step.shadow.is_some() || before.shadowed && step.set_weight.is_none(),
    })
}

/// Whether a gate that is mentioned here for the first time can ever get data.
fn can_have_data(gate: &Gate, before: Before) -> Result<(), String> {
    let name = &gate.name;
    match &gate.kind {
        Kind::Router(RouterRule { rule, .. }) => {
            if before.weight == 0 {
                return Err(format!(
                    "gate {name} looks at requests of users, and the new revision has none yet: put a setWeight before it"
                ));
            }
            match rule {
                Rule::Compare(_) if !before.both_served => Err(format!(
                    "gate {name} compares with the stable revision, which serves nobody beside it: put a setWeight below 100 before it"
                )),
                Rule::Compare(_) | Rule::Threshold(_) => Ok(()),
            }
        }
        Kind::Paired(_) if !before.shadowed => Err(format!(
            "gate {name} compares scores of shadowed requests, and none are shadowed here: put a shadow step before it, with no setWeight in between"
        )),
        Kind::Paired(_) | Kind::Golden(_) | Kind::Preferences(_) | Kind::Prometheus { .. } => {
            Ok(())
        }
    }
}
