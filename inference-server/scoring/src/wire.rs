//! Requests and answers as they travel between a router and a scoring server.
//!
//! Owns the way from our types to those of the internal route and back. It must not know how bytes are
//! sent. Invariant: what a server answers is what a router gets, bit by bit, whoever asked whom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inference_api::internal::{Answer, By, Item, Unanswered, Until};

use crate::{
    Activation, Backbone, Calibration, Deadline, Description, Score, ScoreError, Scores, Timings,
};

impl Deadline {
    /// What is left of it at `now`, for somebody whose clock is another one.
    pub fn left(self, now: Instant) -> Until {
        match self {
            Self::At(instant) => Until::In(instant.saturating_duration_since(now)),
            Self::OnceAdmitted(time) => Until::OnceAdmitted(time),
        }
    }

    /// The deadline of a request that came at `now` with so much left; never more than `most`.
    pub fn came(left: Until, now: Instant, most: Duration) -> Self {
        match left {
            Until::In(left) => Self::At(now + left.min(most)),
            Until::OnceAdmitted(time) => Self::OnceAdmitted(time.min(most)),
        }
    }
}

/// Who gives scores, for the wire.
pub fn by(description: &Description) -> By {
    By {
        revision: description.revision.clone(),
        version: description.version.clone(),
        digest: description.digest.clone(),
        backbone: match description.backbone {
            Backbone::Encoder => "encoder",
            Backbone::Decoder => "decoder",
        }
        .to_owned(),
        labels: description.labels.clone(),
        activation: description.activation.word().to_owned(),
        label: description.label,
        native: Some(description.native.word().to_owned()),
        calibration: description
            .calibration
            .map(|calibration| (calibration.scale(), calibration.shift())),
    }
}

/// Who has given scores, from the wire; `None` where a word is not known here.
pub fn description(by: By) -> Option<Description> {
    let calibration = by.calibration;
    Some(Description {
        backbone: match by.backbone.as_str() {
            "encoder" => Backbone::Encoder,
            "decoder" => Backbone::Decoder,
            _ => return None,
        },
        activation: Activation::named(&by.activation)?,
        label: by.label,
        native: match &by.native {
            Some(word) => Activation::named(word)?,
            None => Activation::Identity,
        },
        calibration: match calibration {
            Some((scale, shift)) => Some(Calibration::new(scale, shift)?),
            None => None,
        },
        revision: by.revision,
        version: by.version,
        digest: by.digest,
        labels: by.labels,
    })
}

/// Scores for the wire; `by` is the JSON of who gave them.
pub fn answer(scores: Scores, by: &[u8]) -> Answer<'_> {
    let Timings {
        tokenise,
        queue,
        inference,
        cached,
    } = scores.timings;
    let item = |score: Score| Item {
        logits: score.logits,
        tokens: score.tokens,
        truncated: score.truncated,
    };
    Answer {
        by,
        hits: scores.hits,
        cached,
        tokenise,
        queue,
        inference,
        items: scores.scores.into_iter().map(item).collect(),
    }
}

/// Scores from the wire, given by `by`.
pub fn scores(answer: Answer<'_>, by: Arc<Description>) -> Scores {
    let score = |item: Item| Score {
        logits: item.logits,
        tokens: item.tokens,
        truncated: item.truncated,
    };
    Scores {
        scores: answer.items.into_iter().map(score).collect(),
        by,
        hits: answer.hits,
        timings: Timings {
            tokenise: answer.tokenise,
            queue: answer.queue,
            inference: answer.inference,
            cached: answer.cached,
        },
        variant: None,
    }
}

/// Why there are no scores, for the wire.
pub fn unanswered(error: ScoreError) -> Unanswered {
    match error {
        ScoreError::Input {
            index,
            message,
            too_long,
        } => Unanswered::Input {
            index,
            message,
            too_long,
        },
        ScoreError::Overloaded => Unanswered::Overloaded,
        ScoreError::Late => Unanswered::Late,
        ScoreError::Engine { index } => Unanswered::Engine { index },
        // No server has revisions of its own to choose from.
        ScoreError::NotReady | ScoreError::UnknownRevision => Unanswered::NotReady,
    }
}

/// Why there are no scores, from the wire.
pub fn error(why: Unanswered) -> ScoreError {
    match why {
        Unanswered::Input {
            index,
            message,
            too_long,
        } => ScoreError::Input {
            index,
            message,
            too_long,
        },
        Unanswered::Overloaded => ScoreError::Overloaded,
        Unanswered::Late => ScoreError::Late,
        Unanswered::Engine { index } => ScoreError::Engine { index },
        Unanswered::NotReady => ScoreError::NotReady,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(calibration: Option<&str>) -> Description {
        Description {
            revision: Some("7ec27b6c55".to_owned()),
            version: "v".to_owned(),
            digest: "sha256:d".to_owned(),
            backbone: Backbone::Decoder,
            labels: vec!["a".to_owned(), "b".to_owned()],
            activation: Activation::Tanh,
            label: 1,
            native: Activation::Sigmoid,
            calibration: calibration.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn who_gave_scores_is_read_as_it_was_written() {
        for calibration in [None, Some("scale=0.1,shift=-0.30000000000000004")] {
            let description = described(calibration);
            let text = serde_json::to_string(&by(&description)).unwrap();
            let read = serde_json::from_str(&text).unwrap();
            assert_eq!(super::description(read), Some(description));
        }
        let mut unknown = by(&described(None));
        unknown.activation = "relu".to_owned();
        assert_eq!(description(unknown), None);
    }

    #[test]
    fn what_is_left_of_a_deadline_travels_and_no_clock() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let deadline = Deadline::At(now + second);
        assert_eq!(deadline.left(now), Until::In(second));
        assert_eq!(deadline.left(now + 2 * second), Until::In(Duration::ZERO));
        let there = Deadline::came(Until::In(second), now, 10 * second);
        assert_eq!(there, deadline);
        let most = Deadline::came(Until::In(Duration::MAX), now, second);
        assert_eq!(most, deadline);
        let part = Deadline::OnceAdmitted(second);
        assert_eq!(Deadline::came(part.left(now), now, 10 * second), part);
    }
}
