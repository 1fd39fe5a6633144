//! The reports of several routers, read together.
//!
//! Owns what the operator concludes from them. *Live* routers are those whose pods are Ready, by name:
//! one that does not report is taken to act upon anything. Invariant: a router that is not live never
//! holds anything up, and one that is silent never lets anything through.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use crate::Revision;
use crate::cutoff::{Counters, Subject};
use crate::table::{Generation, SCHEMA_VERSION};

/// How many live routers act upon a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// How many do.
    pub routers: usize,
    /// How many are live.
    pub of: usize,
    /// Those that do not, by pod.
    pub missing: Vec<String>,
}

impl Acknowledged {
    /// Whether all do. Where none is live, nobody has acknowledged anything.
    pub fn by_all(&self) -> bool {
        self.of > 0 && self.missing.is_empty()
    }
}

/// Who of `live` acts upon the table `generation` of the model, or on a later one.
pub fn acknowledged(
    reports: &[Report],
    live: &BTreeSet<String>,
    model_uid: &str,
    generation: Generation,
) -> Acknowledged {
    let has = |pod: &String| {
        of_pod(reports, pod).is_some_and(|report| acts_upon(report, model_uid, generation))
    };
    let missing: Vec<String> = live.iter().filter(|pod| !has(pod)).cloned().collect();
    Acknowledged {
        routers: live.len() - missing.len(),
        of: live.len(),
        missing,
    }
}

fn acts_upon(report: &Report, model_uid: &str, generation: Generation) -> bool {
    let table = report.table.as_ref();
    report.synced
        && table
            .is_some_and(|table| table.model_uid == model_uid && table.generation >= generation.0)
}

/// A pod's report: the last one, where it has restarted.
fn of_pod<'a>(reports: &'a [Report], pod: &str) -> Option<&'a Report> {
    reports.iter().rev().find(|report| report.pod == pod)
}

/// Whether no live router sends anything to a revision any more, so that its pods may go: all act upon
/// the table `generation`, and with weight 0.
pub fn is_released(
    reports: &[Report],
    live: &BTreeSet<String>,
    model_uid: &str,
    generation: Generation,
    revision: &Revision,
) -> bool {
    live.iter().all(|pod| {
        of_pod(reports, pod).is_some_and(|report| {
            let mut theirs = report.revisions.iter();
            let sends = theirs.any(|of| of.revision == *revision && of.effective_weight.get() > 0);
            acts_upon(report, model_uid, generation) && !sends
        })
    })
}

/// The highest generation that any router has of the model: the next table is above it.
pub fn highest_generation(reports: &[Report], model_uid: &str) -> Option<Generation> {
    let tables = reports.iter().filter_map(|report| report.table.as_ref());
    let of_model = tables.filter(|table| table.model_uid == model_uid);
    of_model.map(|table| Generation(table.generation)).max()
}

/// The schema version that all live routers read.
pub fn lowest_schema(reports: &[Report], live: &BTreeSet<String>) -> u32 {
    let of_live = reports.iter().filter(|report| live.contains(&report.pod));
    let versions = of_live.map(|report| report.schema_version);
    versions.fold(SCHEMA_VERSION, u32::min)
}

/// The share of each revision in what was answered since `before`, in hundredths of a percent. A router
/// that has started anew since counts from its start. `None` where nothing was answered.
pub fn observed(before: &[Report], now: &[Report]) -> Option<BTreeMap<Revision, u16>> {
    let mut answered: BTreeMap<Revision, u64> = BTreeMap::new();
    for report in now {
        let mut earlier = before.iter();
        let earlier = earlier.find(|old| old.instance == report.instance && old.pod == report.pod);
        for of in &report.revisions {
            let old = earlier
                .and_then(|old| old.revisions.iter().find(|old| old.revision == of.revision));
            let since = of
                .answered
                .saturating_sub(old.map_or(0, |old| old.answered));
            let sum = answered.entry(of.revision.clone()).or_default();
            *sum = sum.saturating_add(since);
        }
    }
    let total: u128 = answered.values().map(|count| u128::from(*count)).sum();
    let share = |count: u64| {
        let rounded = (u128::from(count) * 10_000 + total / 2).checked_div(total)?;
        u16::try_from(rounded).ok()
    };
    answered
        .into_iter()
        .map(|(revision, count)| Some((revision, share(count)?)))
        .collect()
}

/// The sum of what live routers counted of one rollout, to be judged like that of one.
pub fn counted(reports: &[Report], live: &BTreeSet<String>, subject: &Subject) -> Counters {
    let of_live = live.iter().filter_map(|pod| of_pod(reports, pod));
    let counted = of_live.filter_map(|report| report.counted.as_ref());
    counted
        .filter(|counted| counted.subject == *subject)
        .fold(Counters::default(), |sum, counted| {
            sum.merge(counted.counters.clone())
        })
}

#[cfg(test)]
mod tests {
    use super::super::tests::full;
    use super::*;
    use crate::Weight;

    const UID: &str = "6f1c1d3e";

    fn live(pods: &[&str]) -> BTreeSet<String> {
        pods.iter().map(|pod| (*pod).to_owned()).collect()
    }

    fn report(pod: &str, generation: u64, weight: u16) -> Report {
        let mut report = full(pod);
        report.table.as_mut().unwrap().generation = generation;
        report.revisions[0].effective_weight = Weight::new(weight).unwrap();
        report
    }

    fn revision() -> Revision {
        Revision::parse("bbbbbbbbbb").unwrap()
    }

    #[test]
    fn all_live_routers_have_to_acknowledge_and_no_others() {
        let reports = [report("a", 7, 0), report("b", 6, 0), report("gone", 1, 0)];
        let ask = |pods: &[&str], generation| {
            acknowledged(&reports, &live(pods), UID, Generation(generation))
        };
        assert!(ask(&["a"], 7).by_all() && ask(&["a", "b"], 6).by_all());
        let late = ask(&["a", "b", "silent"], 7);
        assert_eq!((late.routers, late.of), (1, 3));
        assert_eq!(late.missing, ["b", "silent"]);
        assert!(!ask(&[], 7).by_all());
    }

    #[test]
    fn a_router_that_is_not_synced_or_has_another_model_acknowledges_nothing() {
        let mut blind = report("a", 7, 0);
        blind.synced = false;
        assert!(!acknowledged(&[blind], &live(&["a"]), UID, Generation(7)).by_all());
        let other = [report("a", 7, 0)];
        assert!(!acknowledged(&other, &live(&["a"]), "another", Generation(1)).by_all());
        assert_eq!(highest_generation(&other, "another"), None);
        assert_eq!(highest_generation(&other, UID), Some(Generation(7)));
    }

    #[test]
    fn no_pod_goes_before_every_live_router_has_weight_nought_for_it() {
        let released = |reports: &[Report]| {
            is_released(reports, &live(&["a", "b"]), UID, Generation(7), &revision())
        };
        assert!(released(&[report("a", 7, 0), report("b", 8, 0)]));
        assert!(!released(&[report("a", 7, 0), report("b", 7, 1)]));
        assert!(!released(&[report("a", 7, 0), report("b", 6, 0)]));
        assert!(!released(&[report("a", 7, 0)]));
        // One that does not have it in its table at all sends nothing there.
        let mut without = report("b", 7, 9);
        without.revisions.clear();
        assert!(released(&[report("a", 7, 0), without]));
    }

    #[test]
    fn shares_are_of_what_was_answered_since() {
        let with = |pod: &str, instance: &str, answered: u64| {
            let mut report = report(pod, 7, 0);
            instance.clone_into(&mut report.instance);
            report.revisions[0].answered = answered;
            let mut stable = report.revisions[0].clone();
            stable.revision = Revision::parse("aaaaaaaaaa").unwrap();
            stable.answered = answered * 3;
            report.revisions.push(stable);
            report
        };
        let before = [with("a", "1", 1_000), with("b", "1", 500)];
        let mut now = [with("a", "1", 1_010), with("b", "2", 30)];
        let shares = observed(&before, &now).unwrap();
        assert_eq!(shares.into_values().collect::<Vec<_>>(), [7_500, 2_500]);
        now[1].revisions[0].answered = 0;
        assert_eq!(observed(&now, &now), None);
    }

    #[test]
    fn counts_of_another_rollout_are_not_added() {
        let reports = [full("a"), full("b"), full("gone")];
        let mut subject = full("a").counted.unwrap().subject;
        let both = live(&["a", "b"]);
        assert_eq!(counted(&reports, &both, &subject).total.canary.errors, 2);
        subject.rollout = Some("4".to_owned());
        assert_eq!(counted(&reports, &both, &subject), Counters::default());
    }

    #[test]
    fn a_table_is_written_so_that_all_live_routers_can_read_it() {
        let mut old = full("b");
        old.schema_version = 0;
        let reports = [full("a"), old];
        assert_eq!(lowest_schema(&reports, &live(&["a"])), 1);
        assert_eq!(lowest_schema(&reports, &live(&["a", "b"])), 0);
        assert_eq!(lowest_schema(&[], &live(&["a"])), 1);
    }
}
