//! How the last rollouts of a RewardModel ended, for people.
//!
//! Owns the table. It must not know where the status came from.

use crds::v1alpha1::reward_model::status::{HistoryEntry, RewardModelStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::text::columns;

/// The newest rollout first.
pub(crate) fn text(status: Option<&RewardModelStatus>) -> String {
    let entries = status
        .into_iter()
        .flat_map(|status| status.history.iter().flatten());
    let mut rows: Vec<Vec<String>> = entries.map(row).collect();
    if rows.is_empty() {
        return "no rollout has ended yet\n".to_owned();
    }
    rows.sort_by(|one, other| other.get(2).cmp(&one.get(2)));
    let head = ["REVISION", "OUTCOME", "FINISHED", "WHY"];
    rows.insert(0, head.map(str::to_owned).to_vec());
    columns(&rows)
}

fn row(entry: &HistoryEntry) -> Vec<String> {
    // Also a word that a newer operator has written.
    let outcome = serde_json::to_value(&entry.outcome).unwrap_or_default();
    let finished = entry.finished_at.as_ref().map(|Time(at)| at.to_string());
    vec![
        entry.revision.clone(),
        outcome.as_str().unwrap_or_default().to_owned(),
        finished.unwrap_or_default(),
        entry.reason.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_rollout_comes_first_and_none_is_said() {
        assert_eq!(text(None), "no rollout has ended yet\n");
        let status = serde_json::json!({"history": [
            {"revision": "a", "outcome": "Promoted", "finishedAt": "2026-01-01T00:00:00Z"},
            {"revision": "b", "outcome": "RolledBack", "finishedAt": "2026-01-02T00:00:00Z", "reason": "CutOff: it harmed"},
        ]});
        let status: RewardModelStatus = serde_json::from_value(status).unwrap();
        let text = text(Some(&status));
        let firsts: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(firsts, ["REVISION", "b", "a"]);
        assert!(text.contains("CutOff: it harmed"), "{text}");
    }
}
