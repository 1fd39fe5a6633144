//! The gates' tracks as a status stores them.
//!
//! Invariant: `load(store(tracks)) == tracks`, so that a look is never counted twice.

use crds::v1alpha1::reward_model::status::GateStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::gates::{Frozen, Judgement, Track};

/// The tracks of a status.
///
/// # Errors
/// The word that this version does not know.
pub(super) fn load(stored: &[GateStatus]) -> Result<Vec<Track>, String> {
    stored.iter().map(track).collect()
}

fn track(stored: &GateStatus) -> Result<Track, String> {
    // Without a verdict nothing is kept of it.
    let blank = Track::new(&stored.name, Timestamp::UNIX_EPOCH);
    let verdict = match &stored.verdict {
        None => blank.verdict(),
        Some(word) => word.known().ok_or_else(|| {
            format!(
                "status.gates[{}].verdict is {:?}",
                stored.name,
                word.unknown().unwrap_or_default()
            )
        })?,
    };
    let time = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    let count = |count: Option<i64>| u32::try_from(count.unwrap_or(0)).unwrap_or(0);
    Ok(Track {
        started_at: time(&stored.started_at).unwrap_or(blank.started_at),
        looked_at: time(&stored.looked_at),
        judgement: Judgement {
            verdict,
            estimate: stored.estimate.clone(),
            lower: stored.lower.clone(),
            upper: stored.upper.clone(),
            samples: stored.samples,
            message: stored.message.clone().unwrap_or_default(),
        },
        beyond: count(stored.beyond),
        missed: count(stored.missed),
        empty: count(stored.empty),
        frozen: Frozen {
            tau: stored.tau.clone(),
        },
        gate: stored.name.clone(),
    })
}

/// What a status shows of them; nothing where there are none.
pub(super) fn store(tracks: &[Track]) -> Option<Vec<GateStatus>> {
    let some = |count: u32| (count > 0).then_some(i64::from(count));
    let stored = tracks.iter().map(|track| GateStatus {
        name: track.gate.clone(),
        verdict: Some(track.verdict().into()),
        estimate: track.judgement.estimate.clone(),
        lower: track.judgement.lower.clone(),
        upper: track.judgement.upper.clone(),
        samples: track.judgement.samples,
        message: Some(track.judgement.message.clone()).filter(|message| !message.is_empty()),
        started_at: Some(Time(track.started_at)),
        looked_at: track.looked_at.map(Time),
        beyond: some(track.beyond),
        missed: some(track.missed),
        empty: some(track.empty),
        tau: track.frozen.tau.clone(),
    });
    let stored: Vec<GateStatus> = stored.collect();
    (!stored.is_empty()).then_some(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_of_another_version_is_told() {
        let stored = serde_json::json!([{"name": "g", "verdict": "Maybe"}]);
        let stored: Vec<GateStatus> = serde_json::from_value(stored).unwrap();
        let why = load(&stored).unwrap_err();
        assert!(
            why.contains("status.gates[g].verdict is") && why.contains("Maybe"),
            "{why}"
        );
    }

    #[test]
    fn a_gate_of_which_nothing_is_kept_begins() {
        let stored = GateStatus {
            name: "g".to_owned(),
            ..GateStatus::default()
        };
        let tracks = load(&[stored]).unwrap();
        assert_eq!((tracks[0].missed, tracks[0].looked_at), (0, None));
        assert_eq!(store(&[]), None);
    }
}
