//! Golden requests and answers of every dialect.

use serde_json::json;

use super::*;

/// sigmoid(1), sigmoid(-1), sigmoid(2)
const UP: f64 = 0.731_058_578_6;
const DOWN: f64 = 0.268_941_421_4;
const HIGH: f64 = 0.880_797_078;

fn answer(prompt: &str, text: &str) -> Input {
    Input::answer(Some(prompt.to_owned()), text.to_owned())
}

async fn good(router: &Router, path: &str, body: Value) -> Value {
    let (status, answer) = say(router, path, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn two_labels() -> Router {
    router(Arc::new(app_of(served(
        labelled(&["bad", "good"], None),
        &["bad", "good"],
        None,
    ))))
}

#[tokio::test]
async fn tei_predict_is_one_list_or_a_list_of_lists() {
    let (router, fake) = fake();
    let one = good(&router, "/predict", json!({"inputs": "1"})).await;
    assert_eq!(one[0]["label"], "LABEL_0");
    near(&one[0]["score"], UP);
    let raw = good(
        &router,
        "/predict",
        json!({"inputs": ["1"], "raw_scores": true}),
    )
    .await;
    assert_eq!(raw, json!([{"score": 1.0, "label": "LABEL_0"}]));
    let pair = good(&router, "/predict", json!({"inputs": ["q", "-1"]})).await;
    near(&pair[0]["score"], DOWN);
    assert_eq!(fake.asked()[2].0, [Input::Pair("q".into(), "-1".into())]);
    let batch = good(&router, "/predict", json!({"inputs": [["1"], ["q", "-1"]]})).await;
    near(&batch[0][0]["score"], UP);
    near(&batch[1][0]["score"], DOWN);
}

#[tokio::test]
async fn tei_predict_orders_several_labels_after_a_softmax() {
    let answer = good(&two_labels(), "/predict", json!({"inputs": "0 1"})).await;
    assert_eq!(answer[0]["label"], "good");
    near(&answer[0]["score"], UP);
    near(&answer[1]["score"], DOWN);
}

#[tokio::test]
async fn tei_rerank_orders_the_texts() {
    let (router, fake) = fake();
    let body = json!({"query": "q", "texts": ["-1", "2", "1"], "return_text": true});
    let ranks = good(&router, "/rerank", body).await;
    let order: Vec<_> = ranks
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["index"])
        .collect();
    assert_eq!(order, [1, 2, 0]);
    near(&ranks[0]["score"], HIGH);
    assert_eq!(ranks[0]["text"], "2");
    assert_eq!(fake.asked()[0].0[1], answer("q", "2"));
    let body = json!({"query": "q", "texts": ["3"], "raw_scores": true});
    let ranks = good(&router, "/rerank", body).await;
    assert_eq!(ranks, json!([{"index": 0, "score": 3.0}]));
}

#[tokio::test]
async fn cohere_and_vllm_rerank_share_an_answer() {
    let (router, _) = fake();
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
        let body =
            json!({"model": "any", "query": "q", "documents": ["-1", {"text": "2"}], "top_n": 1});
        let answer = good(&router, path, body).await;
        assert_eq!(answer["model"], "v");
        assert_eq!(answer["usage"]["total_tokens"], 6);
        assert!(answer["id"].as_str().unwrap().starts_with("rerank-"));
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), 1);
        assert_eq!(results[0]["index"], 1);
        assert_eq!(results[0]["document"]["text"], "2");
        near(&results[0]["relevance_score"], HIGH);
    }
    let body = json!({"query": "q", "documents": ["5"], "use_activation": false, "return_documents": false});
    let answer = good(&router, "/v1/rerank", body).await;
    assert_eq!(
        answer["results"],
        json!([{"index": 0, "relevance_score": 5.0}])
    );
}

#[tokio::test]
async fn vllm_classify_gives_probabilities_unless_told_otherwise() {
    let (router, fake) = fake();
    let answer = good(
        &router,
        "/classify",
        json!({"model": "m", "input": ["1", "-1"]}),
    )
    .await;
    assert_eq!(answer["object"], "list");
    assert_eq!(answer["data"][1]["index"], 1);
    assert_eq!(answer["data"][1]["num_classes"], 1);
    assert_eq!(answer["data"][1]["label"], "LABEL_0");
    near(&answer["data"][0]["probs"][0], UP);
    // What verl sends.
    let body = json!({"model": "m", "input": "-7", "use_activation": false});
    let answer = good(&router, "/classify", body).await;
    assert_eq!(answer["data"][0]["probs"], json!([-7.0]));
    let body = json!({
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "2"}],
        "add_special_tokens": false, "truncate_prompt_tokens": 5,
    });
    good(&router, "/classify", body).await;
    let (inputs, options) = fake.asked().pop().unwrap();
    assert!(matches!(inputs[0], Input::Messages(_)));
    assert_eq!(options.add_special_tokens, Some(false));
    assert_eq!(options.max_tokens, Some(5));
}

#[tokio::test]
async fn vllm_classify_names_the_most_probable_of_several_labels() {
    let answer = good(&two_labels(), "/classify", json!({"input": "0 1"})).await;
    assert_eq!(answer["data"][0]["label"], "good");
    near(&answer["data"][0]["probs"][1], UP);
}

#[tokio::test]
async fn vllm_score_takes_one_prompt_or_as_many_as_answers() {
    let (router, fake) = fake();
    for path in ["/score", "/v1/score"] {
        let body = json!({"text_1": "q", "text_2": ["1", "-1"]});
        let answer = good(&router, path, body).await;
        assert_eq!(answer["data"][1]["object"], "score");
        near(&answer["data"][1]["score"], DOWN);
    }
    assert_eq!(fake.asked()[0].0[0], answer("q", "1"));
    let body = json!({"text_1": ["p", "q"], "text_2": ["1", "-1"], "activation": false});
    let scored = good(&router, "/score", body).await;
    assert_eq!(scored["data"][0]["score"], 1.0);
    assert_eq!(fake.asked()[2].0[1], answer("q", "-1"));
}

#[tokio::test]
async fn sglang_answers_raw_embeddings_one_or_a_list() {
    let (router, _) = fake();
    let one = good(&router, "/classify", json!({"text": "5"})).await;
    assert_eq!(one["embedding"], json!([5.0]));
    let many = good(&router, "/classify", json!({"text": ["5", "6"]})).await;
    assert_eq!(many[1]["embedding"], json!([6.0]));
    assert_eq!(many[1]["meta_info"]["prompt_tokens"], 3);
    // What verl asks SGLang for.
    let answer = good(
        &router,
        "/v1/embeddings",
        json!({"model": "m", "input": "5"}),
    )
    .await;
    assert_eq!(answer["data"][0]["embedding"], json!([5.0]));
    let body = json!({"input": ["1"], "encoding_format": "base64"});
    let answer = good(&router, "/v1/embeddings", body).await;
    // 1.0 as little-endian f32: 00 00 80 3f.
    assert_eq!(answer["data"][0]["embedding"], "AACAPw==");
}

#[tokio::test]
async fn openrlhf_gets_raw_rewards_for_a_list_of_any_length() {
    let (router, fake) = fake();
    let queries: Vec<String> = (0..11).map(|i| i.to_string()).collect();
    let body = json!({"query": queries, "prompts": queries, "labels": [null]});
    let answer = good(&router, "/get_reward", body).await;
    let expected: Vec<f32> = (0..11_u8).map(f32::from).collect();
    assert_eq!(answer["rewards"], json!(expected));
    assert_eq!(answer["scores"], json!(expected));
    assert_eq!(answer["extra_logs"], json!({}));
    let parts: Vec<_> = fake.asked().iter().map(|(part, _)| part.len()).collect();
    assert_eq!(parts, [4, 4, 3], "split by --max-batch");
    let (status, problem) = say(
        &router,
        "/get_reward",
        json!({"query": ["1", "1", "1", "1", "1", "x"]}),
    )
    .await;
    assert_eq!((status.as_u16(), &problem["index"]), (422, &json!(5)));
}

#[tokio::test]
async fn openrlhf_texts_get_special_tokens_from_encoders_only() {
    for (backbone, expected) in [(Backbone::Encoder, true), (Backbone::Decoder, false)] {
        let fake = Fake::default();
        let mut served = served(fake.clone(), &["LABEL_0"], None);
        Arc::make_mut(&mut served.model.about).backbone = backbone;
        let router = router(Arc::new(app_of(served)));
        good(&router, "/get_reward", json!({"query": "1"})).await;
        assert_eq!(fake.asked()[0].1.add_special_tokens, Some(expected));
    }
}

#[tokio::test]
async fn raw_dialect_scores_override_the_peers_defaults() {
    let mut app = app_of(served(Fake::default(), &["LABEL_0"], None));
    app.settings.dialect_scores = DialectScores::Raw;
    let router = router(Arc::new(app));
    let tei = good(&router, "/predict", json!({"inputs": "4"})).await;
    assert_eq!(tei[0]["score"], 4.0);
    let vllm = good(&router, "/classify", json!({"input": "4"})).await;
    assert_eq!(vllm["data"][0]["probs"], json!([4.0]));
    let body = json!({"query": "q", "documents": ["4"]});
    let cohere = good(&router, "/v2/rerank", body).await;
    assert_eq!(cohere["results"][0]["relevance_score"], 4.0);
}

#[tokio::test]
async fn probes_describe_the_model_as_their_peers_do() {
    let (router, _) = fake();
    let (_, info) = ask(&router, get("/info")).await;
    assert_eq!(info["model_type"]["reranker"]["id2label"]["0"], "LABEL_0");
    assert_eq!(info["model_dtype"], "float32");
    assert_eq!(info["max_client_batch_size"], 4);
    let (_, info) = ask(&two_labels(), get("/info")).await;
    assert_eq!(info["model_type"]["classifier"]["label2id"]["good"], 1);
    let (_, models) = ask(&router, get("/v1/models")).await;
    assert_eq!(models["data"][0]["id"], "v");
    assert_eq!(models["data"][0]["max_model_len"], 256);
    let tokens = good(&router, "/tokenize", json!({"inputs": ["a b", "c"]})).await;
    assert_eq!(tokens[0][1]["text"], "b");
    assert_eq!(tokens[1][0]["id"], 0);
}

#[tokio::test]
async fn an_error_has_the_member_that_the_dialects_clients_look_for() {
    let (router, _) = fake();
    let long = "a".repeat(1_001);
    let cases = [
        ("/predict", json!({"inputs": []}), "/error"),
        ("/rerank", json!({"query": "q", "texts": []}), "/error_type"),
        (
            "/rerank",
            json!({"query": "q", "documents": []}),
            "/error/message",
        ),
        ("/v1/rerank", json!({}), "/error/message"),
        ("/v2/rerank", json!({}), "/message"),
        ("/classify", json!({}), "/error/message"),
        ("/classify", json!({"input": [1]}), "/error/message"),
        ("/classify", json!({"text": [long]}), "/error/message"),
        (
            "/score",
            json!({"text_1": ["a", "b"], "text_2": "c"}),
            "/error/message",
        ),
        ("/v1/embeddings", json!({"input": []}), "/error/message"),
        ("/tokenize", json!({"inputs": []}), "/error"),
    ];
    for (path, body, member) in cases {
        let (status, problem) = say(&router, path, body.clone()).await;
        assert_eq!(status, 422, "{path} {body}: {problem}");
        assert!(
            !problem.pointer(member).unwrap_or(&Value::Null).is_null(),
            "{path} {body}: {problem}"
        );
        assert!(problem["detail"].is_string());
    }
    for path in ["/predict", "/predict/batch", "/evaluate", "/get_reward"] {
        let (status, problem) = say(&router, path, json!({})).await;
        assert_eq!(status, 422);
        assert!(problem.get("error").is_none(), "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_bad_item_of_a_foreign_batch_is_named_and_a_single_one_is_not() {
    let (router, _) = fake();
    for (path, body, index) in [
        ("/predict", json!({"inputs": [["1"], ["x"]]}), json!(1)),
        ("/predict", json!({"inputs": "x"}), Value::Null),
        (
            "/rerank",
            json!({"query": "q", "texts": ["1", "x"]}),
            json!(1),
        ),
        (
            "/rerank",
            json!({"query": "q", "documents": ["1", "x"]}),
            json!(1),
        ),
        ("/classify", json!({"input": ["1", "1", "x"]}), json!(2)),
        ("/classify", json!({"text": "x"}), Value::Null),
        (
            "/score",
            json!({"text_1": "q", "text_2": ["1", "x"]}),
            json!(1),
        ),
        ("/v1/embeddings", json!({"input": ["x"]}), json!(0)),
    ] {
        let (status, problem) = say(&router, path, body.clone()).await;
        assert_eq!(status, 422, "{path} {body}");
        assert_eq!(problem["index"], index, "{path} {body}");
    }
}

#[tokio::test]
async fn a_batch_above_the_limit_is_refused_in_every_dialect_but_openrlhfs() {
    let (router, _) = fake();
    let five = ["1"; 5];
    for (path, body) in [
        (
            "/predict",
            json!({"inputs": [["1"], ["1"], ["1"], ["1"], ["1"]]}),
        ),
        ("/predict/batch", json!({"texts": five})),
        ("/rerank", json!({"query": "q", "texts": five})),
        ("/v2/rerank", json!({"query": "q", "documents": five})),
        ("/classify", json!({"input": five})),
        ("/classify", json!({"text": five})),
        ("/score", json!({"text_1": "q", "text_2": five})),
        ("/v1/embeddings", json!({"input": five})),
        ("/tokenize", json!({"inputs": five})),
    ] {
        let (status, problem) = say(&router, path, body).await;
        assert_eq!(status, 422, "{path}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("5 items, 4 are allowed"),
            "{path}: {detail}"
        );
    }
}

#[tokio::test]
async fn the_real_model_says_the_same_in_every_dialect() {
    let router = real();
    let text = "Tokyo is the capital of Japan.";
    let native = good(&router, "/predict", json!({"text": text})).await["reward_score"].clone();
    let tei = good(
        &router,
        "/predict",
        json!({"inputs": text, "raw_scores": true}),
    )
    .await;
    assert_eq!(tei[0]["score"], native);
    let vllm = good(
        &router,
        "/classify",
        json!({"input": text, "use_activation": false}),
    )
    .await;
    assert_eq!(vllm["data"][0]["probs"][0], native);
    let sglang = good(&router, "/v1/embeddings", json!({"input": text})).await;
    assert_eq!(sglang["data"][0]["embedding"][0], native);
    let openrlhf = good(&router, "/get_reward", json!({"query": [text]})).await;
    assert_eq!(openrlhf["rewards"][0], native);
    let asked = json!({"context": "Which?", "text": text});
    let native = good(&router, "/predict", asked).await["reward_score"].clone();
    let body = json!({"query": "Which?", "texts": [text], "raw_scores": true});
    assert_eq!(good(&router, "/rerank", body).await[0]["score"], native);
    let body = json!({"text_1": "Which?", "text_2": text, "use_activation": false});
    assert_eq!(
        good(&router, "/score", body).await["data"][0]["score"],
        native
    );
}

#[tokio::test]
async fn vllm_and_cohere_ask_the_checkpoint_what_is_shown_and_tei_does_not() {
    let mut fake = Fake::default();
    Arc::make_mut(&mut fake.by).activation = Activation::Identity;
    let router = router(Arc::new(app_of(served(fake, &["LABEL_0"], None))));
    let body = json!({"text_1": "0", "text_2": "1"});
    near(
        &good(&router, "/score", body).await["data"][0]["score"],
        1.0,
    );
    let body = json!({"query": "0", "documents": ["1"]});
    let ranked = good(&router, "/rerank", body).await;
    near(&ranked["results"][0]["relevance_score"], 1.0);
    let ranked = good(&router, "/rerank", json!({"query": "0", "texts": ["1"]})).await;
    near(&ranked[0]["score"], UP);
    near(
        &good(&router, "/predict", json!({"inputs": "1"})).await[0]["score"],
        UP,
    );
}
