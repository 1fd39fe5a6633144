//! The native routes, health and metrics.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_prediction_has_the_shape_of_the_contract() {
    let body = json!({"context": "What is the capital of Japan?", "text": "Tokyo.", "metadata": {"a": [1]}});
    let (status, answer) = ask(&real(), post("/predict", body.to_string())).await;
    assert_eq!(status, 200, "{answer}");
    for field in [
        "reward_score",
        "confidence",
        "processing_time",
        "model_version",
        "probability",
        "truncated",
        "tokens",
    ] {
        assert!(!answer[field].is_null(), "{field}");
    }
    assert!(answer["confidence"].as_f64().unwrap() >= 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_is_the_same_bits_through_json_alone_in_a_batch_and_beside_others() {
    let router = real();
    let texts = [
        "a",
        "Tokyo.",
        "a longer answer, with commas",
        &"word ".repeat(190),
    ];
    let mut alone = Vec::new();
    for text in texts {
        let (_, answer) = ask(&router, post("/predict", json!({"text": text}).to_string())).await;
        alone.push(answer["reward_score"].clone());
    }
    let requests = (0..32).map(|i| {
        let (router, mut shuffled) = (router.clone(), texts.map(str::to_owned));
        shuffled.rotate_left(i % 4);
        tokio::spawn(async move {
            ask(
                &router,
                post("/predict/batch", json!({"texts": shuffled}).to_string()),
            )
            .await
        })
    });
    for (i, request) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        let (status, answer) = request.await.unwrap();
        assert_eq!(status, 200, "{answer}");
        let mut expected = alone.clone();
        expected.rotate_left(i % 4);
        assert_eq!(answer["reward_scores"], Value::from(expected));
    }
}

#[tokio::test]
async fn each_bad_request_has_its_status_and_says_what_to_do() {
    let router = app(Failing(ScoreError::Engine { index: None }), None).0;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("/predict", "{".into(), 400, "not JSON"),
        ("/predict", String::new(), 400, "not JSON"),
        ("/predict", r#"{"text":"\ud800"}"#.into(), 400, "not JSON"),
        (
            "/predict",
            format!(r#"{{"text":{deep}}}"#),
            422,
            "does not fit",
        ),
        ("/predict", r#"{"text":1}"#.into(), 422, "does not fit"),
        ("/predict", "[]".into(), 422, "text is missing"),
        ("/predict", "null".into(), 422, "does not fit"),
        (
            "/predict",
            r#"{"text":"a","context":"b","text_pair":"c"}"#.into(),
            422,
            "exclude each other",
        ),
        (
            "/predict",
            format!(r#"{{"text":"{}"}}"#, "a".repeat(1_001)),
            422,
            "1001 characters",
        ),
        (
            "/predict",
            format!(r#"{{"text":"{}"}}"#, "a".repeat(30_000)),
            413,
            "20000 bytes",
        ),
        (
            "/predict/batch",
            r#"{"texts":[]}"#.into(),
            422,
            "at least one",
        ),
        (
            "/predict/batch",
            r#"{"texts":["a","a","a","a","a"]}"#.into(),
            422,
            "5 items",
        ),
        (
            "/predict/batch",
            r#"{"texts":["a"],"contexts":["a","b"]}"#.into(),
            422,
            "one context",
        ),
        (
            "/predict/batch",
            r#"{"texts":"a"}"#.into(),
            422,
            "does not fit",
        ),
        ("/nothing", "{}".into(), 404, "no route"),
    ];
    for (path, body, status, expected) in cases {
        let (got, problem) = ask(&router, post(path, body.clone())).await;
        let head: String = body.chars().take(60).collect();
        assert_eq!(got.as_u16(), status, "{path} {head}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(expected),
            "{path} {head}: {problem}"
        );
        assert_eq!(problem["status"], status);
    }
}

#[tokio::test]
async fn a_wrong_method_or_content_type_is_refused() {
    let router = app(Failing(ScoreError::Engine { index: None }), None).0;
    let response = router.clone().oneshot(get("/predict")).await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
    let text = Request::post("/predict")
        .header("content-type", "text/plain")
        .body("{}".into())
        .unwrap();
    assert_eq!(ask(&router, text).await.0, 415);
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_off_at_the_limit() {
    let router = app(Failing(ScoreError::Engine { index: None }), None).0;
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
    let body = Body::from_stream(tokio_stream(chunks));
    assert_eq!(ask(&router, post("/predict", body)).await.0, 413);
}

fn tokio_stream<I: Iterator<Item = T> + Send, T: Send>(
    items: I,
) -> impl futures::Stream<Item = T> + Send {
    futures::stream::iter(items.collect::<Vec<_>>())
}

#[tokio::test]
async fn a_scoring_error_has_its_status() {
    for (error, status, retry) in [
        (ScoreError::Overloaded, 429, true),
        (ScoreError::Late, 504, true),
        (ScoreError::NotReady, 503, true),
        (ScoreError::Engine { index: None }, 500, false),
    ] {
        let router = app(Failing(error), None).0;
        let response = router
            .oneshot(post("/predict", r#"{"text":"a"}"#))
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers().contains_key("retry-after"), retry);
    }
}

#[tokio::test]
async fn where_too_many_wait_a_request_is_told_so_before_its_json_is_read() {
    let router = app(Failing(ScoreError::Overloaded), None).0;
    for path in ["/predict", "/predict/batch", "/evaluate", "/get_reward"] {
        let response = router.clone().oneshot(post(path, "{")).await.unwrap();
        assert_eq!(response.status(), 429, "{path}");
        assert_eq!(response.headers()["retry-after"], "1");
        let large = post(path, "x".repeat(20_001));
        assert_eq!(ask(&router, large).await.0, 413, "{path}");
    }
    let open = app(Failing(ScoreError::Engine { index: None }), None).0;
    assert_eq!(ask(&open, post("/predict", "{")).await.0, 400);
    assert_eq!(ask(&router, get("/model/info")).await.0, 200);
}

#[tokio::test]
async fn a_bad_item_is_named_by_its_index_in_a_batch_only() {
    let error = ScoreError::Input {
        index: 2,
        message: "no".to_owned(),
        too_long: false,
    };
    let router = app(Failing(error), None).0;
    let (_, problem) = ask(
        &router,
        post("/predict/batch", r#"{"texts":["a","b","c"]}"#),
    )
    .await;
    assert_eq!(problem["index"], 2);
    let (_, problem) = ask(&router, post("/predict", r#"{"text":"a"}"#)).await;
    assert!(problem["index"].is_null());
}

#[tokio::test]
async fn a_server_that_leaves_is_alive_not_ready_and_asks_connections_to_close() {
    let (router, lifecycle) = app(Failing(ScoreError::Engine { index: None }), None);
    assert_eq!(ask(&router, get("/health/ready")).await.0, 200);
    lifecycle.leave();
    assert_eq!(ask(&router, get("/health/ready")).await.0, 503);
    let live = router.clone().oneshot(get("/health/live")).await.unwrap();
    assert_eq!(live.status(), 200);
    assert_eq!(live.headers()["connection"], "close");
}

#[tokio::test]
async fn without_calibration_there_is_no_confidence() {
    let (_, info) = ask(&real(), get("/model/info")).await;
    assert_eq!(info["calibrated"], true);
    assert_eq!(info["calibration"]["scale"], 1.0);
    let (router, _) = app(Failing(ScoreError::Engine { index: None }), None);
    let (_, info) = ask(&router, get("/model/info")).await;
    assert_eq!(info["calibrated"], false);
}

#[tokio::test]
async fn the_metrics_have_the_names_of_the_contract() {
    let router = real();
    ask(&router, post("/predict", r#"{"text":"a"}"#)).await;
    ask(&router, post("/predict", "{")).await;
    let response = router.oneshot(get("/metrics")).await.unwrap();
    let text = String::from_utf8(bytes_of(response).await).unwrap();
    for line in [
        r#"reward_model_requests_total{endpoint="/predict",status="200"} 1"#,
        r#"reward_model_requests_total{endpoint="/predict",status="400"} 1"#,
        "reward_model_request_duration_seconds_count{endpoint=\"/predict\"} 2",
        "reward_model_prediction_duration_seconds_count 1",
        "reward_model_load_time_seconds",
        "reward_model_memory_bytes",
        "reward_score_distribution_count 1",
        "cache_hit_ratio",
        r#"reward_model_version{version="v"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn several_labels_are_named_and_the_chosen_one_is_the_score() {
    let mut both = labelled(&["help", "harm"], None);
    Arc::make_mut(&mut both.by).label = 1;
    let app = app_of(served(both, &["help", "harm"], None));
    let router = router(Arc::new(app));
    let (_, answer) = say(&router, "/predict", json!({"text": "1 -2"})).await;
    assert_eq!(answer["reward_score"], -2.0);
    assert_eq!(answer["scores"], json!({"help": 1.0, "harm": -2.0}));
    let (_, answer) = say(&router, "/predict/batch", json!({"texts": ["1 -2", "3 4"]})).await;
    assert_eq!(answer["reward_scores"], json!([-2.0, 4.0]));
    assert_eq!(answer["scores"][1], json!({"help": 3.0, "harm": 4.0}));
    let (router, _) = fake();
    let (_, answer) = say(&router, "/predict", json!({"text": "1"})).await;
    assert!(answer.get("scores").is_none());
}

#[tokio::test]
async fn texts_are_scored_as_they_are_with_control_characters_and_html() {
    let (router, fake) = fake();
    let text = "<script>\u{0}\u{7}\u{1b}[0m</script>";
    say(&router, "/predict", json!({"text": text})).await;
    assert_eq!(fake.asked()[0].0, [Input::Text(text.to_owned())]);
}

#[tokio::test]
async fn the_models_facts_are_told() {
    let (router, _) = fake();
    let (_, info) = ask(&router, get("/model/info")).await;
    for (field, expected) in [
        ("model_type", json!("BertForSequenceClassification")),
        ("version", json!("v")),
        ("digest", json!("sha256:d")),
        ("trainable_parameters", json!(1)),
        ("label", json!("LABEL_0")),
        ("activation", json!("identity")),
    ] {
        assert_eq!(info[field], expected, "{field}");
    }
    assert_eq!(info["limits"]["max_pairs"], 6);
}

#[tokio::test]
async fn every_metric_of_the_contract_is_there_before_the_first_request() {
    let (router, _) = fake();
    let response = router.oneshot(get("/metrics")).await.unwrap();
    let text = String::from_utf8(bytes_of(response).await).unwrap();
    for line in [
        r#"reward_model_requests_total{endpoint="/predict",status="200"} 0"#,
        r#"reward_model_requests_total{endpoint="/predict",status="500"} 0"#,
        r#"reward_model_requests_total{endpoint="/rerank",status="429"} 0"#,
        r#"reward_model_requests_total{endpoint="other",status="404"} 0"#,
        r#"reward_model_request_duration_seconds_count{endpoint="/predict"} 0"#,
        "reward_model_prediction_duration_seconds_count 0",
        "reward_model_load_time_seconds 0.1",
        "reward_model_memory_bytes ",
        r#"reward_model_version{version="v"} 1"#,
        "reward_score_distribution_count 0",
        "cache_hit_ratio 0.0",
        r#"reward_model_prediction_errors_total{error_type="input"} 0"#,
        r#"reward_model_prediction_errors_total{error_type="overloaded"} 0"#,
        r#"reward_model_prediction_errors_total{error_type="late"} 0"#,
        r#"reward_model_prediction_errors_total{error_type="not_ready"} 0"#,
        r#"reward_model_prediction_errors_total{error_type="engine"} 0"#,
        r#"reward_model_prediction_errors_total{error_type="not_finite"} 0"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn the_timestamp_of_health_is_a_number_of_seconds() {
    let (router, _) = fake();
    let (_, health) = ask(&router, get("/health")).await;
    let now = jiff::Timestamp::now().as_second();
    let said = health["timestamp"].as_f64().unwrap();
    assert!(
        (said - f64::from(i32::try_from(now).unwrap())).abs() < 5.0,
        "{health}"
    );
}

#[tokio::test]
async fn an_answer_says_by_whom_it_was_given_and_not_who_serves() {
    let mut fake = Fake::default();
    let by = Arc::make_mut(&mut fake.by);
    by.version = "elsewhere".to_owned();
    by.calibration = Some("scale=1,shift=0".parse().unwrap());
    let router = router(Arc::new(app_of(served(fake, &["LABEL_0"], None))));
    let response = router.clone().oneshot(post("/predict", r#"{"text":"1"}"#));
    let response = response.await.unwrap();
    assert_eq!(response.headers()["x-model-version"], "elsewhere");
    let answer: Value = serde_json::from_slice(&bytes_of(response).await).unwrap();
    assert_eq!(answer["model_version"], "elsewhere");
    assert!(answer["confidence"].is_number());
    let (_, info) = ask(&router, get("/model/info")).await;
    assert_eq!(info["version"], "v");
}

#[tokio::test]
async fn raw_scores_are_logits_whatever_the_activation() {
    let mut fake = Fake::default();
    Arc::make_mut(&mut fake.by).native = Activation::Sigmoid;
    let app = app_of(served(fake, &["LABEL_0"], None));
    let router = router(Arc::new(app));
    let (_, shown) = say(&router, "/predict/batch", json!({"texts": ["0"]})).await;
    assert_eq!(shown["reward_scores"], json!([0.5]));
    let body = json!({"texts": ["0"], "raw_scores": true});
    let (_, raw) = say(&router, "/predict/batch", body).await;
    assert_eq!(raw["reward_scores"], json!([0.0]));
    let (_, raw) = say(
        &router,
        "/predict",
        json!({"text": "3", "raw_scores": true}),
    )
    .await;
    assert_eq!(raw["reward_score"], 3.0);
}

#[tokio::test]
async fn a_long_list_is_split_by_its_text_and_all_parts_have_one_origin() {
    let (router, fake) = fake();
    let long = format!("1{}", "0".repeat(30));
    let pairs: Vec<_> = (0..6)
        .map(|_| json!({"prompt": "q", "chosen": long, "rejected": "0"}))
        .collect();
    let (status, _) = say(&router, "/evaluate", json!({"pairs": pairs})).await;
    assert_eq!(status, 200);
    let origins = fake.origins.lock().unwrap().clone();
    assert_eq!(origins.len(), 3);
    assert!(origins.iter().all(|origin| origin == &origins[0]));
    assert_eq!(origins[0].key, "q");
    assert!(!origins[0].id.is_empty());
}
