//! What routers ask: bits as they are, errors as what they are, and whose request it is.

use inference_api::internal::{self, Question, Unanswered, Until, read_answer, write_question};
use inference_scoring::UserKey;

use super::*;

const IN_TIME: Until = Until::In(Duration::from_secs(5));

fn question(texts: &[&str]) -> Vec<u8> {
    let inputs: Vec<Input> = texts
        .iter()
        .map(|text| Input::Text((*text).to_owned()))
        .collect();
    write_question(IN_TIME, false, InputOptions::default(), &inputs)
}

async fn send(router: &Router, body: Vec<u8>) -> (StatusCode, String, Vec<u8>) {
    let request = Request::post(internal::PATH)
        .header("content-type", internal::CONTENT_TYPE)
        .body(Body::from(body))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    (response.status(), kind, bytes_of(response).await)
}

#[tokio::test]
async fn a_score_that_is_no_number_reaches_the_router_and_no_client() {
    let (router, fake) = fake();
    let (status, kind, body) = send(&router, question(&["0.5", "NaN", "-inf"])).await;
    assert_eq!(
        (status.as_u16(), kind.as_str()),
        (200, internal::CONTENT_TYPE)
    );
    let answer = read_answer(&body).unwrap().unwrap();
    let bits: Vec<u32> = answer
        .items
        .iter()
        .map(|item| item.logits[0].to_bits())
        .collect();
    let expected = [0.5, f32::NAN, f32::NEG_INFINITY].map(f32::to_bits);
    assert_eq!(bits, expected);
    assert_eq!(fake.asked().len(), 1);
    let by: internal::By = serde_json::from_slice(answer.by).unwrap();
    assert_eq!(
        (by.version.as_str(), by.backbone.as_str()),
        ("v", "encoder")
    );
}

#[tokio::test]
async fn an_error_reaches_the_router_as_what_it_is() {
    let (router, _) = fake();
    let (status, kind, body) = send(&router, question(&["1", "word"])).await;
    assert_eq!(
        (status.as_u16(), kind.as_str()),
        (422, internal::CONTENT_TYPE)
    );
    let Err(Unanswered::Input { index, message, .. }) = read_answer(&body).unwrap() else {
        panic!("it is an input's fault");
    };
    assert_eq!((index, message.as_str()), (1, "no number"));
    for (error, code) in [
        (ScoreError::Overloaded, 429),
        (ScoreError::NotReady, 503),
        (ScoreError::Late, 504),
        (ScoreError::Engine { index: Some(0) }, 500),
    ] {
        let full = error == ScoreError::Overloaded;
        let (router, _) = app(Failing(error.clone()), None);
        let (status, kind, body) = send(&router, question(&["1"])).await;
        assert_eq!(status.as_u16(), code);
        // One that is full says so before it reads.
        if !full {
            assert_eq!(kind, internal::CONTENT_TYPE);
            let why = read_answer(&body).unwrap().unwrap_err();
            assert_eq!(inference_scoring::wire::error(why), error);
        }
    }
}

#[tokio::test]
async fn what_is_no_question_is_refused_and_limits_hold() {
    let (router, fake) = fake();
    for (body, code) in [
        (b"{}".to_vec(), 400),
        (question(&["1"])[..20].to_vec(), 400),
        (question(&["1", "2", "3", "4", "5"]), 422),
        (question(&["1".repeat(1_001).as_str()]), 422),
        (vec![0; 20_001], 413),
    ] {
        let (status, kind, _) = send(&router, body).await;
        assert_eq!(
            (status.as_u16(), kind.as_str()),
            (code, "application/problem+json")
        );
    }
    assert!(fake.asked().is_empty());
    let other = post("/predict", "{}");
    let (mut parts, body) = other.into_parts();
    parts
        .headers
        .insert("content-type", internal::CONTENT_TYPE.parse().unwrap());
    // On other routes the type is none: a body of theirs is JSON or is refused as such.
    let (status, _) = ask(&router, Request::from_parts(parts, body)).await;
    assert!(status.is_client_error());
}

#[tokio::test]
async fn what_is_left_of_a_deadline_is_kept() {
    let (router, _) = fake();
    let part = Question {
        until: Until::OnceAdmitted(Duration::MAX),
        bulk: true,
        options: InputOptions::default(),
        inputs: vec![Input::Text("1".to_owned())],
    };
    let body = write_question(part.until, part.bulk, part.options, &part.inputs);
    assert_eq!(send(&router, body).await.0.as_u16(), 200);
}

/// A scorer whose table says where the user's key is.
#[derive(Clone)]
struct Keyed(Fake, UserKey);

impl Scorer for Keyed {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        self.0.score(request).await
    }

    fn user_key(&self) -> Option<UserKey> {
        Some(self.1.clone())
    }

    fn is_ready(&self) -> bool {
        false
    }
}

/// The key that a request is known by.
async fn key(of: UserKey, request: Request<Body>) -> (StatusCode, Option<String>) {
    let fake = Fake::default();
    let (router, _) = app(Keyed(fake.clone(), of), None);
    let (status, _) = ask(&router, request).await;
    let origins = fake.origins.lock().unwrap();
    (status, origins.first().map(|origin| origin.key.clone()))
}

#[tokio::test]
async fn a_request_is_known_by_its_user_else_by_its_prompt() {
    let header = || UserKey::Header("x-user".to_owned());
    let plain = || post("/predict", r#"{"context":"prompt","text":"1"}"#);
    let mut named = plain();
    named.headers_mut().insert("x-user", "ann".parse().unwrap());
    let ok = StatusCode::OK;
    assert_eq!(key(header(), named).await, (ok, Some("ann".to_owned())));
    assert_eq!(
        key(header(), plain()).await,
        (ok, Some("prompt".to_owned()))
    );
    let claim = UserKey::JwtClaim("sub".to_owned());
    assert_eq!(key(claim, plain()).await, (ok, Some("prompt".to_owned())));
    let pointer = || UserKey::JsonPointer("/metadata/user".to_owned());
    let in_body = |user: &str| {
        post(
            "/predict",
            format!(r#"{{"context":"prompt","text":"1","metadata":{{"user":{user}}}}}"#),
        )
    };
    assert_eq!(
        key(pointer(), in_body("\"bob\"")).await,
        (ok, Some("bob".to_owned()))
    );
    assert_eq!(
        key(pointer(), in_body("42")).await,
        (ok, Some("42".to_owned()))
    );
    assert_eq!(
        key(pointer(), in_body("null")).await,
        (ok, Some("prompt".to_owned()))
    );
    let (status, asked) = key(pointer(), in_body("\"a\\u0000\"")).await;
    assert_eq!((status.as_u16(), asked), (422, None));
}

#[tokio::test]
async fn what_does_not_know_whom_to_ask_is_not_ready() {
    let of = UserKey::Header("x-user".to_owned());
    let (router, _) = app(Keyed(Fake::default(), of), None);
    let (status, answer) = ask(&router, get("/health/ready")).await;
    assert_eq!(status.as_u16(), 503);
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .contains("whom it may ask")
    );
}

#[tokio::test]
async fn an_answer_says_which_revision_it_is_of() {
    let mut by = description(&["LABEL_0"], None).as_ref().clone();
    by.revision = Some("7ec27b6c55".to_owned());
    let fake = Fake {
        by: Arc::new(by),
        ..Fake::default()
    };
    let (router, _) = app(fake, None);
    let response = router
        .oneshot(post("/predict", r#"{"text":"1"}"#))
        .await
        .unwrap();
    assert_eq!(response.headers()["x-betterai-revision"], "7ec27b6c55");
}

#[tokio::test]
async fn a_revision_that_is_not_served_is_a_conflict() {
    let (router, _) = app(Failing(ScoreError::UnknownRevision), None);
    let (status, _) = say(&router, "/predict", serde_json::json!({"text": "1"})).await;
    assert_eq!(status.as_u16(), 409);
}

#[tokio::test]
async fn the_routers_of_a_server_have_measured_what_they_ask_by_limits_of_their_own() {
    let fake = Fake::default();
    let mut app = app_of(served(fake.clone(), &["LABEL_0"], None));
    app.cache = Arc::new(NoCache {
        behind_routers: true,
    });
    let router = router(Arc::new(app));
    let long = format!("{}1", "0".repeat(25_000));
    for texts in [vec!["1"; 5], vec![long.as_str()]] {
        let (status, ..) = send(&router, question(&texts)).await;
        assert_eq!(status, 200, "{} texts", texts.len());
    }
    assert_eq!(fake.asked().len(), 2);
    // Who asks another route is a client.
    let body = serde_json::json!({"texts": vec!["1"; 5]}).to_string();
    let (status, _) = ask(&router, post("/predict/batch", body)).await;
    assert_eq!(status, 422);
}
