//! Compressed answers, browsers, rates, request ids and filters.

use serde_json::json;

use super::bodies::encoded;
use super::edge::{Filter, Limiter, Peer, Proxies};
use super::*;

pub(super) fn with_edge(edge: Edge) -> Router {
    let mut app = app_of(served(Fake::default(), &["LABEL_0"], None));
    app.edge = Arc::new(edge);
    router(Arc::new(app))
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
    let app = Arc::new(app_of(served(
        labelled(&["LABEL_0"], None),
        &["LABEL_0"],
        None,
    )));
    let guard = axum::middleware::from_fn_with_state(app, super::request::render::layer);
    let router = stray.layer(guard);
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
