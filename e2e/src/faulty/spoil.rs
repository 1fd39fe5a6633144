//! Answers of the internal route with other scores in them.

use inference_api::internal::{
    Answer, Item, Unanswered, read_answer, write_answer, write_unanswered,
};

/// The one score that a constant server has for all; no text of the demo has it.
const ONE: f32 = 0.25;

/// The answer with scores that are no numbers.
pub(super) fn no_numbers(body: &[u8]) -> Option<Vec<u8>> {
    with(body, f32::NAN)
}

/// The answer with one score for everything.
pub(super) fn constant(body: &[u8]) -> Option<Vec<u8>> {
    with(body, ONE)
}

/// What a server says that has failed.
pub(super) fn failed() -> Vec<u8> {
    write_unanswered(&Unanswered::Engine { index: None })
}

/// `None` where the server has not answered with scores.
fn with(body: &[u8], score: f32) -> Option<Vec<u8>> {
    let answer = read_answer(body).ok()?.ok()?;
    let spoiled = |item: Item| Item {
        logits: vec![score; item.logits.len()],
        ..item
    };
    let items = answer.items.into_iter().map(spoiled).collect();
    Some(write_answer(&Answer { items, ..answer }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_scores_are_others() {
        let item = |logit| Item {
            logits: vec![logit, 2.0],
            tokens: 7,
            truncated: true,
        };
        let answer = |first, second| Answer {
            by: b"{}",
            hits: 1,
            cached: false,
            tokenise: Duration::from_nanos(1),
            queue: Duration::from_nanos(2),
            inference: Duration::from_nanos(3),
            items: vec![item(first), item(second)],
        };
        let body = write_answer(&answer(1.0, 3.0));
        let constant = constant(&body).unwrap();
        let mut expected = answer(ONE, ONE);
        expected
            .items
            .iter_mut()
            .for_each(|item| item.logits = vec![ONE; 2]);
        assert_eq!(read_answer(&constant), Ok(Ok(expected)));
        let spoiled = no_numbers(&body).unwrap();
        let spoiled = read_answer(&spoiled).unwrap().unwrap();
        assert!(
            spoiled
                .items
                .iter()
                .all(|item| item.logits.iter().all(|logit| logit.is_nan()))
        );
    }

    #[test]
    fn what_is_no_score_stays_as_it_is() {
        assert_eq!(constant(&failed()), None);
        assert_eq!(no_numbers(b"{}"), None);
    }
}
