//! What a scoring server answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bytes::{Reader, Torn, Writer};

const MAGIC: [u8; 4] = *b"BAN1";
/// What stands for no index.
const NONE: u32 = u32::MAX;

/// Scores, and by whom they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<'a> {
    /// A [`By`] as JSON: the same bytes from the same model, so that whoever asks often reads them once.
    pub by: &'a [u8],
    /// How many scores were remembered.
    pub hits: usize,
    /// Whether all were.
    pub cached: bool,
    /// Time of turning texts into tokens.
    pub tokenise: Duration,
    /// Time of waiting.
    pub queue: Duration,
    /// Time of the forward passes.
    pub inference: Duration,
    /// The scores, in the order of the inputs.
    pub items: Vec<Item>,
}

/// The score of one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The logits of all labels, which may not be numbers.
    pub logits: Vec<f32>,
    /// Tokens that were scored.
    pub tokens: usize,
    /// Whether the input was cut.
    pub truncated: bool,
}

/// By whom scores are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct By {
    /// The revision that the server was told that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The version's name.
    pub version: String,
    /// The digest of the model's files.
    pub digest: String,
    /// `encoder` or `decoder`.
    pub backbone: String,
    /// The labels, in the order of the logits.
    pub labels: Vec<String>,
    /// `identity`, `sigmoid`, `softmax` or `tanh`.
    pub activation: String,
    /// Which of the logits is the score; a server that does not say so means the first.
    #[serde(default)]
    pub label: usize,
    /// What is done to logits on the native routes: `identity` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
    /// Scale and shift of the confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<(f64, f64)>,
}

/// Why there are no scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// An input cannot be scored.
    Input {
        /// Which one.
        index: usize,
        /// What to do.
        message: String,
        /// Whether it has too many tokens.
        too_long: bool,
    },
    /// There is no room.
    Overloaded,
    /// The deadline passed after admission.
    Late,
    /// The engine failed.
    Engine {
        /// At which input, where that is known.
        index: Option<usize>,
    },
    /// No model is loaded.
    NotReady,
}

/// The bytes of an answer.
pub fn write_answer(answer: &Answer<'_>) -> Vec<u8> {
    let labels = answer.items.first().map_or(0, |item| item.logits.len());
    let mut out = Writer::new(
        MAGIC,
        answer.by.len() + 64 + answer.items.len() * (5 + 4 * labels),
    );
    out.u8(0);
    out.block(answer.by);
    out.count(answer.hits);
    out.u8(u8::from(answer.cached));
    for time in [answer.tokenise, answer.queue, answer.inference] {
        out.u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
    out.u16(u16::try_from(labels).unwrap_or(u16::MAX));
    out.count(answer.items.len());
    for item in &answer.items {
        out.count(item.tokens);
        out.u8(u8::from(item.truncated));
        for logit in item.logits.iter().take(labels) {
            out.u32(logit.to_bits());
        }
    }
    out.0
}

/// The bytes of the reason for none.
pub fn write_unanswered(why: &Unanswered) -> Vec<u8> {
    let mut out = Writer::new(MAGIC, 64);
    let place = |index: usize| u32::try_from(index).unwrap_or(NONE);
    match why {
        Unanswered::Input {
            index,
            message,
            too_long,
        } => {
            out.u8(1);
            out.u32(place(*index));
            out.u8(u8::from(*too_long));
            out.block(message.as_bytes());
        }
        Unanswered::Overloaded => out.u8(2),
        Unanswered::Late => out.u8(3),
        Unanswered::Engine { index } => {
            out.u8(4);
            out.u32(index.map_or(NONE, place));
        }
        Unanswered::NotReady => out.u8(5),
    }
    out.0
}

/// The answer that bytes hold, or the reason that they give for none.
///
/// # Errors
/// Why they hold neither.
pub fn read_answer(bytes: &[u8]) -> Result<Result<Answer<'_>, Unanswered>, Torn> {
    let mut from = Reader::new(bytes, MAGIC)?;
    let read = match from.u8()? {
        0 => Ok(read_scores(&mut from)?),
        1 => Err(Unanswered::Input {
            index: index(from.u32()?).ok_or(Torn::Value("index"))?,
            too_long: from.bool()?,
            message: from.text()?,
        }),
        2 => Err(Unanswered::Overloaded),
        3 => Err(Unanswered::Late),
        4 => Err(Unanswered::Engine {
            index: index(from.u32()?),
        }),
        5 => Err(Unanswered::NotReady),
        6.. => return Err(Torn::Value("kind of answer")),
    };
    from.end()?;
    Ok(read)
}

fn index(number: u32) -> Option<usize> {
    let index = (number != NONE).then_some(number)?;
    usize::try_from(index).ok()
}

fn read_scores<'a>(from: &mut Reader<'a>) -> Result<Answer<'a>, Torn> {
    let by = from.block()?;
    let hits = from.u32()?;
    let cached = from.bool()?;
    let mut time = || from.u64().map(Duration::from_nanos);
    let (tokenise, queue, inference) = (time()?, time()?, time()?);
    let labels = usize::from(from.u16()?);
    let count = from.count(5 + 4 * labels)?;
    let item = |_| {
        Ok(Item {
            tokens: usize::try_from(from.u32()?).map_err(|_| Torn::Value("number of tokens"))?,
            truncated: from.bool()?,
            logits: (0..labels).map(|_| from.f32()).collect::<Result<_, _>>()?,
        })
    };
    let items: Result<Vec<Item>, Torn> = (0..count).map(item).collect();
    Ok(Answer {
        by,
        hits: usize::try_from(hits).map_err(|_| Torn::Value("number of hits"))?,
        cached,
        tokenise,
        queue,
        inference,
        items: items?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(logits: &[f32]) -> Item {
        Item {
            logits: logits.to_vec(),
            tokens: 7,
            truncated: true,
        }
    }

    fn answer() -> Answer<'static> {
        Answer {
            by: br#"{"version":"v"}"#,
            hits: 1,
            cached: false,
            tokenise: Duration::from_nanos(1),
            queue: Duration::from_micros(2),
            inference: Duration::from_secs(3),
            items: vec![
                item(&[0.1, -0.0]),
                item(&[f32::MIN_POSITIVE, f32::INFINITY]),
            ],
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let bytes = write_answer(&answer());
        assert_eq!(read_answer(&bytes), Ok(Ok(answer())));
    }

    #[test]
    fn a_score_that_is_no_number_keeps_its_bits() {
        let odd = f32::from_bits(0x7fc0_1234);
        let bytes = write_answer(&Answer {
            items: vec![item(&[odd])],
            ..answer()
        });
        let read = read_answer(&bytes).unwrap().unwrap();
        assert_eq!(read.items[0].logits[0].to_bits(), odd.to_bits());
    }

    #[test]
    fn every_reason_for_none_is_read_as_it_was_written() {
        let reasons = [
            Unanswered::Input {
                index: 3,
                message: "shorten it".to_owned(),
                too_long: true,
            },
            Unanswered::Overloaded,
            Unanswered::Late,
            Unanswered::Engine { index: Some(2) },
            Unanswered::Engine { index: None },
            Unanswered::NotReady,
        ];
        for reason in reasons {
            let bytes = write_unanswered(&reason);
            assert_eq!(read_answer(&bytes), Ok(Err(reason)));
        }
    }

    #[test]
    fn an_answer_that_was_torn_or_goes_on_is_refused() {
        let whole = write_answer(&answer());
        for end in 0..whole.len() {
            assert!(read_answer(&whole[..end]).is_err(), "{end}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(read_answer(&longer), Err(Torn::Long));
        for place in 4..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] = 0xff;
            let _ = read_answer(&bytes);
        }
    }

    #[test]
    fn huge_lengths_take_no_memory() {
        let mut bytes = write_answer(&answer());
        // The number of items comes after the description, hits, cached, three times and the labels.
        let place = 4 + 1 + 4 + answer().by.len() + 4 + 1 + 24 + 2;
        bytes[place..place + 4].fill(0xff);
        assert_eq!(read_answer(&bytes), Err(Torn::Short));
    }
}
