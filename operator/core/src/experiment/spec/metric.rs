//! What is compared, as plain types.
//!
//! Invariants: source, kind and test of a metric fit; a margin or smallest effect that is relative is one of
//! a metric that has a zero.

use crds::ABExperimentSpec;
use crds::v1alpha1::ab_experiment::{
    Amount, Direction as Written, Kind, Metric as Asked, Mode, Role, Signal, Test,
};
use crds::value::Decimal;
use serde_json::{Value, json};
use stats::margins::{Direction, RelativeMargin};
use stats::{Importance, Scale};

use crate::gates::figures;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The scores of requests.
    Score,
    /// How long requests took.
    Latency,
    /// Whether requests took longer than so many milliseconds.
    SlowerThan(u32),
    /// Whether requests failed.
    Errors,
    /// Events of users.
    Event(String),
    /// Labelled pairs.
    Preferences,
    /// A query.
    Prometheus(String),
}

impl Source {
    /// What Prometheus is asked.
    pub fn query(&self) -> Option<&str> {
        match self {
            Self::Prometheus(query) => Some(query),
            Self::Score
            | Self::Latency
            | Self::SlowerThan(_)
            | Self::Errors
            | Self::Event(_)
            | Self::Preferences => None,
        }
    }
}

/// The size of an effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// In the units of the metric.
    Absolute(Scale),
    /// As a part of control's value, at most 1,000 times it.
    Relative(Scale),
}

/// In which units effects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Those of the metric.
    Plain,
    /// Logarithms: a relative size is an absolute one there.
    Logarithm,
}

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// What it decides.
    pub role: Role,
    /// What is made of what is counted.
    pub kind: Kind,
    /// What is counted.
    pub source: Source,
    /// Which way is better.
    pub direction: Direction,
    /// What has to be shown.
    pub test: Test,
    /// How much worse is still good enough.
    pub margin: Option<Size>,
    /// The smallest effect that matters.
    pub smallest: Option<Size>,
    /// A variant that is surely above is out.
    pub absolute_max: Option<f64>,
    /// Between what values are taken, as written.
    pub clip: Option<(Decimal, Decimal)>,
    /// How important it is.
    pub importance: Importance,
    /// In which units effects are.
    pub axis: Axis,
}

impl Metric {
    /// Whether its values are shares of requests or users: each is 0 or 1.
    pub const fn is_rate(&self) -> bool {
        match self.kind {
            Kind::Proportion | Kind::SlowFraction | Kind::PairedAccuracy => true,
            Kind::Ratio => matches!(self.source, Source::Errors),
            Kind::Mean | Kind::Equivalence => false,
        }
    }

    /// Whether it is a goal that humans meet.
    pub fn is_human_goal(&self) -> bool {
        self.role == Role::Goal && matches!(self.source, Source::Event(_))
    }

    /// All that is compared, in one spelling.
    pub(super) fn canonical(&self) -> Value {
        let clip = self.clip.as_ref();
        json!({
            "name": self.name,
            "role": self.role,
            "kind": self.kind,
            "source": format!("{:?}", self.source),
            "direction": format!("{:?}", self.direction),
            "test": self.test,
            "margin": format!("{:?}", self.margin),
            "smallest": format!("{:?}", self.smallest),
            "absoluteMax": self.absolute_max,
            "clip": clip.map(|(min, max)| [figures::number(min), figures::number(max)]),
            "importance": format!("{:?}", self.importance),
        })
    }

    /// A mean as its readers know it: milliseconds where logarithms of them are compared, and then the
    /// geometric mean.
    pub fn mean_as_read(&self, mean: f64) -> f64 {
        match self.axis {
            Axis::Plain => mean,
            Axis::Logarithm => mean.exp(),
        }
    }

    /// An effect, turned so that more is better, as its readers know it: in the units of the metric, or as a
    /// part of control's value where logarithms are compared.
    pub fn effect_as_read(&self, effect: f64) -> f64 {
        match (self.axis, self.direction) {
            (Axis::Plain, _) => effect,
            (Axis::Logarithm, Direction::Higher) => effect.exp_m1(),
            (Axis::Logarithm, Direction::Lower) => -(-effect).exp_m1(),
        }
    }

    /// Whether routers count it.
    pub const fn is_counted(&self) -> bool {
        !matches!(self.source, Source::Prometheus(_))
    }
}

pub(super) fn all(spec: &ABExperimentSpec) -> Result<Vec<Metric>, String> {
    let mut metrics: Vec<Metric> = Vec::with_capacity(spec.metrics.len());
    for asked in &spec.metrics {
        if metrics.iter().any(|metric| metric.name == asked.name) {
            return Err(format!("metrics has {} twice: rename one", asked.name));
        }
        let metric = one(asked, spec.mode);
        metrics.push(metric.map_err(|why| format!("metrics[{}]: {why}", asked.name))?);
    }
    if !(1..=8).contains(&metrics.len()) {
        return Err(format!("metrics has {}: write one to eight", metrics.len()));
    }
    if !metrics.iter().any(|metric| metric.role == Role::Goal) {
        return Err(
            "no metric has role Goal: give it to the one that a variant is promoted for".to_owned(),
        );
    }
    Ok(metrics)
}

fn one(asked: &Asked, mode: Mode) -> Result<Metric, String> {
    let source = source(asked)?;
    fits(asked, &source, mode)?;
    idle(asked, &source)?;
    let axis = if source == Source::Latency {
        Axis::Logarithm
    } else {
        Axis::Plain
    };
    let test = asked.test.unwrap_or(match asked.role {
        Role::Goal => Test::Superiority,
        Role::Guardrail | Role::Info => Test::NoHarm,
    });
    let margin = size("margin", asked.margin.as_ref())?;
    let smallest = size("minimumEffect", asked.minimum_effect.as_ref())?;
    for (field, size) in [("margin", margin), ("minimumEffect", smallest)] {
        relative(field, size, &source, axis)?;
    }
    if asked.kind == Kind::Equivalence && !matches!(margin, Some(Size::Absolute(_))) {
        return Err(
            "kind Equivalence needs margin.absolute, how far apart is still the same".to_owned(),
        );
    }
    if test == Test::NonInferiority && margin.is_none() {
        return Err(
            "test NonInferiority needs a margin, how much worse is still good enough".to_owned(),
        );
    }
    let importance = Importance::new(f64::from(asked.weight.unwrap_or(1)));
    let metric = Metric {
        name: asked.name.clone(),
        role: asked.role,
        kind: asked.kind,
        direction: match asked.direction {
            Written::Increase => Direction::Higher,
            Written::Decrease => Direction::Lower,
        },
        test,
        margin,
        smallest,
        absolute_max: decimal("absoluteMax", asked.absolute_max.as_ref())?,
        clip: clip(asked)?,
        importance: importance.ok_or("weight must be above 0")?,
        axis,
        source,
    };
    let has_max = metric.absolute_max.is_some();
    if has_max && metric.is_counted() && (!metric.is_rate() || metric.kind == Kind::PairedAccuracy)
    {
        return Err("absoluteMax is for shares (Ratio of Errors, Proportion, SlowFraction) and Prometheus: leave it out, or give a margin".to_owned());
    }
    shares(&metric)?;
    Ok(metric)
}

/// A size that no share can have is a percentage that was meant, and nothing would ever reach it.
fn shares(metric: &Metric) -> Result<(), String> {
    if !metric.is_rate() {
        return Ok(());
    }
    let absolute = |size: Option<Size>| match size {
        Some(Size::Absolute(size)) => Some(size.get()),
        Some(Size::Relative(_)) | None => None,
    };
    for (field, value) in [
        ("minimumEffect.absolute", absolute(metric.smallest)),
        ("margin.absolute", absolute(metric.margin)),
        ("absoluteMax", metric.absolute_max),
    ] {
        if let Some(value) = value.filter(|value| !(0.0..1.0).contains(value)) {
            return Err(format!(
                "{field} is {value}, and this metric is a share: write 0 or more, below 1, such as \"0.05\" for 5 %"
            ));
        }
    }
    Ok(())
}

fn source(asked: &Asked) -> Result<Source, String> {
    let of = &asked.source;
    let given = [
        of.router.is_some(),
        of.feedback.is_some(),
        of.preferences.is_some(),
        of.prometheus.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(
            "name exactly one source: router, feedback, preferences or prometheus".to_owned(),
        );
    }
    if let Some(router) = &of.router {
        return match (router.signal, asked.kind) {
            (Signal::Latency, Kind::SlowFraction) => slower_than(asked).map(Source::SlowerThan),
            (Signal::Score, _) => Ok(Source::Score),
            (Signal::Latency, _) => Ok(Source::Latency),
            (Signal::Errors, _) => Ok(Source::Errors),
        };
    }
    if let Some(feedback) = &of.feedback {
        let printed = feedback.event.bytes().all(|byte| byte.is_ascii_graphic());
        if !printed || !(1..=63).contains(&feedback.event.len()) {
            return Err(
                "source.feedback.event must be 1 to 63 printed characters of ASCII without a space"
                    .to_owned(),
            );
        }
        return Ok(Source::Event(feedback.event.clone()));
    }
    Ok(match &of.prometheus {
        Some(prometheus) => Source::Prometheus(prometheus.query.clone()),
        None => Source::Preferences,
    })
}

fn slower_than(asked: &Asked) -> Result<u32, String> {
    let written = asked.slower_than.as_ref();
    let written = written.ok_or("kind SlowFraction needs slowerThan, such as 250ms")?;
    let time = written
        .to_std()
        .map_err(|why| format!("slowerThan: {why}"))?;
    let millis = u32::try_from(time.as_millis()).ok();
    millis
        .filter(|millis| (1..=600_000).contains(millis))
        .ok_or_else(|| "slowerThan must be 1ms to 10m".to_owned())
}

/// The rules of the schema, once more.
fn fits(asked: &Asked, source: &Source, mode: Mode) -> Result<(), String> {
    let kinds: &[Kind] = match source {
        Source::Score => &[Kind::Mean, Kind::Ratio, Kind::Equivalence],
        Source::Latency | Source::Prometheus(_) => &[Kind::Mean, Kind::Ratio],
        Source::SlowerThan(_) => &[Kind::SlowFraction],
        Source::Errors if mode == Mode::Paired => &[Kind::Ratio],
        Source::Errors => &[Kind::Ratio, Kind::Proportion],
        Source::Event(_) => &[Kind::Mean, Kind::Ratio, Kind::Proportion],
        Source::Preferences => &[Kind::PairedAccuracy],
    };
    if !kinds.contains(&asked.kind) {
        let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
        return Err(format!(
            "kind {:?} does not fit this source{}: use {}",
            asked.kind,
            if mode == Mode::Paired {
                " in mode Paired"
            } else {
                ""
            },
            names.join(" or ")
        ));
    }
    if mode == Mode::Paired && matches!(source, Source::Event(_)) {
        return Err("in mode Paired control answers every user, so that feedback says nothing of a variant: use preferences, or mode Split".to_owned());
    }
    let of_prometheus = matches!(source, Source::Prometheus(_));
    let allowed = match asked.role {
        Role::Info => true,
        Role::Guardrail => asked.absolute_max.is_some(),
        Role::Goal => false,
    };
    if of_prometheus && !allowed {
        return Err("a Prometheus query is Info, or Guardrail with absoluteMax".to_owned());
    }
    let test_fits = match (asked.role, asked.test) {
        (Role::Goal, Some(Test::NoHarm)) | (Role::Guardrail, Some(Test::Superiority)) => false,
        (Role::Goal | Role::Guardrail | Role::Info, _) => true,
    };
    if !test_fits || (asked.role == Role::Goal && asked.kind == Kind::Equivalence) {
        return Err("a Goal is tested for Superiority or NonInferiority, a Guardrail for NoHarm or NonInferiority; Equivalence is no Goal".to_owned());
    }
    Ok(())
}

/// What nothing would come of guards nobody, and is not accepted.
fn idle(asked: &Asked, source: &Source) -> Result<(), String> {
    let is_value = match source {
        Source::Score | Source::Latency => true,
        Source::Event(_) => asked.kind != Kind::Proportion,
        Source::SlowerThan(_) | Source::Errors | Source::Preferences | Source::Prometheus(_) => {
            false
        }
    };
    if asked.clip.is_some() && !is_value {
        return Err(
            "clip is of values: what is counted here is 0 or 1, or comes from a query; remove it"
                .to_owned(),
        );
    }
    let judged = [
        ("test", asked.test.is_some()),
        ("margin", asked.margin.is_some()),
        ("minimumEffect", asked.minimum_effect.is_some()),
    ];
    let said = judged.iter().find(|(_, is_said)| *is_said);
    match said {
        Some((field, _)) if matches!(source, Source::Prometheus(_)) => Err(format!(
            "{field} is of what routers count: a Prometheus query is held against absoluteMax alone; remove it"
        )),
        Some(_) | None => Ok(()),
    }
}

/// A score has no zero (stats.md, domain trap 1), a pair's difference has none to compare with, and a
/// logarithm has no absolute size that a reader could mean.
fn relative(field: &str, size: Option<Size>, source: &Source, axis: Axis) -> Result<(), String> {
    match (size, axis) {
        (Some(Size::Absolute(_)), Axis::Logarithm) => Err(format!(
            "latencies are compared as ratios: write {field}: {{relative: \"0.1\"}} for 10 %"
        )),
        (Some(Size::Relative(_)), Axis::Plain)
            if matches!(source, Source::Score | Source::Preferences) =>
        {
            Err(format!(
                "there is no zero that a part could be of: write {field}: {{absolute: ...}}"
            ))
        }
        (Some(Size::Absolute(_) | Size::Relative(_)) | None, _) => Ok(()),
    }
}

fn size(field: &str, written: Option<&Amount>) -> Result<Option<Size>, String> {
    let Some(amount) = written else {
        return Ok(None);
    };
    match (&amount.absolute, &amount.relative) {
        (Some(text), None) => {
            let number = figures::number(text).filter(|number| *number >= 0.0);
            let number = number.ok_or_else(|| format!("{field}.absolute must be 0 or more"))?;
            // A margin of nothing is none.
            Ok(Scale::new(number).map(Size::Absolute))
        }
        (None, Some(text)) => {
            let part = figures::number(text);
            let part = part.filter(|part| RelativeMargin::new(*part).is_some());
            let part = part.ok_or_else(|| {
                format!("{field}.relative must be a part of control's value, such as \"0.02\"")
            })?;
            Ok(Scale::new(part).map(Size::Relative))
        }
        (Some(_), Some(_)) | (None, None) => Err(format!(
            "{field}: name exactly one of absolute and relative"
        )),
    }
}

fn decimal(field: &str, written: Option<&Decimal>) -> Result<Option<f64>, String> {
    let Some(text) = written else {
        return Ok(None);
    };
    let number = figures::number(text);
    number
        .map(Some)
        .ok_or_else(|| format!("{field} is {text}: write a decimal number"))
}

fn clip(asked: &Asked) -> Result<Option<(Decimal, Decimal)>, String> {
    let Some(clip) = &asked.clip else {
        return Ok(None);
    };
    let ends = figures::number(&clip.min).zip(figures::number(&clip.max));
    match ends {
        Some((min, max)) if min < max => Ok(Some((clip.min.clone(), clip.max.clone()))),
        Some(_) | None => Err("clip.min must be a number below clip.max".to_owned()),
    }
}
