//! A member `experiment`, or why the table is refused for it.

use super::document::{
    ClipDocument, ExperimentDocument, MetricDocument, OverrideDocument, VariantDocument,
};
use super::{
    Arm, Clip, Event, Experiment, MOST_METRICS, MOST_OVERRIDES, MOST_RANGES, MOST_VARIANTS, Metric,
    Mode, Name, OnMissingKey, Override, Signal, Slots, Source, Target, Variant,
};
use crate::table::Refusal;
use crate::table::read::{self as table, require, value};
use crate::{Decimal, Revision, WHOLE};

const NAMED: &str =
    "1 to 63 letters, digits, dots, underscores and dashes, with a letter or a digit at both ends";

pub(in crate::table) fn read(document: ExperimentDocument) -> Result<Experiment, Refusal> {
    require(
        !document.salt.is_empty() && !document.salt.contains('\0'),
        "experiment.salt",
        "a text without a zero byte",
    )?;
    require(
        (1..=253).contains(&document.uid.len()),
        "experiment.uid",
        "what the resource's metadata says",
    )?;
    let mode = match document.mode.as_str() {
        "Split" => Some(Mode::Split),
        "Paired" => Some(Mode::Paired),
        _ => None,
    };
    let on_missing_key = match document.on_missing_key.as_str() {
        "Control" => Some(OnMissingKey::Control),
        "Reject" => Some(OnMissingKey::Reject),
        _ => None,
    };
    let variants = variants(document.variants, &document.control)?;
    Ok(Experiment {
        name: name(&document.name, "experiment.name")?,
        uid: document.uid,
        epoch: document.epoch,
        salt: document.salt,
        mode: value(mode, "experiment.mode", "Split or Paired")?,
        key: document.key.map(table::key).transpose()?,
        on_missing_key: value(
            on_missing_key,
            "experiment.onMissingKey",
            "Control or Reject",
        )?,
        overrides: overrides(document.overrides, &variants)?,
        variants,
        metrics: metrics(document.metrics)?,
    })
}

pub(crate) fn name(text: &str, member: impl Into<String>) -> Result<Name, Refusal> {
    value(Name::parse(text), member, NAMED)
}

fn variants(documents: Vec<VariantDocument>, control: &str) -> Result<Vec<Variant>, Refusal> {
    require(
        (2..=MOST_VARIANTS).contains(&documents.len()),
        "experiment.variants",
        "two to four variants",
    )?;
    let is_there = documents.iter().any(|document| document.name == control);
    require(
        is_there,
        "experiment.control",
        "the name of one of the variants",
    )?;
    let variants: Result<Vec<_>, _> = documents
        .into_iter()
        .map(|document| variant(document, control))
        .collect();
    let mut variants = variants?;
    // The order of the others says which is which in evidence.
    variants.sort_by(|one, other| {
        (one.target.is_some(), &one.name).cmp(&(other.target.is_some(), &other.name))
    });
    let mut names: Vec<&Name> = variants.iter().map(|variant| &variant.name).collect();
    names.sort_unstable();
    if let Some([twice, _]) = names.windows(2).find(|two| matches!(two, [a, b] if a == b)) {
        return Err(Refusal::Twice {
            what: format!("variant {twice}"),
        });
    }
    let mut all: Vec<Slots> = variants.iter().flat_map(|v| v.slots.clone()).collect();
    all.sort_unstable();
    let apart = all
        .windows(2)
        .all(|two| matches!(two, [one, next] if one.until <= next.from));
    require(
        apart,
        "experiment.variants.slots",
        "ranges that do not overlap: a slot has one variant",
    )?;
    Ok(variants)
}

fn variant(document: VariantDocument, control: &str) -> Result<Variant, Refusal> {
    let member = |member: &str| format!("experiment.variants[{}].{member}", document.name);
    let name = name(&document.name, member("name"))?;
    let slots = slots(&document.slots, &member)?;
    let target = if document.name == control {
        let is_bare = document.revision.is_none()
            && document.digest.is_none()
            && document.service.is_none()
            && document.endpoints.is_empty()
            && document.calibration.is_none()
            && document.capacity.is_none();
        require(
            is_bare,
            member("revision"),
            "name and slots alone: the table's stable revision serves the control",
        )?;
        None
    } else {
        Some(target(&document, &member)?)
    };
    Ok(Variant {
        name,
        target,
        slots,
    })
}

fn target(document: &VariantDocument, member: &dyn Fn(&str) -> String) -> Result<Target, Refusal> {
    let revision = document.revision.as_deref().and_then(Revision::parse);
    table::digest(document.digest.as_deref(), member)?;
    table::capacity(document.capacity, member)?;
    let calibration = document.calibration.as_ref();
    Ok(Target {
        revision: value(
            revision,
            member("revision"),
            "1 to 63 lower-case letters, digits, dots and dashes",
        )?,
        digest: document.digest.clone(),
        place: table::place(document.service.as_deref(), &document.endpoints, member)?,
        calibration: calibration
            .map(|calibration| table::calibration(calibration, member))
            .transpose()?,
        capacity: document.capacity,
    })
}

/// Ranges in order. Those that touch are one.
fn slots(ranges: &[[i64; 2]], member: &dyn Fn(&str) -> String) -> Result<Vec<Slots>, Refusal> {
    require(
        ranges.len() <= MOST_RANGES,
        member("slots"),
        "at most 256 ranges",
    )?;
    let one = |[from, until]: &[i64; 2]| {
        let slot = |number: i64| u16::try_from(number).ok().filter(|slot| *slot <= WHOLE);
        let range = slot(*from).zip(slot(*until));
        let range = range.filter(|(from, until)| from < until);
        let range = range.map(|(from, until)| Slots { from, until });
        value(
            range,
            member("slots"),
            "ranges [from, until] of 0 to 10000, from below until",
        )
    };
    let slots: Result<Vec<_>, _> = ranges.iter().map(one).collect();
    let mut slots = slots?;
    slots.sort_unstable();
    let mut merged: Vec<Slots> = Vec::new();
    for next in slots {
        match merged.last_mut() {
            Some(last) if last.until == next.from => last.until = next.until,
            Some(_) | None => merged.push(next),
        }
    }
    Ok(merged)
}

fn overrides(
    documents: Vec<OverrideDocument>,
    variants: &[Variant],
) -> Result<Vec<Override>, Refusal> {
    require(
        documents.len() <= MOST_OVERRIDES,
        "experiment.overrides",
        "at most 32",
    )?;
    let one = |document: OverrideDocument| {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let header = document.header.to_ascii_lowercase();
        require(
            !header.is_empty() && header.bytes().all(is_token),
            "experiment.overrides.header",
            "the name of a header",
        )?;
        let place = variants
            .iter()
            .position(|variant| variant.name.as_str() == document.variant);
        Ok(Override {
            header,
            value: document.value,
            arm: value(
                place.and_then(Arm::new),
                "experiment.overrides.variant",
                "the name of one of the variants",
            )?,
        })
    };
    documents.into_iter().map(one).collect()
}

fn metrics(documents: Vec<MetricDocument>) -> Result<Vec<Metric>, Refusal> {
    require(
        documents.len() <= MOST_METRICS,
        "experiment.metrics",
        "at most eight metrics",
    )?;
    let metrics: Result<Vec<Metric>, _> = documents.into_iter().map(metric).collect();
    let metrics = metrics?;
    for (place, one) in metrics.iter().enumerate() {
        if metrics
            .iter()
            .skip(place + 1)
            .any(|other| other.name == one.name)
        {
            let what = format!("metric {}", one.name);
            return Err(Refusal::Twice { what });
        }
    }
    Ok(metrics)
}

pub(crate) fn metric(document: MetricDocument) -> Result<Metric, Refusal> {
    let member = |member: &str| format!("experiment.metrics[{}].{member}", document.name);
    let name = name(&document.name, member("name"))?;
    let one = "exactly one of signal, event and preferences";
    let source = match (&document.signal, &document.event, document.preferences) {
        (Some(word), None, false) => {
            Source::Signal(signal(word, document.slower_than_ms, &member)?)
        }
        (None, Some(event), false) => Source::Event(value(
            Event::parse(event),
            member("event"),
            "1 to 63 printed characters without a space",
        )?),
        (None, None, true) => Source::Preferences,
        (_, _, _) => return Err(not_one(member("signal"), one)),
    };
    let is_slow = matches!(source, Source::Signal(Signal::SlowerThan(_)));
    require(
        document.slower_than_ms.is_none() || is_slow,
        member("slowerThanMs"),
        "a threshold with the signal Latency alone",
    )?;
    let takes_clip = matches!(
        source,
        Source::Signal(Signal::Score | Signal::Latency) | Source::Event(_)
    );
    require(
        document.clip.is_none() || takes_clip,
        member("clip"),
        "bounds with values alone: what is counted is 0 or 1",
    )?;
    let clip = document.clip.as_ref();
    Ok(Metric {
        name,
        source,
        clip: clip.map(|clip| self::clip(clip, &member)).transpose()?,
    })
}

fn not_one(member: String, want: &'static str) -> Refusal {
    Refusal::Value { member, want }
}

fn signal(
    word: &str,
    slower_than_ms: Option<u64>,
    member: &dyn Fn(&str) -> String,
) -> Result<Signal, Refusal> {
    match (word, slower_than_ms) {
        ("Score", _) => Ok(Signal::Score),
        ("Errors", _) => Ok(Signal::Errors),
        ("Latency", None) => Ok(Signal::Latency),
        ("Latency", Some(millis)) => {
            let millis = u32::try_from(millis).ok();
            let millis = millis.filter(|millis| (1..=600_000).contains(millis));
            let want = "milliseconds, 1 to 600000";
            Ok(Signal::SlowerThan(value(
                millis,
                member("slowerThanMs"),
                want,
            )?))
        }
        (_, _) => Err(not_one(member("signal"), "Score, Latency or Errors")),
    }
}

fn clip(document: &ClipDocument, member: &dyn Fn(&str) -> String) -> Result<Clip, Refusal> {
    let bounds = Decimal::parse(&document.min).zip(Decimal::parse(&document.max));
    let clip = bounds.and_then(|(min, max)| Clip::new(min, max));
    value(clip, member("clip"), "two decimal numbers, min below max")
}
