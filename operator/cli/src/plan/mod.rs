//! `plan`: how many users an experiment needs, before it begins.
//!
//! The way of the data: [`read`] (flags and manifest into [`Asked`]) → [`cost`] (what each metric takes) →
//! [`text`]. Owns none of the mathematics, which is `stats`'. Invariants: nothing is guessed: a number that is
//! needed and missing is an error which names its flag; a number that is given and of no use is one too.

mod cost;
mod numbers;
mod read;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use operator_core::experiment::spec::Design;
use stats::Alpha;

use crate::args::{Output, Plan};
use crate::failure::Failure;

/// What is planned.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    /// The metric's name; none of flags alone.
    name: Option<String>,
    /// What is compared.
    shape: Shape,
    /// How far the truth lies from what is to be excluded: the smallest effect, or the margin.
    distance: f64,
    /// By how much the candidate's value differs then from control's.
    change: f64,
    /// The size of effects that the analysis is tuned for.
    tau: f64,
    /// The one-sided level of a promotion.
    level: Alpha,
}

/// What is compared, and how much it varies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// The part of users.
    Proportion { control: f64 },
    /// A number per user.
    Mean { sd: f64 },
    /// A number per event or request of a user, who has `per_user` of them that are alike by `icc`.
    Ratio {
        spread: Spread,
        per_user: f64,
        icc: f64,
    },
    /// Differences of two scores of one request.
    Paired {
        sd: f64,
        correlation: f64,
        is_clipped: bool,
    },
    /// Labelled pairs.
    Accuracy {
        control: Option<f64>,
        discordance: f64,
    },
}

/// How much a number varies from event to event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    /// It is 0 or 1, and control's mean is this.
    Share(f64),
    /// Its standard deviation.
    Values(f64),
}

/// What all metrics have in common.
#[derive(Clone, Debug, PartialEq)]
struct Common {
    /// Control's weight, and those of the others.
    weights: Vec<f64>,
    /// The part of experiments that are to find it.
    power: f64,
    /// New users of the experiment a day.
    users_per_day: Option<f64>,
    /// Requests or labelled pairs a day.
    pairs_per_day: Option<f64>,
    /// When a promotion may come, and when it ends; none of flags alone.
    durations: Option<(Duration, Duration)>,
}

/// The answer to a command.
pub(crate) fn answer(plan: &Plan, design: Option<&Design>) -> Result<String, Failure> {
    let (asked, common) = read::asked(plan, design).map_err(Failure::Usage)?;
    let costs: Result<Vec<_>, String> =
        asked.iter().map(|asked| cost::of(asked, &common)).collect();
    let costs = costs.map_err(Failure::Usage)?;
    match plan.output {
        Output::Text => Ok(text::text(&asked, &costs, &common)),
        Output::Json => text::json(&asked, &costs, &common),
    }
}
