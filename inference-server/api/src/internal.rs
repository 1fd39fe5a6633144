//! What a router and a scoring server say to each other: one route, in bytes.
//!
//! Owns the format of `POST /internal/score`: a question with its inputs in the one form of all dialects,
//! and an answer with the bits of the logits, so that a score that is no number survives, and by whom it
//! was given. It must not know how either is sent. Invariants: what was written is read again, bit by
//! bit; bytes of strangers are refused without an allocation that they alone decide; both sides know the
//! version by the first four bytes.
//!
//! Numbers are little-endian; a text is its length in 32 bits and its bytes. Binary, because the texts
//! of a batch are most of it, and are copied here instead of being escaped and searched twice.

mod answer;
mod bytes;
mod model;
mod question;

pub use answer::{Answer, By, Item, Unanswered, read_answer, write_answer, write_unanswered};
pub use bytes::Torn;
pub use model::{Forget, Model};
pub use question::{Question, Until, read_question, write_question};

/// The path of the route.
pub const PATH: &str = "/internal/score";
/// The path that says what is served.
pub const MODEL_PATH: &str = "/internal/model";
/// The path that shows how texts are turned into tokens.
pub const TOKENS_PATH: &str = "/internal/tokens";
/// The path that lets a server forget scores.
pub const CACHE_PATH: &str = "/internal/cache";
/// The content type of both bodies.
pub const CONTENT_TYPE: &str = "application/vnd.betterai.scores";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_of_the_fuzz_target_are_messages() {
        let seed = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/internal_route/");
            std::fs::read(format!("{folder}{name}")).unwrap()
        };
        let question = read_question(&seed("question")).unwrap();
        assert_eq!(question.inputs.len(), 4);
        let again = write_question(
            question.until,
            question.bulk,
            question.options,
            &question.inputs,
        );
        assert_eq!(again, seed("question"));
        let bytes = seed("answer");
        let answer = read_answer(&bytes).unwrap().unwrap();
        assert!(answer.items[1].logits[0].is_nan());
        assert_eq!(write_answer(&answer), bytes);
        let bytes = seed("unanswered");
        let why = read_answer(&bytes).unwrap();
        assert!(matches!(why, Err(Unanswered::Input { index: 1, .. })));
    }
}
