//! Bodies: their types, what they are compressed with, and how much of them is taken.

use std::io::Write;

use serde_json::json;

use super::edge::Budget;
use super::layers::with_edge;
use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn encoded(encoding: &str, body: Vec<u8>) -> Request<Body> {
    Request::post("/predict")
        .header("content-type", "application/json")
        .header("content-encoding", encoding)
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_read() {
    let (router, _) = fake();
    let request = encoded("gzip", gzip(br#"{"text":"1"}"#));
    let (status, answer) = ask(&router, request).await;
    assert_eq!(
        (status.as_u16(), &answer["reward_score"]),
        (200, &json!(1.0))
    );
    let request = encoded("identity", br#"{"text":"1"}"#.to_vec());
    assert_eq!(ask(&router, request).await.0, 200);
}

#[tokio::test]
async fn a_compression_bomb_is_cut_off_at_the_limit() {
    let (router, fake) = fake();
    let bomb = gzip(&vec![b' '; 50_000_000]);
    assert!(bomb.len() < 60_000);
    // The bomb's own size is within the limit when it is nested smaller.
    let small = gzip(&vec![b' '; 10_000_000]);
    assert!(small.len() < 20_000, "{}", small.len());
    for bomb in [bomb, small] {
        let (status, problem) = ask(&router, encoded("gzip", bomb)).await;
        assert_eq!(status, 413);
        assert!(problem["detail"].as_str().unwrap().contains("decompressed"));
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_stream_that_decompresses_to_nothing_ends_at_the_limit() {
    let (router, _) = fake();
    // Empty stored blocks of deflate, for ever.
    let chunk = [0_u8, 0, 0, 0xff, 0xff].repeat(200);
    let chunks = (0..1_000).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].to_vec();
    let stream = futures::stream::iter(std::iter::once(Ok(head)).chain(chunks));
    let request = Request::post("/predict")
        .header("content-encoding", "gzip")
        .body(Body::from_stream(stream))
        .unwrap();
    assert_eq!(ask(&router, request).await.0, 413);
}

#[tokio::test]
async fn what_is_not_compressed_as_it_says_is_refused() {
    let (router, _) = fake();
    let plain = br#"{"text":"1"}"#.to_vec();
    assert_eq!(ask(&router, encoded("gzip", plain.clone())).await.0, 400);
    let mut cut = gzip(&plain);
    cut.truncate(cut.len() / 2);
    assert_eq!(ask(&router, encoded("gzip", cut)).await.0, 400);
    for encoding in ["compress", "x-compress", "", "x"] {
        assert_eq!(
            ask(&router, encoded(encoding, plain.clone())).await.0,
            415,
            "{encoding}"
        );
    }
}

#[tokio::test]
async fn codings_are_undone_in_whatever_case_and_order_and_number() {
    let (router, _) = fake();
    let plain = br#"{"text":"1"}"#;
    let zstd = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
    let members = [gzip(&plain[..4]), gzip(&plain[4..])].concat();
    for (coding, body) in [
        ("GZIP", gzip(plain)),
        ("x-gzip", gzip(plain)),
        ("gzip", members),
        ("gzip, gzip", gzip(&gzip(plain))),
        ("gzip, identity, ZStd", zstd(&gzip(plain))),
    ] {
        let (status, answer) = ask(&router, encoded(coding, body)).await;
        assert_eq!(status, 200, "{coding}: {answer}");
    }
    // What gzip undoes first is undone in the wrong order.
    let wrong = encoded("zstd, gzip", zstd(&gzip(plain)));
    assert_eq!(ask(&router, wrong).await.0, 400);
    let tail = [gzip(plain), b"garbage".to_vec()].concat();
    assert_eq!(ask(&router, encoded("gzip", tail)).await.0, 400);
    let refused = router.clone().oneshot(encoded("compress", plain.to_vec()));
    let refused = refused.await.unwrap();
    assert_eq!(
        refused.headers()["accept-encoding"],
        "gzip, deflate, br, zstd, identity"
    );
}

#[tokio::test]
async fn bodies_that_are_too_many_together_are_told_to_come_again() {
    let router = with_edge(Edge {
        bodies: Budget::new(40_000),
        ..Edge::default()
    });
    let slow = || Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let asked = router.clone().oneshot(post("/predict", slow()));
        let mut asked = Box::pin(asked);
        assert!(futures::future::poll_immediate(&mut asked).await.is_none());
        waiting.push(asked);
    }
    let good = || post("/predict", r#"{"text":"1"}"#);
    let response = router.clone().oneshot(good()).await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    drop(waiting);
    assert_eq!(ask(&router, good()).await.0, 200);
    let large = post(
        "/predict",
        format!(r#"{{"text":"{}"}}"#, " ".repeat(15_000)),
    );
    assert_ne!(ask(&router, large).await.0, 429);
}

#[tokio::test]
async fn the_form_that_curl_sends_is_json_where_texts_are_scored() {
    let (router, _) = fake();
    let form = |path: &str, body: &str| {
        Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body.to_owned()))
            .unwrap()
    };
    for (path, body) in [
        ("/predict", r#"{"text":"1"}"#),
        ("/predict", r#"{"inputs":"1"}"#),
        ("/predict/batch", r#"{"texts":["1"]}"#),
        ("/evaluate", r#"{"pairs":[{"chosen":"1","rejected":"0"}]}"#),
        ("/get_reward", r#"{"query":["1"]}"#),
        ("/classify", r#"{"input":"1"}"#),
        ("/classify", r#"{"text":"1"}"#),
        ("/score", r#"{"text_1":"0","text_2":"1"}"#),
        ("/v1/score", r#"{"text_1":"0","text_2":"1"}"#),
        ("/rerank", r#"{"query":"0","texts":["1"]}"#),
        ("/rerank", r#"{"query":"0","documents":["1"]}"#),
        ("/v1/rerank", r#"{"query":"0","documents":["1"]}"#),
        ("/v2/rerank", r#"{"query":"0","documents":["1"]}"#),
        ("/v1/embeddings", r#"{"input":"1"}"#),
        ("/tokenize", r#"{"inputs":"1"}"#),
    ] {
        let response = router.clone().oneshot(form(path, body)).await.unwrap();
        assert_eq!(response.status(), 200, "{path} {body}");
        let real = router.clone().oneshot(form(path, "text=1&input=1"));
        assert_eq!(real.await.unwrap().status(), 415, "{path}");
    }
    let other = Request::post("/predict").header("content-type", "multipart/form-data");
    let other = other.body(r#"{"text":"1"}"#.into()).unwrap();
    assert_eq!(ask(&router, other).await.0, 415);
    let curl = include_str!("../../../tests/cases/readme-curl-415/body.json");
    let own = real();
    assert_eq!(ask(&own, form("/predict", curl)).await.0, 200);
}

#[tokio::test]
async fn a_body_that_trickles_in_is_given_up() {
    let mut app = app_of(served(Fake::default(), &["LABEL_0"], None));
    app.settings.timeout = Duration::from_millis(50);
    let router = router(Arc::new(app));
    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(ask(&router, post("/predict", never)).await.0, 408);
}

#[tokio::test]
async fn a_body_that_speaks_for_two_dialects_is_refused_with_both_names() {
    let (router, fake) = fake();
    for (path, body, names) in [
        (
            "/predict",
            json!({"inputs": "1", "text": "2"}),
            ["inputs", "text"],
        ),
        (
            "/predict",
            json!({"inputs": "1", "messages": [{"role": "user", "content": "2"}]}),
            ["inputs", "messages"],
        ),
        (
            "/rerank",
            json!({"query": "q", "texts": ["1"], "documents": ["2"]}),
            ["texts", "documents"],
        ),
        (
            "/classify",
            json!({"text": "1", "input": "2"}),
            ["text", "input"],
        ),
    ] {
        let (status, problem) = say(&router, path, body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(status, 422, "{path}: {problem}");
        assert!(names.iter().all(|name| detail.contains(name)), "{detail}");
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_prompt_is_not_held_for_more_answers_than_a_batch_of_long_texts_would_be() {
    let (router, fake) = fake();
    // The limit is 1,000 characters of each of 4 texts: 4,000 in all.
    let (fits, long) = ("q".repeat(1_900), "q".repeat(2_100));
    for (path, body) in [
        (
            "/score",
            |prompt: &str| json!({"text_1": prompt, "text_2": ["1", "2"], "truncate_prompt_tokens": 5}),
        ),
        (
            "/rerank",
            |prompt: &str| json!({"query": prompt, "texts": ["1", "2"], "truncate": true}),
        ),
        (
            "/v2/rerank",
            |prompt: &str| json!({"query": prompt, "documents": ["1", "2"], "max_tokens_per_query": 5}),
        ),
    ] as [(&str, fn(&str) -> Value); 3]
    {
        let (status, answer) = say(&router, path, body(&fits)).await;
        assert_eq!(status, 200, "{path}: {answer}");
        let (status, answer) = say(&router, path, body(&long)).await;
        assert_eq!(status, 422, "{path}: {answer}");
        assert!(
            answer["detail"].as_str().unwrap().contains("4000"),
            "{answer}"
        );
    }
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn members_of_one_body_are_one_and_what_follows_them_is_refused() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/gzip-members");
    for (file, expected) in [("body.gz", 200), ("tail.gz", 400)] {
        let body = std::fs::read(case.join(file)).unwrap();
        let (status, answer) = ask(&real(), encoded("gzip", body)).await;
        assert_eq!(status, expected, "{file}: {answer}");
    }
}
