//! The Jobs that score golden sets: how far one is, which is to be made, and which is to go.
//!
//! Invariants: what a Job has found is in the records before the Job goes; one that has failed is tried again
//! by itself, because what was wrong (the file, a server that was away) is mended elsewhere.

use std::time::Duration;

use crds::labels;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{Progress, Scoring, Work};
use crate::identity::RevisionHash;
use crate::objects::golden_job;
use crate::observed::{Children, label};
use crate::reading::resolution::{condition, is_spent, pods_of};
use crate::reading::{Reading, pods};
use crate::records::golden::{self, Beside, GoldenReport, GoldenResult};
use crate::records::{container, last_end};
use crate::state::State;

/// How long after its failure a Job is tried again at the soonest.
const SOONEST: Duration = Duration::from_mins(1);
/// The same at the latest: the longer a rollout waits already, the less often it is.
const LATEST: Duration = Duration::from_mins(10);

/// Whether a Job scores a golden set.
pub(crate) fn is_one(job: &Job) -> bool {
    label(&job.metadata, labels::COMPONENT) == Some(labels::component::GOLDEN)
}

/// What the last of a Job's pods has said at its end.
pub(super) fn report(job: &Job, children: &Children) -> Option<Result<GoldenReport, String>> {
    let said: Vec<Result<GoldenReport, String>> = pods_of(job, &children.pods)
        .filter_map(|pod| {
            let (end, _) = last_end(pod)?;
            if end.reason.as_deref() == Some("OOMKilled") {
                let why = "the pod that holds it needed more than its 2 GiB of memory: make the set smaller";
                return Some(Err(why.to_owned()));
            }
            let message = end.message.as_deref().unwrap_or_default();
            Some(golden::report(message, end.exit_code))
        })
        .collect();
    let sound = said.iter().position(Result::is_ok);
    said.into_iter().nth(sound.unwrap_or(0))
}

/// How far a Job is that has found nothing which counts.
pub(super) fn progress(job: &Job, children: &Children, work: &Work) -> Progress {
    let name = job.name_any();
    let said = report(job, children);
    if let Some(message) = condition(job, "Failed") {
        return Progress::Failed(match said {
            Some(Err(why)) => why,
            Some(Ok(_)) | None => format!("Job {name} failed: {message}"),
        });
    }
    if is_spent(job, &children.pods) {
        return Progress::Begins;
    }
    if condition(job, "Complete").is_some() {
        return match said {
            Some(Err(why)) => Progress::Failed(why),
            // The file has changed between the operator's look and the pod's.
            Some(Ok(report)) => Progress::Failed(format!(
                "it changed while it was scored, from {} to {}: it is scored anew",
                work.set, report.own.set
            )),
            None => Progress::Runs(name),
        };
    }
    let troubled = pods_of(job, &children.pods).find_map(trouble);
    troubled.map_or(Progress::Runs(name), Progress::Troubled)
}

/// Why a pod does not come to work.
fn trouble(pod: &Pod) -> Option<String> {
    if let Some((message, _)) = pods::unplaced(pod) {
        return Some(format!("its pod cannot be placed: {message}"));
    }
    let waiting = container(pod)?.state.as_ref()?.waiting.as_ref()?;
    // So does every pod at its start.
    let usual = matches!(
        waiting.reason.as_deref(),
        None | Some("ContainerCreating" | "PodInitializing")
    );
    pods::waiting(pod).filter(|_| !usual)
}

/// Adds what the Jobs that are there have found of `revision`.
pub(super) fn add(results: &mut Vec<GoldenResult>, revision: &RevisionHash, children: &Children) {
    for job in children.jobs.iter().filter(|job| is_one(job)) {
        let (Some(work), Some(Ok(report))) = (Work::of(job), report(job, children)) else {
            continue;
        };
        if &work.canary == revision {
            let mut own = report.own.clone();
            own.beside = match (&work.stable, &report.against) {
                (Some(stable), Some((_, rank_correlation))) => Some(Beside {
                    revision: stable.to_string(),
                    rank_correlation: *rank_correlation,
                }),
                (None, _) | (_, None) => None,
            };
            golden::keep(results, own);
        }
        if let (Some(stable), Some((other, _))) = (&work.stable, report.against)
            && stable == revision
        {
            golden::keep(results, other);
        }
    }
}

/// All that is known of `revision` now, for its record.
pub(crate) fn learned(
    kept: &[GoldenResult],
    revision: &RevisionHash,
    children: &Children,
) -> Vec<GoldenResult> {
    let mut all = kept.to_vec();
    add(&mut all, revision, children);
    all
}

/// The Job that is to be made now.
pub(crate) fn make(reading: &Reading<'_>, state: &State) -> Option<Job> {
    let scoring = Scoring::of(reading.observed, state)?;
    let work = scoring.work()?;
    let ready = reading.side(Some(&work.canary), false).pods.ready > 0;
    let found = scoring.found(&work).is_some();
    if !ready || found || scoring.job(&work).is_some() {
        return None;
    }
    let model = &reading.observed.model;
    let known = scoring.known(&work);
    let settings = &reading.observed.settings;
    let job = golden_job::build(model, scoring.set, &work, known.as_ref(), settings);
    let mut there = reading.observed.children.jobs.iter();
    // One that is on its way out has the name still.
    let taken = there.any(|other| other.name_any() == job.name_any());
    (!taken).then_some(job)
}

/// The Jobs that are to go, by name.
pub(crate) fn spare(reading: &Reading<'_>, state: &State, now: Timestamp) -> Vec<String> {
    let children = &reading.observed.children;
    let scoring = Scoring::of(reading.observed, state);
    let jobs = children.jobs.iter().filter(|job| is_one(job));
    let there = jobs.filter(|job| job.metadata.deletion_timestamp.is_none());
    let spare = there.filter(|job| {
        let Some(work) = Work::of(job) else {
            return true;
        };
        if let Some(scoring) = &scoring {
            return !stays(scoring, &work, job, now);
        }
        // Its last words stay to be read while its revision is the last one that was tried.
        let target = reading.target.revision();
        state.canary().or(target) != Some(&work.canary)
    });
    spare.map(|job| job.name_any()).collect()
}

fn stays(scoring: &Scoring<'_>, work: &Work, job: &Job, now: Timestamp) -> bool {
    let children = &scoring.observed.children;
    if work.canary != scoring.rollout.revision {
        return false;
    }
    let Some(wanted) = scoring.work() else {
        // Nobody knows the set just now.
        return true;
    };
    if scoring.found(&wanted).is_some() {
        return true;
    }
    if *work != wanted {
        return false;
    }
    match progress(job, children, work) {
        Progress::Failed(_) => {
            ended_at(job).is_some_and(|ended| now < again(ended, scoring.rollout.started_at))
        }
        Progress::Begins => !is_spent(job, &children.pods),
        Progress::Runs(_) | Progress::Troubled(_) | Progress::Scored(_) => true,
    }
}

/// When a Job that has `ended` is tried again, in a rollout that has begun at `began`.
fn again(ended: Timestamp, began: Timestamp) -> Timestamp {
    let waited = ended.duration_since(began).max(SignedDuration::ZERO);
    let pause = (waited.unsigned_abs() / 4).clamp(SOONEST, LATEST);
    ended.checked_add(pause).unwrap_or(ended)
}

fn ended_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = conditions.iter().filter(|condition| {
        condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed")
    });
    let times = ended.filter_map(|condition| condition.last_transition_time.as_ref());
    times.map(|time| time.0).max()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::Named;
    use super::*;

    fn work() -> Work {
        Work {
            canary: RevisionHash::parse("00000000aa").unwrap(),
            stable: None,
            set: Named::Rollout("00000000aa-7".to_owned()),
        }
    }

    fn job(condition: Option<&str>) -> Job {
        let conditions: Vec<Value> = condition
            .into_iter()
            .map(|kind| json!({"type": kind, "status": "True", "message": "BackoffLimitExceeded"}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "m-golden-1", "uid": "u"}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn children(status: Option<Value>) -> Children {
        let pod = status.map(|status| {
            let pod = json!({
                "metadata": {"name": "p", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "m-golden-1", "uid": "u"}]},
                "status": status,
            });
            Arc::new(serde_json::from_value(pod).unwrap())
        });
        Children {
            pods: pod.into_iter().collect(),
            ..Children::default()
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "there may be no pod")]
    fn state(state: Value) -> Option<Value> {
        Some(json!({"containerStatuses": [
            {"name": "golden", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state},
        ]}))
    }

    #[rstest]
    #[case::no_pod(None, None, "Runs")]
    #[case::starts(None, state(json!({"waiting": {"reason": "ContainerCreating"}})), "Runs")]
    #[case::no_image(None, state(json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}})), "ErrImagePull: not found")]
    #[case::no_room(None, Some(json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]})), "cannot be placed: 0/3 nodes")]
    #[case::no_memory(Some("Failed"), state(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})), "make the set smaller")]
    #[case::too_slow(Some("Failed"), None, "failed: BackoffLimitExceeded")]
    #[case::another_image(Some("Failed"), state(json!({"terminated": {"exitCode": 2, "message": "error: unexpected argument '--output'"}})), "unexpected argument")]
    #[case::no_words(Some("Complete"), state(json!({"terminated": {"exitCode": 0}})), "of this version")]
    #[case::spent(Some("Complete"), None, "Begins")]
    fn whatever_becomes_of_a_job_is_told_and_none_of_it_is_a_result(
        #[case] condition: Option<&str>,
        #[case] status: Option<Value>,
        #[case] expected: &str,
    ) {
        let found = progress(&job(condition), &children(status), &work());
        let told = format!("{found:?}");
        assert!(told.contains(expected), "{told}");
        assert!(!matches!(found, Progress::Scored(_)));
    }

    #[test]
    fn a_job_is_tried_again_within_minutes_and_less_often_the_longer_it_fails() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(again(at(10), at(0)), at(70));
        assert_eq!(again(at(1_200), at(0)), at(1_500));
        assert_eq!(again(at(86_400), at(0)), at(87_000));
        assert_eq!(again(at(0), at(500)), at(60), "a clock that went back");
    }
}
