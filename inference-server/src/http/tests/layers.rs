//! Bodies, compression, browsers, rates, request ids and filters.

use std::io::Write;

use serde_json::json;

use super::edge::{Budget, Filter, Limiter, Peer, Proxies};
use super::*;

fn with_edge(edge: Edge) -> Router {
    let mut app = app_of(served(Fake::default(), &["LABEL_0"], None));
    app.edge = Arc::new(edge);
    router(Arc::new(app))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encoded(encoding: &str, body: Vec<u8>) -> Request<Body> {
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
async fn browsers_may_send_all_that_is_read_and_see_all_that_is_answered() {
    let router = with_edge(Edge {
        origins: vec!["https://a.example".parse().unwrap()],
        ..Edge::default()
    });
    for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
        let request = Request::options("/predict")
            .header("origin", "https://a.example")
            .header("access-control-request-method", method)
            .header(
                "access-control-request-headers",
                "content-encoding,x-betterai-revision",
            )
            .body(Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let allowed = |name: &str| {
            let value = response.headers()[name]
                .to_str()
                .unwrap()
                .to_ascii_lowercase();
            value
                .split(',')
                .map(|one| one.trim().to_owned())
                .collect::<Vec<_>>()
        };
        let methods = allowed("access-control-allow-methods");
        assert!(
            methods.contains(&method.to_ascii_lowercase()),
            "{methods:?}"
        );
        let headers = allowed("access-control-allow-headers");
        for name in [
            "authorization",
            "content-encoding",
            "content-type",
            "traceparent",
            "tracestate",
            "x-api-key",
            "x-betterai-revision",
            "x-request-id",
        ] {
            assert!(headers.iter().any(|one| one == name), "{name}: {headers:?}");
        }
    }
    let safe = [
        "access-control-allow-origin",
        "access-control-expose-headers",
        "vary",
        "content-length",
        "content-type",
        "content-security-policy",
        "connection",
    ];
    let from = |mut request: Request<Body>| {
        let origin = "https://a.example".parse().unwrap();
        request.headers_mut().insert("origin", origin);
        request
    };
    for request in [
        post("/predict", r#"{"text":"1"}"#),
        post("/predict", "{"),
        encoded("compress", Vec::new()),
        get("/predict"),
        get("/docs"),
        get("/metrics"),
    ] {
        let response = router.clone().oneshot(from(request)).await.unwrap();
        let exposed = &response.headers()["access-control-expose-headers"];
        let exposed = exposed.to_str().unwrap();
        for name in response.headers().keys() {
            let seen = safe.contains(&name.as_str()) || exposed.split(',').any(|one| one == name);
            assert!(seen, "{name} is not exposed: {exposed}");
        }
    }
}

#[tokio::test]
async fn a_handler_that_is_in_no_table_is_for_nobody() {
    let stray = Router::new().route("/stray", axum::routing::get(async || "secret"));
    let edge = Arc::new(Edge::default());
    let router = super::edge::guarded(stray, &edge);
    let response = router.oneshot(get("/stray")).await.unwrap();
    assert_eq!(response.status(), 404);
    assert_ne!(bytes_of(response).await, b"secret");
}

#[tokio::test]
async fn large_answers_are_compressed_and_small_ones_are_not() {
    let (router, _) = fake();
    let encoding = async |path: &str| {
        let request = Request::get(path)
            .header("accept-encoding", "gzip")
            .body(Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        response.headers().get("content-encoding").cloned()
    };
    assert_eq!(encoding("/openapi.json").await.unwrap(), "gzip");
    assert_eq!(encoding("/docs").await.unwrap(), "gzip");
    assert_eq!(encoding("/health").await, None);
}

#[tokio::test]
async fn browsers_may_ask_from_configured_origins_only() {
    let preflight = |origin: &str| {
        Request::options("/predict")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
            .body(Body::empty())
            .unwrap()
    };
    let allowed = async |router: &Router, origin: &str| {
        let response = router.clone().oneshot(preflight(origin)).await.unwrap();
        response
            .headers()
            .get("access-control-allow-origin")
            .cloned()
    };
    let (none, _) = fake();
    assert_eq!(allowed(&none, "https://a.example").await, None);
    let one = with_edge(Edge {
        origins: vec!["https://a.example".parse().unwrap()],
        ..Edge::default()
    });
    assert_eq!(
        allowed(&one, "https://a.example").await.unwrap(),
        "https://a.example"
    );
    assert_eq!(allowed(&one, "https://b.example").await, None);
    let any = with_edge(Edge {
        origins: vec!["*".parse().unwrap()],
        ..Edge::default()
    });
    assert_eq!(allowed(&any, "https://b.example").await.unwrap(), "*");
}

#[tokio::test]
async fn a_caller_above_its_rate_is_told_when_to_come_back() {
    let router = with_edge(Edge {
        limiter: Some(Limiter::new("2/h".parse().unwrap())),
        proxies: Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]),
        ..Edge::default()
    });
    let from = |address: &str, body: &'static str| {
        let mut request = post("/predict", body);
        let peer = Peer("10.0.0.1:1".parse().unwrap());
        request.extensions_mut().insert(peer);
        let value = address.parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", value);
        request
    };
    let good = r#"{"text":"1"}"#;
    for expected in [200, 200, 429] {
        // What cannot be scored takes nothing of the rate: 422 comes before 429.
        assert_eq!(ask(&router, from("192.0.2.1", "{}")).await.0, 422);
        assert_eq!(ask(&router, from("192.0.2.1", good)).await.0, expected);
    }
    let refused = router
        .clone()
        .oneshot(from("192.0.2.1", good))
        .await
        .unwrap();
    let wait: u32 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=1_801).contains(&wait), "{wait}");
    assert_eq!(ask(&router, from("192.0.2.2", good)).await.0, 200);
    assert_eq!(ask(&router, get("/model/info")).await.0, 200);
}

#[tokio::test]
async fn a_request_keeps_its_id_if_it_is_a_sane_one() {
    let (router, _) = fake();
    let id = async |id: &str| {
        let request = Request::get("/health")
            .header("x-request-id", id)
            .body(Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(id("abc-123").await, "abc-123");
    for bad in ["", "a b", &"x".repeat(129)] {
        assert_ne!(id(bad).await, bad);
    }
}

#[tokio::test]
async fn unwanted_texts_are_refused_or_cleaned_where_that_is_switched_on() {
    let patterns = ["javascript:".to_owned()];
    let edge = |filter| Edge {
        filter,
        ..Edge::default()
    };
    let refusing = with_edge(edge(Filter::new(&patterns, false)));
    let body = json!({"texts": ["1", "JavaScript:1"]});
    let (status, problem) = say(&refusing, "/predict/batch", body).await;
    assert_eq!((status.as_u16(), &problem["index"]), (422, &json!(1)));
    let (status, problem) = say(&refusing, "/predict", json!({"text": "javascript:"})).await;
    assert_eq!((status.as_u16(), &problem["index"]), (422, &Value::Null));
    let cleaning = with_edge(edge(Filter::new(&[], true)));
    let (_, answer) = say(&cleaning, "/predict", json!({"text": "<b>1</b>\u{7}"})).await;
    assert_eq!(answer["reward_score"], 1.0);
}

#[tokio::test]
async fn a_body_that_trickles_in_is_given_up() {
    let mut app = app_of(served(Fake::default(), &["LABEL_0"], None));
    app.settings.timeout = Duration::from_millis(50);
    let router = router(Arc::new(app));
    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(ask(&router, post("/predict", never)).await.0, 408);
}
