//! `POST /feedback`: which of two answers is better, from those who know; and what happened to users after
//! they had their scores.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::input::Input;
use crate::{Limits, Problem};

/// Body of `POST /feedback`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedbackRequest {
    /// Labelled pairs, to be scored by both revisions of a rollout, or by all variants of an experiment.
    #[serde(default)]
    #[schema(min_items = 1, nullable = false)]
    pub preferences: Option<Vec<Preference>>,
    /// Events of users of an experiment, in the place of one.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 256, nullable = false)]
    pub events: Option<Vec<Event>>,
    /// Of one event: the user key of the user's requests.
    #[serde(default)]
    #[schema(max_length = 1024, nullable = false)]
    pub user: Option<String>,
    /// What happened.
    #[serde(default)]
    #[schema(max_length = 63, nullable = false)]
    pub event: Option<String>,
    /// Its value.
    #[serde(default)]
    #[schema(nullable = false)]
    pub value: Option<f64>,
    /// What tells it from others: of two with one id the first counts.
    #[serde(default)]
    #[schema(max_length = 256, nullable = false)]
    pub id: Option<String>,
}

/// Something that happened to a user after a score.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedbackEvent)]
pub struct Event {
    /// The user key of the user's requests, byte for byte.
    #[schema(max_length = 1024)]
    pub user: String,
    /// What happened: a metric's event.
    #[schema(max_length = 63)]
    pub event: String,
    /// Its value.
    pub value: f64,
    /// What tells it from others: of two with one id the first counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256, nullable = false)]
    pub id: Option<String>,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Feedback {
    /// Labelled pairs.
    Preferences(Vec<Preference>),
    /// What happened to users.
    Events(Vec<Event>),
}

/// An answer that is better than another one, to one prompt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedbackPreference)]
pub struct Preference {
    /// What was asked.
    pub prompt: String,
    /// The better answer.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
    /// Whose judgement or conversation it is: of each user one pair is counted. Without it, of each prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub user: Option<String>,
}

/// Answer of `POST /feedback`: what becomes of the pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct FeedbackResponse {
    /// Pairs that will be scored by both revisions, and counted where their user or prompt was not before.
    pub accepted: usize,
    /// Pairs of users or prompts that were counted before.
    pub repeated: usize,
    /// Pairs of more users or prompts than are kept.
    pub beyond: usize,
    /// Events that no metric of the experiment is of.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unknown_events: usize,
    /// Events of users who are in no arm of the experiment.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unknown_users: usize,
    /// Events that came after the experiment was over.
    #[serde(default, skip_serializing_if = "is_none")]
    pub after: usize,
    /// Why none is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Bytes of a user's id.
const MOST_OF_A_USER: usize = 1_024;
/// Bytes of an event's name.
const MOST_OF_AN_EVENT: usize = 63;
/// Bytes of an event's id.
const MOST_OF_AN_ID: usize = 256;
/// Events that are taken at once.
const MOST_EVENTS: usize = 256;

impl FeedbackRequest {
    /// The pairs, at most `most`, or the events.
    ///
    /// # Errors
    /// 422 when there are none or too many, or one is wrong; it is named.
    pub fn into_feedback(self, limits: &Limits, most: usize) -> Result<Feedback, Problem> {
        let is_one = self.user.is_some()
            || self.event.is_some()
            || self.value.is_some()
            || self.id.is_some();
        match (self.preferences, self.events) {
            (Some(_), None) if is_one => Err(Problem::unprocessable(
                "user, event and value are not members of preferences: put the user into each of the pairs",
            )),
            (Some(preferences), None) => {
                preferences_of(preferences, limits, most).map(Feedback::Preferences)
            }
            (None, Some(events)) if !is_one => events_of(events).map(Feedback::Events),
            (None, None) if is_one => {
                let (Some(user), Some(event), Some(value)) = (self.user, self.event, self.value)
                else {
                    return Err(Problem::unprocessable(
                        "an event has a user, an event and a value: send all three",
                    ));
                };
                let event = Event {
                    user,
                    event,
                    value,
                    id: self.id,
                };
                // There is one, and so it is not named.
                event.check()?;
                Ok(Feedback::Events(vec![event]))
            }
            (None, None) => Err(Problem::unprocessable(
                "send preferences, a list of {prompt, chosen, rejected}, or an event: user, event and value",
            )),
            (Some(_) | None, Some(_)) => Err(Problem::unprocessable(
                "send preferences, events, or one event: each in a request of its own",
            )),
        }
    }
}

fn events_of(events: Vec<Event>) -> Result<Vec<Event>, Problem> {
    if events.is_empty() || events.len() > MOST_EVENTS {
        return Err(Problem::unprocessable(format!(
            "there are {} events, 1 to {MOST_EVENTS} are taken at once: send several requests",
            events.len()
        )));
    }
    for (index, event) in events.iter().enumerate() {
        event.check().map_err(|problem| problem.at(index))?;
    }
    Ok(events)
}

fn preferences_of(
    preferences: Vec<Preference>,
    limits: &Limits,
    most: usize,
) -> Result<Vec<Preference>, Problem> {
    if preferences.is_empty() || preferences.len() > most {
        return Err(Problem::unprocessable(format!(
            "there are {} preferences, 1 to {most} are taken at once: send several requests",
            preferences.len()
        )));
    }
    for (index, preference) in preferences.iter().enumerate() {
        let checked = preference.check(limits);
        checked.map_err(|problem| problem.at(index))?;
    }
    Ok(preferences)
}

impl Event {
    fn check(&self) -> Result<(), Problem> {
        let is_id = |text: &str, most| (1..=most).contains(&text.len()) && !text.contains('\0');
        if !is_id(&self.user, MOST_OF_A_USER) {
            return Err(Problem::unprocessable(
                "user is an id of 1 to 1024 bytes without a zero byte",
            ));
        }
        if !is_id(&self.event, MOST_OF_AN_EVENT) {
            return Err(Problem::unprocessable(
                "event is a name of 1 to 63 bytes: that of a metric's event",
            ));
        }
        if !self.value.is_finite() {
            return Err(Problem::unprocessable("value is a finite number"));
        }
        let id = self.id.as_deref();
        if id.is_some_and(|id| !is_id(id, MOST_OF_AN_ID)) {
            return Err(Problem::unprocessable(
                "id is a text of 1 to 256 bytes without a zero byte, or left out",
            ));
        }
        Ok(())
    }
}

impl Preference {
    /// The two inputs, the better one first.
    pub fn inputs(&self) -> [Input; 2] {
        [&self.chosen, &self.rejected].map(|response| Input::Conversation {
            prompt: self.prompt.clone(),
            response: response.clone(),
        })
    }

    fn check(&self, limits: &Limits) -> Result<(), Problem> {
        limits.check_text("prompt", &self.prompt)?;
        limits.check_text("chosen", &self.chosen)?;
        limits.check_text("rejected", &self.rejected)?;
        if self.chosen == self.rejected {
            return Err(Problem::unprocessable(
                "chosen and rejected are one text: no model can prefer one of them",
            ));
        }
        let user = self.user.as_deref().unwrap_or_default();
        if user.len() > MOST_OF_A_USER || user.contains('\0') {
            return Err(Problem::unprocessable(
                "user is an id of at most 1024 bytes without a zero byte",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferences(body: &str) -> Result<Vec<Preference>, Problem> {
        let request: FeedbackRequest = serde_json::from_str(body).unwrap();
        let limits = Limits {
            max_characters: 20,
            max_batch: 4,
        };
        match request.into_feedback(&limits, 2)? {
            Feedback::Preferences(preferences) => Ok(preferences),
            Feedback::Events(events) => panic!("{events:?}"),
        }
    }

    #[test]
    fn what_is_no_preference_is_refused_with_what_to_send() {
        let pair = r#"{"prompt":"p","chosen":"a","rejected":"b"}"#;
        for (body, text, index) in [
            ("{}".to_owned(), "send preferences", None),
            (r#"{"preferences":[]}"#.to_owned(), "1 to 2", None),
            (
                format!(r#"{{"preferences":[{pair},{pair},{pair}]}}"#),
                "1 to 2",
                None,
            ),
            (
                r#"{"user":"u","event":"click"}"#.to_owned(),
                "send all three",
                None,
            ),
            (
                format!(r#"{{"events":[],"preferences":[{pair}]}}"#),
                "a request of its own",
                None,
            ),
            (r#"{"events":[]}"#.to_owned(), "1 to 256", None),
            (
                r#"{"user":"","event":"click","value":1}"#.to_owned(),
                "user is an id",
                None,
            ),
            (
                r#"{"events":[{"user":"u","event":"e","value":1},{"user":"a\u0000","event":"e","value":1}]}"#.to_owned(),
                "zero byte",
                Some(1),
            ),
            (
                r#"{"user":"u","event":"click","value":1,"id":""}"#.to_owned(),
                "id is a text",
                None,
            ),
            (
                format!(r#"{{"user":"u","preferences":[{pair}]}}"#),
                "into each of the pairs",
                None,
            ),
            (
                format!(
                    r#"{{"preferences":[{pair},{{"prompt":"p","chosen":"a","rejected":"a"}}]}}"#
                ),
                "one text",
                Some(1),
            ),
            (
                r#"{"preferences":[{"prompt":"p","chosen":"a","rejected":"b","user":"a\u0000"}]}"#
                    .to_owned(),
                "zero byte",
                Some(0),
            ),
            (
                format!(
                    r#"{{"preferences":[{{"prompt":"{}","chosen":"a","rejected":"b"}}]}}"#,
                    "x".repeat(21)
                ),
                "prompt",
                Some(0),
            ),
        ] {
            let problem = preferences(&body).unwrap_err();
            assert_eq!((problem.status, problem.index), (422, index), "{body}");
            assert!(problem.detail.contains(text), "{body}: {}", problem.detail);
        }
        assert_eq!(
            preferences(&format!(r#"{{"preferences":[{pair}]}}"#))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn numbers_and_members_that_are_not_known_do_not_fit() {
        for body in [
            r#"{"preferences":[{"prompt":"p","chosen":1,"rejected":"b"}]}"#,
            r#"{"preferences":[{"prompt":"p","chosen":"a"}]}"#,
            r#"{"preferences":[{"chosen":"a","rejected":"b"}]}"#,
            r#"{"preferences":[{"prompt":"p","chosen":"a","rejected":"b","weight":2}]}"#,
            r#"{"preferences":"p"}"#,
            r#"{"preferences":[NaN]}"#,
            r#"{"pairs":[]}"#,
            r#"{"user":"u","event":"e","value":NaN}"#,
            r#"{"user":"u","event":"e","value":1e999}"#,
            r#"{"user":"u","event":"e","value":"1"}"#,
            r#"{"events":[{"user":"u","event":"e"}]}"#,
            r#"{"events":[{"user":"u","event":"e","value":1,"arm":"v2"}]}"#,
        ] {
            assert!(
                serde_json::from_str::<FeedbackRequest>(body).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn an_event_is_one_of_a_list_or_alone() {
        let limits = Limits {
            max_characters: 20,
            max_batch: 4,
        };
        let events = |body: &str| {
            let request: FeedbackRequest = serde_json::from_str(body).unwrap();
            request.into_feedback(&limits, 2).unwrap()
        };
        let event = Event {
            user: "u".to_owned(),
            event: "click".to_owned(),
            value: 1.5,
            id: Some("7".to_owned()),
        };
        let alone = events(r#"{"user":"u","event":"click","value":1.5,"id":"7"}"#);
        assert_eq!(alone, Feedback::Events(vec![event.clone()]));
        let listed = events(r#"{"events":[{"user":"u","event":"click","value":1.5,"id":"7"}]}"#);
        assert_eq!(listed, Feedback::Events(vec![event]));
    }
}
