//! Labelled pairs, over somebody who takes them as told.

use inference_api::Problem;
use inference_api::feedback::{Event, FeedbackResponse, Preference};
use serde_json::json;

use super::*;

/// Takes pairs, or has no room for them.
struct Taking {
    taken: Mutex<Vec<Preference>>,
    has_room: bool,
}

impl Feedback for Taking {
    fn most(&self) -> usize {
        2
    }

    fn prefer(&self, preferences: Vec<Preference>) -> Result<FeedbackResponse, Problem> {
        if !self.has_room {
            return Err(Problem::too_many_requests("try again").retry_after(1));
        }
        let accepted = preferences.len();
        self.taken.lock().unwrap().extend(preferences);
        Ok(FeedbackResponse {
            accepted,
            ..FeedbackResponse::default()
        })
    }

    fn happened(&self, events: Vec<Event>) -> Result<FeedbackResponse, Problem> {
        let unknown_users = events.iter().filter(|of| of.user == "nobody").count();
        Ok(FeedbackResponse {
            accepted: events.len() - unknown_users,
            unknown_users,
            ..FeedbackResponse::default()
        })
    }
}

fn taking(has_room: bool) -> (Router, Arc<Taking>) {
    let taking = Arc::new(Taking {
        taken: Mutex::default(),
        has_room,
    });
    let app = App {
        feedback: Some(taking.clone()),
        ..app_of(served(Fake::default(), &["LABEL_0"], None))
    };
    (router(Arc::new(app)), taking)
}

const PAIR: &str = r#"{"prompt":"p","chosen":"a","rejected":"b","user":"u"}"#;

fn body(pairs: &[&str]) -> String {
    format!(r#"{{"preferences":[{}]}}"#, pairs.join(","))
}

#[tokio::test]
async fn pairs_are_taken_and_nothing_is_scored_meanwhile() {
    let (router, taking) = taking(true);
    let (status, answer) = ask(&router, post("/feedback", body(&[PAIR]))).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer, json!({"accepted": 1, "repeated": 0, "beyond": 0}));
    let taken = taking.taken.lock().unwrap().clone();
    assert_eq!((taken.len(), taken[0].user.as_deref()), (1, Some("u")));
}

#[tokio::test]
async fn what_curl_sends_without_a_header_is_taken_too() {
    let (router, _) = taking(true);
    let form = axum::http::Request::post("/feedback")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body(&[PAIR]).into())
        .unwrap();
    assert_eq!(ask(&router, form).await.0, 202);
}

#[tokio::test]
async fn events_are_taken_alone_or_in_a_list_and_it_is_said_what_was_not() {
    let (router, _) = taking(true);
    let alone = r#"{"user":"u","event":"click","value":1}"#;
    let (status, answer) = ask(&router, post("/feedback", alone.to_owned())).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer, json!({"accepted": 1, "repeated": 0, "beyond": 0}));
    let listed = r#"{"events":[{"user":"nobody","event":"click","value":1,"id":"7"}]}"#;
    let (status, answer) = ask(&router, post("/feedback", listed.to_owned())).await;
    assert_eq!(
        (status.as_u16(), &answer["unknown_users"]),
        (202, &json!(1))
    );
    let (server, _) = fake();
    assert_eq!(
        ask(&server, post("/feedback", alone.to_owned())).await.0,
        404
    );
}

#[tokio::test]
async fn where_there_is_no_room_it_is_said_when_to_try_again() {
    let (router, _) = taking(false);
    let request = post("/feedback", body(&[PAIR]));
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn what_is_no_preference_is_refused_and_named() {
    let (router, taking) = taking(true);
    let same = r#"{"prompt":"p","chosen":"a","rejected":"a"}"#;
    for (body, status, index) in [
        ("{\"preferences\":[NaN]}".to_owned(), 400, json!(null)),
        (r#"{"preferences":["#.to_owned(), 400, json!(null)),
        ("{}".to_owned(), 422, json!(null)),
        (r#"{"user":"u","event":"e"}"#.to_owned(), 422, json!(null)),
        (
            body(&[r#"{"prompt":1,"chosen":"a","rejected":"b"}"#]),
            422,
            json!(null),
        ),
        (body(&[PAIR, same]), 422, json!(1)),
        (body(&[PAIR, PAIR, PAIR]), 422, json!(null)),
    ] {
        let (found, problem) = ask(&router, post("/feedback", body.clone())).await;
        assert_eq!(
            (found.as_u16(), &problem["index"]),
            (status, &index),
            "{body}: {problem}"
        );
    }
    assert!(taking.taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_who_can_score_by_two_revisions_takes_it_and_says_so_in_the_document() {
    let (server, _) = fake();
    assert_eq!(ask(&server, post("/feedback", body(&[PAIR]))).await.0, 404);
    let (router, _) = taking(true);
    assert_eq!(ask(&router, get("/feedback")).await.0, 405);
    let documented = async |router: &Router| {
        let (_, document) = ask(router, get("/openapi.json")).await;
        document["paths"].get("/feedback").is_some()
    };
    assert!(documented(&router).await && !documented(&server).await);
}
