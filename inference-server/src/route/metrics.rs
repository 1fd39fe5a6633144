//! The router's own series of `/metrics`.
//!
//! Owns their names, which are contracts. Invariants: a request costs nothing here, because all of it is
//! asked when it is read; labels come from closed sets, and revisions are those of the table alone.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use router::{Figures, Router, TrialFigures, VariantFigures};
use traffic::status::RevisionReport;

/// A router whose figures are read.
#[derive(Debug)]
pub(super) struct Figured(pub(super) Router);

impl Collector for Figured {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let figures = self.0.figures();
        of_router(&mut encoder, &figures)?;
        of_revisions(&mut encoder, &figures.revisions)?;
        of_experiment(&mut encoder, &self.0.experiment_figures())
    }
}

fn of_router(to: &mut DescriptorEncoder, figures: &Figures) -> fmt::Result {
    let generation = figures.generation.unwrap_or_default();
    let name = "reward_router_table_generation";
    gauge(to, name, "The table that holds; 0 for none")?.encode_gauge(&generation)?;
    let name = "reward_router_retries";
    let help = "Requests that were sent to a second endpoint of their revision";
    ConstCounter::new(figures.retries).encode(counter(to, name, help)?)?;
    let name = "reward_router_ejections";
    let help = "Endpoints that were put aside because they failed";
    ConstCounter::new(figures.ejections).encode(counter(to, name, help)?)?;
    for (name, help, label, counts) in [
        (
            "reward_router_table_refusals",
            "Tables that were refused",
            "reason",
            &figures.refusals,
        ),
        (
            "reward_router_cut_offs",
            "Cut-offs that this router decided",
            "cause",
            &figures.cut_offs,
        ),
        (
            "reward_router_fallbacks",
            "Requests that stable was asked for in the canary's place; Slow are hedges",
            "cause",
            &figures.takeovers,
        ),
        (
            "reward_router_shadowed",
            "Requests that the canary was to score too, after their clients had stable's answer",
            "outcome",
            &figures.shadowings,
        ),
    ] {
        let mut family = counter(to, name, help)?;
        for (word, count) in counts {
            let labels = [(label, *word)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn of_revisions(to: &mut DescriptorEncoder, revisions: &[RevisionReport]) -> fmt::Result {
    type Count = fn(&RevisionReport) -> u64;
    let gauges: [(&str, &str, Count); 3] = [
        (
            "reward_router_endpoints",
            "Endpoints of a revision that are known",
            |of| of.endpoints.into(),
        ),
        (
            "reward_router_ready_endpoints",
            "Endpoints of a revision that take requests",
            |of| of.ready.into(),
        ),
        (
            "reward_router_weight",
            "The share of a revision that is acted upon, in hundredths of a percent",
            |of| of.effective_weight.get().into(),
        ),
    ];
    for (name, help, count) in gauges {
        let mut family = gauge(to, name, help)?;
        for of in revisions {
            let labels = [("revision", of.revision.as_str())];
            ConstGauge::new(count(of)).encode(family.encode_family(&labels)?)?;
        }
    }
    let counts: [(&str, &str, Count); 3] = [
        (
            "reward_router_requests",
            "Requests whose key is a revision's",
            |of| of.assigned,
        ),
        (
            "reward_router_answers",
            "Requests that a revision answered",
            |of| of.answered,
        ),
        (
            "reward_router_answered_by_stable",
            "Requests of a revision's keys that stable answered in its place",
            |of| of.fallbacks,
        ),
    ];
    for (name, help, count) in counts {
        let mut family = counter(to, name, help)?;
        for of in revisions {
            let labels = [("revision", of.revision.as_str())];
            ConstCounter::new(count(of)).encode(family.encode_family(&labels)?)?;
        }
    }
    let name = "reward_router_failures";
    let mut family = counter(to, name, "Requests that a revision did not answer")?;
    for of in revisions {
        let failures = of.failures;
        for (cause, count) in [
            ("Failed", failures.failed),
            ("Late", failures.late),
            ("Refused", failures.refused),
            ("Unreachable", failures.unreachable),
            ("NonFinite", failures.non_finite),
            ("Misdelivered", failures.misdelivered),
        ] {
            let labels = [("revision", of.revision.as_str()), ("cause", cause)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn of_experiment(to: &mut DescriptorEncoder, figures: &TrialFigures) -> fmt::Result {
    type Count = fn(&VariantFigures) -> u64;
    let name = "reward_router_experiment_epoch";
    let help = "The epoch of the experiment that is in force; 0 for none";
    gauge(to, name, help)?.encode_gauge(&figures.epoch.unwrap_or_default())?;
    let name = "reward_router_experiment_ready_endpoints";
    let mut family = gauge(to, name, "Endpoints of a variant that take requests")?;
    for (variant, of) in &figures.variants {
        let labels = [("variant", variant.as_str())];
        ConstGauge::new(u64::from(of.ready)).encode(family.encode_family(&labels)?)?;
    }
    let name = "reward_router_experiment_left_alone";
    let help =
        "Whether a variant keeps failing, and stable answers its users; it is tried now and then";
    let mut family = gauge(to, name, help)?;
    for (variant, of) in &figures.variants {
        let labels = [("variant", variant.as_str())];
        ConstGauge::new(u64::from(of.is_left_alone)).encode(family.encode_family(&labels)?)?;
    }
    let counts: [(&str, &str, Count); 5] = [
        (
            "reward_router_experiment_requests",
            "Requests of an arm that were counted",
            |of| of.requests,
        ),
        (
            "reward_router_experiment_errors",
            "Requests of an arm that its variant did not answer",
            |of| of.errors,
        ),
        (
            "reward_router_experiment_answered_by_stable",
            "Requests of an arm that stable answered in its variant's place",
            |of| of.fallbacks,
        ),
        (
            "reward_router_experiment_paired",
            "Requests that a variant scored after the control had",
            |of| of.paired,
        ),
        (
            "reward_router_experiment_missing",
            "Requests that a variant was to score after the control, and did not",
            |of| of.missing,
        ),
    ];
    for (name, help, count) in counts {
        let mut family = counter(to, name, help)?;
        for (variant, of) in &figures.variants {
            let labels = [("variant", variant.as_str())];
            ConstCounter::new(count(of)).encode(family.encode_family(&labels)?)?;
        }
    }
    for (name, help, label, counts) in [
        (
            "reward_router_experiment_outside",
            "Requests that an experiment does not count",
            "reason",
            &figures.outside,
        ),
        (
            "reward_router_feedback_events",
            "Events of users, by what became of them",
            "outcome",
            &figures.events,
        ),
    ] {
        let mut family = counter(to, name, help)?;
        for (word, count) in counts {
            let labels = [(label, *word)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn counter<'a>(
    to: &'a mut DescriptorEncoder,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    to.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauge<'a>(
    to: &'a mut DescriptorEncoder,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    to.encode_descriptor(name, help, None, MetricType::Gauge)
}

#[cfg(test)]
mod tests {
    use router::Identity;
    use serde_json::json;

    use super::*;
    use crate::metrics::Metrics;

    fn table(generation: u64, revisions: &[&str]) -> String {
        let row = |(place, name): (usize, &&str)| {
            let (role, weight) = [("Stable", 10_000), ("Canary", 0)][place];
            json!({"revision": name, "role": role, "weight": weight, "service": name})
        };
        let rows: Vec<_> = revisions.iter().enumerate().map(row).collect();
        json!({
            "schemaVersion": 1, "generation": generation, "salt": "u/1", "revisions": rows,
            "model": {"namespace": "n", "name": "m", "uid": "u"},
        })
        .to_string()
    }

    #[tokio::test]
    async fn every_series_is_there_from_the_start_and_revisions_are_those_of_the_table() {
        let router = Router::new(Identity {
            pod: "a".to_owned(),
            instance: "1".to_owned(),
        });
        let metrics = Metrics::new().and(Box::new(Figured(router.clone())));
        let text = metrics.encode(0);
        for line in [
            "reward_router_table_generation 0",
            "reward_router_retries_total 0",
            "reward_router_ejections_total 0",
            "reward_router_table_refusals_total{reason=\"Stale\"} 0",
            "reward_router_cut_offs_total{cause=\"Constant\"} 0",
            "reward_router_fallbacks_total{cause=\"Slow\"} 0",
            "reward_router_shadowed_total{outcome=\"Full\"} 0",
            "reward_router_experiment_epoch 0",
            "reward_router_experiment_outside_total{reason=\"MissingKey\"} 0",
            "reward_router_feedback_events_total{outcome=\"UnknownUser\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("revision="));
        router.offer(table(7, &["v1", "v2"]).as_bytes()).unwrap();
        router.offer(table(6, &["v1"]).as_bytes()).unwrap_err();
        let text = metrics.encode(0);
        for line in [
            "reward_router_table_generation 7",
            "reward_router_table_refusals_total{reason=\"Stale\"} 1",
            "reward_router_requests_total{revision=\"v1\"} 0",
            "reward_router_failures_total{revision=\"v2\",cause=\"NonFinite\"} 0",
            "reward_router_weight{revision=\"v2\"} 0",
            "reward_router_ready_endpoints{revision=\"v1\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        router.offer(table(8, &["v3"]).as_bytes()).unwrap();
        let text = metrics.encode(0);
        assert!(text.contains("revision=\"v3\"") && !text.contains("revision=\"v2\""));
        assert!(text.ends_with("# EOF\n"));
    }
}
