//! What revisions score on golden sets: the document that `evaluate` leaves at its end, and the annotation of
//! a record that keeps it.
//!
//! Invariant: whatever a container wrote, or an annotation holds, becomes results or a sentence; what is kept
//! is read back equal.

use crds::value::Digest;
use serde::{Deserialize, Serialize};

use crate::identity::RevisionHash;

/// Sets of which a revision's results are kept.
const SETS: usize = 4;

/// What one revision scores on one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoldenResult {
    /// SHA-256 of the set.
    pub set: Digest,
    /// Its pairs.
    pub pairs: u64,
    /// Those whose preferred answer scores higher.
    pub right: u64,
    /// Mean score of all answers.
    pub mean_score: f64,
    /// How it orders the answers beside another revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

/// How two revisions order the answers of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    /// The other revision.
    pub revision: String,
    /// Spearman's rank correlation of the scores; null where those of one are all alike.
    pub rank_correlation: Option<f64>,
}

/// What `evaluate` has found.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenReport {
    /// Of the revision that it was about.
    pub own: GoldenResult,
    /// Of the one that it was held against, with the rank correlation of both.
    pub against: Option<(GoldenResult, Option<f64>)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    set: Digest,
    pairs: u64,
    #[serde(flatten)]
    own: Side,
    #[serde(default)]
    against: Option<Against>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    right: u64,
    mean_score: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Against {
    #[serde(flatten)]
    side: Side,
    rank_correlation: Option<f64>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Reads the last words of a container that scored a golden set.
///
/// # Errors
/// What it said instead, or that it said nothing that can be read.
pub fn report(message: &str, exit_code: i32) -> Result<GoldenReport, String> {
    if exit_code == 0 {
        let read = serde_json::from_str(message).ok().and_then(sound);
        return read.ok_or_else(|| {
            "it ended well, but without a result: is server.image an inference-server of this version?"
                .to_owned()
        });
    }
    if let Ok(refusal) = serde_json::from_str::<Refusal>(message) {
        return Err(refusal.message);
    }
    let said = super::report::last_words(message);
    Err(format!("it ended with exit code {exit_code}: {said}"))
}

/// Counts that can be, of a set that has a digest.
fn sound(document: Document) -> Option<GoldenReport> {
    let digits = document.set.as_str().strip_prefix("sha256:")?;
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(())?;
    let result = |side: &Side| {
        let possible = document.pairs > 0 && side.right <= document.pairs;
        (possible && side.mean_score.is_finite()).then(|| GoldenResult {
            set: document.set.clone(),
            pairs: document.pairs,
            right: side.right,
            mean_score: side.mean_score,
            beside: None,
        })
    };
    let against = match &document.against {
        Some(against) => Some((result(&against.side)?, against.rank_correlation)),
        None => None,
    };
    Some(GoldenReport {
        own: result(&document.own)?,
        against,
    })
}

/// The results of an annotation; none where nobody can read it.
pub fn kept(annotation: Option<&str>) -> Vec<GoldenResult> {
    let read = annotation.and_then(|text| serde_json::from_str(text).ok());
    read.unwrap_or_default()
}

/// An annotation that keeps `results`; `None` where there are none.
pub fn annotation(results: &[GoldenResult]) -> Option<String> {
    let text = (!results.is_empty()).then(|| serde_json::to_string(results).ok());
    text.flatten()
}

/// Adds what was found to what is kept, the newest set first. A result stays as it was found, unless the new
/// one tells more of it.
pub fn keep(results: &mut Vec<GoldenResult>, new: GoldenResult) {
    match results.iter_mut().find(|kept| kept.set == new.set) {
        Some(kept) if new.beside.is_some() => *kept = new,
        Some(_) => {}
        None => {
            results.insert(0, new);
            results.truncate(SETS);
        }
    }
}

impl GoldenResult {
    /// How it orders the answers beside `revision`, where both were scored together.
    pub fn beside(&self, revision: &RevisionHash) -> Option<&Beside> {
        let beside = self.beside.as_ref();
        beside.filter(|beside| beside.revision == revision.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    fn result(digit: char, mean_score: f64, beside: Option<Beside>) -> GoldenResult {
        GoldenResult {
            set: set(digit).as_str().into(),
            pairs: 10,
            right: 7,
            mean_score,
            beside,
        }
    }

    #[test]
    fn both_revisions_are_read_and_a_constant_one_has_no_correlation() {
        let text = format!(
            r#"{{"ok":true,"set":"{}","pairs":10,"right":9,"meanScore":0.5,"more":1,"against":{{"right":7,"meanScore":0.25,"rankCorrelation":null}}}}"#,
            set('a')
        );
        let read = report(&text, 0).unwrap();
        assert_eq!((read.own.right, read.own.pairs), (9, 10));
        let (other, correlation) = read.against.unwrap();
        assert_eq!((other.right, correlation), (7, None));
    }

    #[test]
    fn what_a_container_says_instead_is_told() {
        for (text, code, expected) in [
            (
                r#"{"ok":false,"message":"/golden/s, line 7: no"}"#,
                1,
                "line 7",
            ),
            (
                "error: unexpected argument '--output'",
                2,
                "exit code 2: error",
            ),
            ("", 137, "left no message"),
            ("", 0, "of this version"),
            (
                r#"{"ok":true,"set":"sha256:ab","pairs":1,"right":1,"meanScore":0}"#,
                0,
                "of this version",
            ),
        ] {
            let why = report(text, code).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        for part in [
            r#""pairs":0,"right":0,"meanScore":0"#,
            r#""pairs":2,"right":3,"meanScore":0"#,
            r#""pairs":2,"right":1,"meanScore":null"#,
        ] {
            let text = format!(r#"{{"set":"{}",{part}}}"#, set('a'));
            assert!(report(&text, 0).is_err(), "{part}");
        }
    }

    #[test]
    fn a_result_stays_as_it_was_found_and_only_the_newest_sets_are_kept() {
        let mut all = Vec::new();
        for digit in ['a', 'b', 'c', 'd', 'e'] {
            keep(&mut all, result(digit, 0.0, None));
        }
        assert_eq!(all.len(), SETS);
        assert_eq!(all[0].set.as_str(), set('e'));
        keep(&mut all, result('c', 9.0, None));
        assert!(all.iter().all(|kept| kept.mean_score < 1.0));
        let beside = Beside {
            revision: "0000000001".to_owned(),
            rank_correlation: Some(0.5),
        };
        keep(&mut all, result('c', 0.0, Some(beside)));
        let other = RevisionHash::parse("0000000001").unwrap();
        let found = all[2].beside(&other).unwrap();
        assert_eq!(found.rank_correlation, Some(0.5));
        assert_eq!(
            all[2].beside(&RevisionHash::parse("0000000002").unwrap()),
            None
        );
    }

    #[test]
    fn an_annotation_that_nobody_can_read_holds_nothing() {
        assert!(kept(Some("{")).is_empty() && kept(None).is_empty());
        assert_eq!(annotation(&[]), None);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_back_equal(mean in -1e6_f64..1e6, correlation in prop::option::of(-1.0_f64..1.0), compared in any::<bool>()) {
            let beside = compared.then(|| Beside { revision: "0000000001".to_owned(), rank_correlation: correlation });
            let all = vec![result('a', mean, beside), result('b', mean, None)];
            prop_assert_eq!(kept(annotation(&all).as_deref()), all);
        }

        #[test]
        fn no_last_words_are_too_strange(text in ".*", code in 0..3) {
            let _ = report(&text, code);
        }
    }
}
