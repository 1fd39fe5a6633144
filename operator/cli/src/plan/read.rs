//! Flags and manifest into what is asked.

use crds::v1alpha1::ab_experiment::{Kind, Mode, Role, Test};
use operator_core::experiment::analysis;
use operator_core::experiment::spec::{Axis, Design, Metric, Size, Source};
use stats::Alpha;
use stats::margins::Direction;

use super::numbers::Numbers;
use super::{Asked, Common, Shape, Spread};
use crate::args::{Plan, PlanKind};

const ALPHA: f64 = 0.05;

pub(super) fn asked(plan: &Plan, design: Option<&Design>) -> Result<(Vec<Asked>, Common), String> {
    let positive = |flag: &str, number: Option<f64>| match number {
        Some(number) if !(number > 0.0 && number.is_finite()) => {
            Err(format!("{flag} is {number}: it must be above 0"))
        }
        other => Ok(other),
    };
    if !(plan.power > 0.0 && plan.power <= 0.99) {
        return Err(format!(
            "--power is {}: it must be above 0 and at most 0.99",
            plan.power
        ));
    }
    let coverage = design.map_or(1.0, |design| f64::from(design.coverage) / 10_000.0);
    let users = positive("--users-per-day", plan.users_per_day)?;
    if users.is_some() && coverage <= 0.0 {
        return Err("assignment.coveragePercent is 0: nobody is in the experiment".to_owned());
    }
    let common = Common {
        weights: match design {
            Some(design) => design
                .variants
                .iter()
                .map(|one| f64::from(one.weight))
                .collect(),
            None => split(&plan.split)?,
        },
        power: plan.power,
        users_per_day: users.map(|users| users * coverage),
        pairs_per_day: positive("--pairs-per-day", plan.pairs_per_day)?,
        durations: design.map(|design| (design.at_least, design.at_most)),
    };
    let alpha = plan.alpha.map(|alpha| {
        let level = Alpha::new(alpha).filter(|_| alpha <= 0.5);
        level.ok_or_else(|| format!("--alpha is {alpha}: it must be above 0 and at most 0.5"))
    });
    let alpha = alpha.transpose()?;
    let asked = match design {
        Some(design) => of_manifest(plan, design, alpha)?,
        None => vec![of_flags(plan, alpha, common.weights.len() - 1)?],
    };
    Ok((asked, common))
}

fn split(text: &str) -> Result<Vec<f64>, String> {
    let parts: Vec<Option<f64>> = text
        .split('/')
        .map(|part| {
            part.trim()
                .parse::<f64>()
                .ok()
                .filter(|part| *part > 0.0 && part.is_finite())
        })
        .collect();
    let weights: Option<Vec<f64>> = parts.into_iter().collect();
    weights
        .filter(|weights| (2..=4).contains(&weights.len()))
        .ok_or_else(|| {
            format!("--split is {text:?}: write two to four weights, control's first, such as 50/50 or 90/5/5")
        })
}

fn of_flags(plan: &Plan, alpha: Option<Alpha>, candidates: usize) -> Result<Asked, String> {
    Numbers::check_names(plan, &[])?;
    let numbers = Numbers::of(plan, None);
    let kind = plan.kind.ok_or("--kind or --filename is needed")?;
    let mde = numbers.need(
        "--mde",
        "the smallest effect that matters, above 0",
        |mde| mde > 0.0,
    )?;
    let shape = match kind {
        PlanKind::Proportion => proportion(&numbers)?,
        PlanKind::Mean => mean(&numbers)?,
        PlanKind::Ratio => {
            let spread = match numbers.get("--baseline") {
                Some(_) => Spread::Share(share(&numbers)?),
                None => Spread::Values(deviation(&numbers)?),
            };
            ratio(&numbers, spread)?
        }
        PlanKind::Paired => paired(&numbers, false)?,
        PlanKind::PairedAccuracy => accuracy(&numbers)?,
    };
    numbers.refuse_others()?;
    #[expect(clippy::cast_precision_loss, reason = "three at most")]
    let each = 0.5 / candidates.max(1) as f64;
    let alpha = alpha.or_else(|| Alpha::new(ALPHA));
    let level = alpha.and_then(|alpha| alpha.part(each));
    Ok(Asked {
        name: None,
        shape,
        distance: mde,
        change: mde,
        tau: mde,
        level: level.ok_or("--alpha is too small to be divided")?,
    })
}

fn of_manifest(plan: &Plan, design: &Design, alpha: Option<Alpha>) -> Result<Vec<Asked>, String> {
    let mut design = design.clone();
    design.alpha = alpha.unwrap_or(design.alpha);
    let levels = analysis::benefit_levels(&design).ok_or("alpha is too small to be divided")?;
    let is_asked = |metric: &Metric| match &plan.metric {
        Some(name) => metric.name == *name,
        None => metric.role == Role::Goal,
    };
    let metrics = design.metrics.iter().zip(levels);
    let metrics: Vec<(&Metric, Alpha)> = metrics.filter(|(metric, _)| is_asked(metric)).collect();
    if let (Some(name), true) = (&plan.metric, metrics.is_empty()) {
        let all: Vec<&str> = design
            .metrics
            .iter()
            .map(|metric| metric.name.as_str())
            .collect();
        return Err(format!(
            "--metric is {name}, and the manifest has {}",
            all.join(", ")
        ));
    }
    let names: Vec<&str> = metrics
        .iter()
        .map(|(metric, _)| metric.name.as_str())
        .collect();
    Numbers::check_names(plan, &names)?;
    let each = metrics.iter();
    each.map(|(metric, level)| of_metric(plan, &design, metric, *level))
        .collect()
}

fn of_metric(plan: &Plan, design: &Design, metric: &Metric, level: Alpha) -> Result<Asked, String> {
    let numbers = Numbers::of(plan, Some(&metric.name));
    let shape = shape(&numbers, design, metric)?;
    let size = |size: Size, control: Option<f64>| -> Result<f64, String> {
        match (size, metric.axis) {
            (Size::Absolute(size), _) => Ok(size.get()),
            (Size::Relative(part), Axis::Logarithm) => Ok(part.get().ln_1p()),
            (Size::Relative(part), Axis::Plain) => {
                let what = "control's mean, which the relative size is a part of";
                let mean = || numbers.need("--baseline", what, |mean| mean != 0.0);
                Ok(part.get() * control.map_or_else(mean, Ok)?.abs())
            }
        }
    };
    let control = shape.control();
    let smallest = match (numbers.get("--mde"), metric.smallest) {
        (Some(mde), _) if mde > 0.0 => Some(mde),
        (Some(mde), _) => return Err(format!("--mde is {mde}: it must be above 0")),
        (None, written) => written.map(|written| size(written, control)).transpose()?,
    };
    let margin = metric
        .margin
        .map(|margin| size(margin, control))
        .transpose()?;
    let (distance, is_changed) = match metric.test {
        Test::Superiority => {
            let missing = "minimumEffect is not in the manifest: write it there, for it is what the analysis is tuned for, or give --mde";
            (
                smallest.ok_or_else(|| format!("metric {}: {missing}", metric.name))?,
                true,
            )
        }
        Test::NonInferiority => (margin.ok_or("a margin is missing")?, false),
        Test::NoHarm => {
            return Err(format!(
                "metric {}: NoHarm has nothing to show, so that it costs no users beyond the 200 of each variant that every metric needs: plan a Goal, or a Guardrail with test NonInferiority",
                metric.name
            ));
        }
    };
    numbers.refuse_others()?;
    let sign = match metric.direction {
        Direction::Higher => 1.0,
        Direction::Lower => -1.0,
    };
    Ok(Asked {
        name: Some(metric.name.clone()),
        shape,
        distance,
        change: if is_changed { sign * distance } else { 0.0 },
        tau: smallest.unwrap_or(distance),
        level,
    })
}

fn shape(numbers: &Numbers<'_>, design: &Design, metric: &Metric) -> Result<Shape, String> {
    let unknown = |what: &str| Err(format!("metric {}: plan does not know {what}", metric.name));
    match (&metric.source, metric.kind, design.mode) {
        (_, Kind::Equivalence, _) => unknown("Equivalence"),
        (Source::Prometheus(_), _, _) => {
            unknown("Prometheus: its queries are compared with a bound, and not over users")
        }
        (Source::Preferences, _, _) => accuracy(numbers),
        (Source::Score, _, Mode::Paired) => paired(numbers, metric.clip.is_some()),
        (Source::Errors | Source::SlowerThan(_) | Source::Latency, _, Mode::Paired) => {
            unknown("errors and latencies of mode Paired")
        }
        (_, Kind::Proportion, _) => proportion(numbers),
        (Source::Event(_), Kind::Mean, _) => mean(numbers),
        (Source::Errors | Source::SlowerThan(_), _, _) => {
            ratio(numbers, Spread::Share(share(numbers)?))
        }
        (Source::Event(_) | Source::Score | Source::Latency, _, _) => {
            ratio(numbers, Spread::Values(deviation(numbers)?))
        }
    }
}

impl Shape {
    /// Control's value, where it is known.
    const fn control(self) -> Option<f64> {
        match self {
            Self::Proportion { control }
            | Self::Ratio {
                spread: Spread::Share(control),
                ..
            } => Some(control),
            Self::Accuracy { control, .. } => control,
            Self::Ratio {
                spread: Spread::Values(_),
                ..
            }
            | Self::Mean { .. }
            | Self::Paired { .. } => None,
        }
    }
}

fn share(numbers: &Numbers<'_>) -> Result<f64, String> {
    let what = "control's share, above 0 and below 1, such as 0.3";
    numbers.need("--baseline", what, |share| share > 0.0 && share < 1.0)
}

fn deviation(numbers: &Numbers<'_>) -> Result<f64, String> {
    let what = "the standard deviation, above 0: of ln(latency) where latencies are compared";
    numbers.need("--sd", what, |sd| sd > 0.0)
}

fn proportion(numbers: &Numbers<'_>) -> Result<Shape, String> {
    Ok(Shape::Proportion {
        control: share(numbers)?,
    })
}

fn mean(numbers: &Numbers<'_>) -> Result<Shape, String> {
    Ok(Shape::Mean {
        sd: deviation(numbers)?,
    })
}

fn ratio(numbers: &Numbers<'_>, spread: Spread) -> Result<Shape, String> {
    let what = "how many events or requests a user has, at least 1";
    let per_user = numbers.need("--events-per-user", what, |many| many >= 1.0)?;
    let what = "how alike those of one user are, 0 (not at all) to 1 (all the same); 0.1 to 0.3 are usual, and 0 plans with too few users";
    let icc = numbers.need("--icc", what, |icc| (0.0..=1.0).contains(&icc))?;
    Ok(Shape::Ratio {
        spread,
        per_user,
        icc,
    })
}

fn paired(numbers: &Numbers<'_>, is_clipped: bool) -> Result<Shape, String> {
    let what =
        "how alike two variants score, at least -1 and below 1; score some texts with both to know";
    Ok(Shape::Paired {
        sd: deviation(numbers)?,
        correlation: numbers.need("--correlation", what, |of| (-1.0..1.0).contains(&of))?,
        is_clipped,
    })
}

fn accuracy(numbers: &Numbers<'_>) -> Result<Shape, String> {
    let what =
        "the part of pairs that exactly one variant puts in the right order, above 0 and at most 1";
    let discordance = numbers.need("--discordance", what, |part| part > 0.0 && part <= 1.0)?;
    let control = numbers
        .get("--baseline")
        .map(|_| share(numbers))
        .transpose()?;
    Ok(Shape::Accuracy {
        control,
        discordance,
    })
}
