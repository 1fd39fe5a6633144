//! Whose evidence an epoch's is: what routers are asked for, and what their documents are held against.

use std::collections::BTreeMap;

use crds::v1alpha1::ab_experiment::Mode;
use traffic::Decimal;
use traffic::evidence::experiment::Subject;
use traffic::table::experiment as routers;

use super::super::spec::{Design, Metric, Source};
use super::super::state::Epoch;

/// The subject of each metric that routers count, by its name. A metric that routers could not name has none.
pub fn subjects(design: &Design, epoch: &Epoch) -> BTreeMap<String, Subject> {
    let names = design.variants.iter();
    let names: Option<Vec<_>> = names
        .map(|variant| routers::Name::parse(&variant.name))
        .collect();
    let Some(variants) = names else {
        return BTreeMap::new();
    };
    let of = |metric: &Metric| {
        let subject = Subject {
            uid: design.uid.clone(),
            epoch: epoch.id,
            salt: design.salt.clone(),
            mode: match design.mode {
                Mode::Split => routers::Mode::Split,
                Mode::Paired => routers::Mode::Paired,
            },
            variants: variants.clone(),
            metrics: vec![counted(metric)?],
        };
        Some((metric.name.clone(), subject))
    };
    design.metrics.iter().filter_map(of).collect()
}

fn counted(metric: &Metric) -> Option<routers::Metric> {
    let source = match &metric.source {
        Source::Score => routers::Source::Signal(routers::Signal::Score),
        Source::Latency => routers::Source::Signal(routers::Signal::Latency),
        Source::SlowerThan(millis) => routers::Source::Signal(routers::Signal::SlowerThan(*millis)),
        Source::Errors => routers::Source::Signal(routers::Signal::Errors),
        Source::Event(event) => routers::Source::Event(routers::Event::parse(event)?),
        Source::Preferences => routers::Source::Preferences,
        Source::Prometheus(_) => return None,
    };
    let clip = metric.clip.as_ref().map(|(min, max)| {
        let number = |text: &crds::value::Decimal| Decimal::parse(text.as_str());
        routers::Clip::new(number(min)?, number(max)?)
    });
    Some(routers::Metric {
        name: routers::Name::parse(&metric.name)?,
        source,
        clip: match clip {
            None => None,
            Some(clip) => Some(clip?),
        },
    })
}
