//! `spec.rollout.gates` as gates, or a sentence that says what to change.
//!
//! Invariant: what is doubtful is refused. A gate guards something: one that would be looked at in
//! another way than was meant, or never, must not be accepted. The schema's rules are checked again,
//! because the definition in the cluster may be older than this operator.

mod kinds;
mod order;

use std::time::Duration;

use crds::v1alpha1::reward_model::gate::{AfterPromotion, Gate as Written, OnNoData};
use crds::v1alpha1::reward_model::rollout::Rollout;
use crds::value::Decimal;
use stats::Alpha;

use super::figures;
use super::gate::{Gate, Kind};

/// The probability of a false alarm that a rollout may have.
pub const PER_ROLLOUT: f64 = 0.05;
/// What of it is the comparing gates'; the other half is the cut-off's.
pub const COMPARING: f64 = PER_ROLLOUT / 2.0;
/// The most gates of a rollout.
const MOST: usize = 16;
/// Different `slowerThan` that the routers count.
const SLOW_THRESHOLDS: usize = 4;
/// How often a gate is looked at where it does not say.
const INTERVAL: Duration = Duration::from_secs(30);
/// Nobody looks more often.
const SHORTEST: Duration = Duration::from_secs(1);
/// Samples of a gate that compares, where it does not say.
const SAMPLES: u64 = 100;
/// Looks without an answer that are borne where it does not say.
const BORNE: u32 = 3;

/// The gates of a rollout.
///
/// # Errors
/// The first thing that is wrong, and what to do.
pub fn read(rollout: &Rollout) -> Result<Vec<Gate>, String> {
    let written: &[Written] = rollout.gates.as_deref().unwrap_or_default();
    if written.len() > MOST {
        return Err(format!(
            "rollout.gates has {} gates: keep {MOST} at most",
            written.len()
        ));
    }
    let share = share(written)?;
    let gates: Vec<Gate> = written
        .iter()
        .map(|gate| one(gate, share).map_err(|why| format!("rollout.gates[{}]: {why}", gate.name)))
        .collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
    names.sort_unstable();
    if let Some(name) = names.windows(2).find_map(|two| match two {
        [one, other] if one == other => Some(one),
        _ => None,
    }) {
        return Err(format!(
            "rollout.gates has two gates of the name {name}: give each its own"
        ));
    }
    let golden = gates
        .iter()
        .any(|gate| matches!(gate.kind, Kind::Golden(_)));
    if golden && rollout.golden_set.is_none() {
        return Err(
            "rollout.gates has a golden gate and rollout.goldenSet is not set: name the file of labelled pairs there"
                .to_owned(),
        );
    }
    check_thresholds(&gates)?;
    order::check(rollout, &gates)?;
    Ok(gates)
}

/// Each threshold has its own cells in every router.
fn check_thresholds(gates: &[Gate]) -> Result<(), String> {
    let mut all: Vec<Duration> = gates
        .iter()
        .filter_map(|gate| match &gate.kind {
            Kind::Router(rule) => rule.slower_than,
            Kind::Golden(_) | Kind::Paired(_) | Kind::Preferences(_) | Kind::Prometheus { .. } => {
                None
            }
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    if all.len() <= SLOW_THRESHOLDS {
        return Ok(());
    }
    Err(format!(
        "rollout.gates has {} different slowerThan: the routers count {SLOW_THRESHOLDS} at most, so let gates share one",
        all.len()
    ))
}

/// What each comparing gate without its own alpha gets: equal parts of what is left.
fn share(written: &[Written]) -> Result<Option<Alpha>, String> {
    let comparing = written.iter().filter(|gate| kinds::compares(gate));
    let (mut taken, mut others) = (0.0, 0_u32);
    for gate in comparing {
        match &gate.alpha {
            Some(alpha) => taken += self::alpha(&gate.name, alpha)?.get(),
            None => others += 1,
        }
    }
    let left = COMPARING - taken;
    // Decimals such as 0.0125 twice are the whole of it, give or take a rounding.
    if left < -1e-12 {
        return Err(format!(
            "rollout.gates: the alphas add up to {}, and {COMPARING} is theirs together (half of a rollout's {PER_ROLLOUT}, the other half is the cut-off's): make them smaller",
            figures::plain(taken)
        ));
    }
    if others == 0 {
        return Ok(None);
    }
    let share = Alpha::new(left / f64::from(others)).filter(|_| left > 1e-12);
    share.map(Some).ok_or_else(|| {
        format!(
            "rollout.gates: those with an alpha take all of {COMPARING}, and nothing is left for the {others} without: make them smaller, or give each its own"
        )
    })
}

fn alpha(name: &str, written: &Decimal) -> Result<Alpha, String> {
    let read = figures::number(written).and_then(Alpha::new);
    read.ok_or_else(|| {
        format!(
            "rollout.gates[{name}]: alpha {:?} does not lie between 0 and 1: write one such as \"0.01\", or leave it out for an equal share",
            written.as_str()
        )
    })
}

fn one(written: &Written, share: Option<Alpha>) -> Result<Gate, String> {
    check_name(&written.name)?;
    let kind = kinds::read(written)?;
    let compares = kind.compares();
    let own = match &written.alpha {
        Some(_) if !compares => {
            return Err(
                "alpha is of gates that compare under uncertainty (router, paired, preferences): remove it"
                    .to_owned(),
            );
        }
        Some(alpha) => Some(self::alpha(&written.name, alpha)?),
        None => share.filter(|_| compares),
    };
    let shown = Alpha::new(PER_ROLLOUT).ok_or("no level to show intervals at")?;
    let interval = match &written.interval {
        None => INTERVAL,
        Some(interval) => interval
            .to_std()
            .map_err(|why| format!("interval: {why}"))?,
    };
    if interval < SHORTEST {
        return Err("interval is shorter than 1s: write 1s or more".to_owned());
    }
    Ok(Gate {
        name: written.name.clone(),
        alpha: own.unwrap_or(shown),
        interval,
        min_samples: min_samples(written.min_samples, &kind)?,
        error_limit: match written.error_limit {
            None => BORNE,
            Some(limit) => u32::try_from(limit)
                .map_err(|_| format!("errorLimit is {limit}: write 0 or more"))?,
        },
        on_no_data: on_no_data(written, &kind)?,
        after_promotion: after_promotion(written, &kind)?,
        dry_run: written.dry_run.unwrap_or(false),
        kind,
    })
}

/// Names stand in the words of a step, and in annotations.
fn check_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let sound = name.len() <= 63
        && name.chars().all(good)
        && ends(name.chars().next())
        && ends(name.chars().next_back());
    sound.then_some(()).ok_or_else(|| {
        "a name has lower-case letters, digits and '-' only, begins and ends with a letter or digit, and has 63 characters at most"
            .to_owned()
    })
}

fn min_samples(written: Option<i64>, kind: &Kind) -> Result<u64, String> {
    let counts = match kind {
        Kind::Router(_) | Kind::Paired(_) | Kind::Preferences(_) | Kind::Golden(_) => true,
        Kind::Prometheus { .. } => false,
    };
    match written {
        None if kind.compares() => Ok(SAMPLES),
        None => Ok(1),
        Some(_) if !counts => Err(
            "minSamples is of gates on requests and pairs: remove it, and let the query itself ask for a count, such as `... and on() count > 100`"
                .to_owned(),
        ),
        Some(samples) => u64::try_from(samples)
            .ok()
            .filter(|samples| *samples > 0)
            .ok_or_else(|| format!("minSamples is {samples}: write 1 or more, or leave it out")),
    }
}

/// A golden set is scored before the revision gets anything, and has an answer or an error.
fn on_no_data(written: &Written, kind: &Kind) -> Result<OnNoData, String> {
    match (kind, written.on_no_data) {
        (Kind::Golden(_), Some(OnNoData::Fail)) => Err(
            "onNoData: Fail would take a revision back because a golden set could not be read: write Wait or Pause"
                .to_owned(),
        ),
        (_, written) => Ok(written.unwrap_or_default()),
    }
}

fn after_promotion(written: &Written, kind: &Kind) -> Result<AfterPromotion, String> {
    match (kind, written.after_promotion) {
        (Kind::Golden(_), Some(_)) => Err(
            "afterPromotion has no meaning for a golden gate, which is decided before the revision gets anything: remove it"
                .to_owned(),
        ),
        (_, written) => Ok(written.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
