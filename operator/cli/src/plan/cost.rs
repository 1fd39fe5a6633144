//! What a metric takes, in both modes.
//!
//! Sources: stats.md 1.1 (the mixture, and variances), 1.6 (what is needed in any case), 7 (cost); events of
//! one user are as many as `m / (1 + (m - 1) icc)` independent ones (Kish 1965).

use stats::{Plan, Scale, Stopping, fixed_information};

use super::{Asked, Common, Shape, Spread};

/// Users of each arm, and of the event and its absence together, that a comparison needs in any case.
const USERS: f64 = 200.0;
const EVENTS: f64 = 10.0;
/// Pairs of scores, where they are clipped and where not.
const CLIPPED_PAIRS: f64 = 500.0;
const PAIRS: f64 = 1_000.0;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Users,
    Requests,
    Pairs,
}

impl Unit {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Requests => "requests",
            Self::Pairs => "pairs",
        }
    }
}

/// Of all arms together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) unit: Unit,
    /// Half of the experiments have found the effect by then.
    pub(super) typical: f64,
    /// The part that was asked for has.
    pub(super) planned: f64,
    /// What one look at the end would take for the same.
    pub(super) fixed: f64,
    /// What is needed in any case.
    pub(super) least: f64,
    /// Units a day.
    pub(super) a_day: Option<f64>,
}

/// What it takes in each mode, or why it cannot be done there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Costs {
    pub(super) split: Result<Cost, String>,
    pub(super) paired: Result<Cost, String>,
}

pub(super) fn of(asked: &Asked, common: &Common) -> Result<Costs, String> {
    let scale = |size: f64| {
        Scale::new(size).ok_or_else(|| format!("{size} is beyond what can be planned for"))
    };
    let stopping = Stopping::new(scale(asked.distance)?, scale(asked.tau)?, asked.level);
    let too_much = || {
        "the effect is too small beside what the analysis is tuned for: plan for a larger one"
            .to_owned()
    };
    let needed = Needed {
        distance: asked.distance,
        typical: stopping.information(0.5).ok_or_else(too_much)?,
        planned: stopping.information(common.power).ok_or_else(too_much)?,
        fixed: fixed_information(asked.level, common.power).ok_or_else(too_much)?,
    };
    Ok(Costs {
        split: split(asked, common, &needed)?,
        paired: paired(asked, common, &needed)?,
    })
}

/// Information, in squares of the distance by the standard error.
struct Needed {
    distance: f64,
    typical: f64,
    planned: f64,
    fixed: f64,
}

impl Needed {
    fn cost(&self, unit: Unit, least: f64, a_day: Option<f64>, units: impl Fn(f64) -> f64) -> Cost {
        let of = |information: f64| units(self.distance / information.sqrt());
        Cost {
            unit,
            typical: of(self.typical).max(least),
            planned: of(self.planned).max(least),
            fixed: of(self.fixed),
            least,
            a_day,
        }
    }
}

fn split(asked: &Asked, common: &Common, needed: &Needed) -> Result<Result<Cost, String>, String> {
    let candidate = |control: f64| {
        let share = control + asked.change;
        let fits = (share > 0.0 && share < 1.0).then_some(share);
        fits.ok_or_else(|| format!("control's share is {control}, and {} away from it there is none: plan for a smaller effect", asked.distance))
    };
    let binary = |share: f64| share * (1.0 - share);
    let (a, b, unit, rate) = match asked.shape {
        Shape::Proportion { control } => {
            let share = candidate(control)?;
            (
                binary(control),
                binary(share),
                Unit::Users,
                Some(0.5 * (control + share)),
            )
        }
        Shape::Mean { sd } => (sd * sd, sd * sd, Unit::Users, None),
        Shape::Ratio {
            spread,
            per_user,
            icc,
        } => {
            let alike = (1.0 + (per_user - 1.0) * icc) / per_user;
            let (a, b) = match spread {
                Spread::Share(control) => (binary(control), binary(candidate(control)?)),
                Spread::Values(sd) => (sd * sd, sd * sd),
            };
            (a * alike, b * alike, Unit::Users, None)
        }
        Shape::Paired { sd, .. } => (sd * sd, sd * sd, Unit::Requests, None),
        Shape::Accuracy {
            control: Some(control),
            ..
        } => (
            binary(control),
            binary(candidate(control)?),
            Unit::Pairs,
            None,
        ),
        Shape::Accuracy { control: None, .. } => {
            return Ok(Err(
                "give --baseline, control's accuracy, to compare".to_owned()
            ));
        }
    };
    let whole: f64 = common.weights.iter().sum();
    let mut weights = common.weights.iter().copied();
    let control = weights.next().unwrap_or(1.0);
    // The one with the fewest users waits the longest.
    let fewest = weights.fold(f64::INFINITY, f64::min);
    let scale = |size: f64| Scale::new(size).ok_or("a number is out of range");
    let plan = Plan {
        sd_a: scale(a.sqrt())?,
        sd_b: scale(b.sqrt())?,
        weight_a: scale(control)?,
        weight_b: scale(fewest)?,
    };
    let units = |error: f64| {
        let both = Scale::new(error).map_or(f64::INFINITY, |error| plan.units(error));
        both * whole / (control + fewest)
    };
    let of_an_arm = rate.map_or(USERS, |rate| USERS.max(EVENTS / rate.min(1.0 - rate)));
    let least = of_an_arm * whole / control.min(fewest);
    let a_day = match unit {
        Unit::Users => common.users_per_day,
        Unit::Requests | Unit::Pairs => common.pairs_per_day,
    };
    Ok(Ok(needed.cost(unit, least, a_day, units)))
}

fn paired(asked: &Asked, common: &Common, needed: &Needed) -> Result<Result<Cost, String>, String> {
    let (variance, unit, least) = match asked.shape {
        Shape::Proportion { .. } | Shape::Mean { .. } | Shape::Ratio { .. } => {
            return Ok(Err(
                "control answers everybody there, so that nothing that users do or meet differs"
                    .to_owned(),
            ));
        }
        Shape::Paired {
            sd,
            correlation,
            is_clipped,
        } => {
            let least = if is_clipped { CLIPPED_PAIRS } else { PAIRS };
            (2.0 * sd * sd * (1.0 - correlation), Unit::Requests, least)
        }
        Shape::Accuracy { discordance, .. } => {
            let variance = discordance - asked.change * asked.change;
            if discordance <= asked.change.abs() {
                return Err(format!(
                    "--discordance is {discordance}, and accuracies cannot differ by {} then: it must be larger",
                    asked.distance
                ));
            }
            (variance, Unit::Pairs, 0.0)
        }
    };
    let units = |error: f64| variance / (error * error);
    Ok(Ok(needed.cost(unit, least, common.pairs_per_day, units)))
}
