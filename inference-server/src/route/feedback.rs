//! Labelled pairs and events of users for the router.

use inference_api::Problem;
use inference_api::feedback::{Event, FeedbackResponse, Preference};
use router::{Happening, MOST_PREFERENCES, NotTaken, Router};

use crate::http::Feedback;

/// What is said where there are not two revisions: to send feedback is right at any time, so this is no
/// error of the client.
const NO_ROLLOUT: &str = "no rollout is in flight: there are not two revisions to be compared";

/// The same of events.
const NO_EXPERIMENT: &str = "no experiment is in force: there is nobody whose event it could be";
const OVER: &str = "the experiment is over: what comes now is counted apart";

/// Has both revisions of a rollout, or all variants of an experiment, score what is sent.
pub(super) struct ByBoth(pub(super) Router);

impl Feedback for ByBoth {
    fn most(&self) -> usize {
        MOST_PREFERENCES
    }

    fn prefer(&self, preferences: Vec<Preference>) -> Result<FeedbackResponse, Problem> {
        let of = |preference: Preference| router::Preference {
            prompt: preference.prompt,
            chosen: preference.chosen,
            rejected: preference.rejected,
            user: preference.user,
        };
        let taken = self.0.prefer(preferences.into_iter().map(of).collect());
        match taken {
            Ok(taken) => Ok(FeedbackResponse {
                accepted: taken.accepted,
                repeated: taken.repeated,
                beyond: taken.beyond,
                ..FeedbackResponse::default()
            }),
            Err(why) => not_taken(why),
        }
    }

    fn happened(&self, events: Vec<Event>) -> Result<FeedbackResponse, Problem> {
        let of = |event: Event| Happening {
            user: event.user,
            event: event.event,
            value: event.value,
            id: event.id,
        };
        let happenings: Vec<Happening> = events.into_iter().map(of).collect();
        match self.0.happened(&happenings) {
            Ok(told) => Ok(FeedbackResponse {
                accepted: told.accepted,
                repeated: told.repeated,
                unknown_events: told.unknown_events,
                unknown_users: told.unknown_users,
                after: told.after,
                reason: (told.after > 0).then(|| OVER.to_owned()),
                ..FeedbackResponse::default()
            }),
            Err(why) => not_taken(why),
        }
    }
}

fn not_taken(why: NotTaken) -> Result<FeedbackResponse, Problem> {
    let none = |reason: &str| FeedbackResponse {
        reason: Some(reason.to_owned()),
        ..FeedbackResponse::default()
    };
    match why {
        NotTaken::NoRollout => Ok(none(NO_ROLLOUT)),
        NotTaken::NoExperiment => Ok(none(NO_EXPERIMENT)),
        NotTaken::NoRoom => {
            let detail = "as many pairs as there is room for wait to be scored: try again";
            Err(Problem::too_many_requests(detail).retry_after(1))
        }
        NotTaken::TooMany => Err(Problem::too_large(
            "there is never room for so much at once: send several requests",
        )),
        NotTaken::User { index } => {
            let detail = "user contains a zero byte: send an id without one";
            Err(Problem::unprocessable(detail).at(index))
        }
    }
}
