//! The Job that scores the golden set.

use k8s_openapi::jiff::Timestamp;

use super::Objects;
use crate::golden;
use crate::objects::Write;
use crate::observed::Kind;
use crate::reading::Reading;
use crate::rollout::Decision;

/// The Job, once pods of the new revision are ready; those that nobody needs any more go.
pub(super) fn job(
    reading: &Reading<'_>,
    decision: &Decision,
    now: Timestamp,
    objects: &mut Objects,
) {
    // After a move the next plan knows better what is to be scored.
    let may = !decision.moved && !reading.held();
    let wanted = may.then(|| golden::make(reading, &decision.state));
    if let Some(job) = wanted.flatten() {
        objects.want(Kind::Job, &job, Write::Replace);
    }
    for name in golden::spare(reading, &decision.state, now) {
        objects.remove(Kind::Job, name);
    }
}
