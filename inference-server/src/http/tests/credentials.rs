//! Credentials: what is let in, and the attacks that are not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::edge::{ApiKeys, Auth, Jwks, Jwt, JwtSettings, Reloaded, secret};
use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const MINUTE: i64 = 60;

/// Seconds from now.
fn at(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + offset
}

fn claims() -> Value {
    json!({
        "sub": "trainer", "exp": at(MINUTE), "nbf": at(-MINUTE),
        "iss": "issuer", "aud": "rewards", "scope": "score evaluate",
    })
}

/// The same claims, with some of them changed; null removes one.
fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// A token put together by hand.
fn forged(header: Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(&header), part(claims))
}

fn settings(algorithm: Algorithm) -> JwtSettings {
    JwtSettings {
        algorithms: vec![algorithm],
        issuer: Some("issuer".to_owned()),
        audience: Some("rewards".to_owned()),
        leeway: Duration::from_secs(10),
    }
}

fn guarded(auth: Auth) -> Router {
    let mut app = app_of(served(Fake::default(), &["LABEL_0"], None));
    app.edge = Arc::new(Edge {
        auth,
        ..Edge::default()
    });
    router(Arc::new(app))
}

fn file(content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn with_secret() -> (Router, tempfile::TempDir) {
    let (folder, path) = file(SECRET);
    let key = Reloaded::open(&path, secret).unwrap().impatient();
    let jwt = Jwt::new(settings(Algorithm::HS256), Some(key), None).unwrap();
    let auth = Auth {
        jwt: Some(jwt),
        keys: None,
    };
    (guarded(auth), folder)
}

fn bearing(token: &str, path: &str, body: &'static str) -> Request<Body> {
    let mut request = post(path, body);
    let value = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

async fn predict(router: &Router, token: &str) -> (u16, Value) {
    let request = bearing(token, "/predict", r#"{"text":"1"}"#);
    let (status, answer) = ask(router, request).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn a_good_token_is_let_in_whatever_form_its_scopes_have() {
    let (router, _folder) = with_secret();
    for changes in [
        json!({}),
        json!({"aud": ["others", "rewards"]}),
        json!({"nbf": null}),
        json!({"scope": null, "scp": ["score"]}),
        json!({"scope": null, "scopes": "admin score"}),
    ] {
        let (status, answer) = predict(&router, &signed(&with(changes.clone()))).await;
        assert_eq!(status, 200, "{changes}: {answer}");
    }
}

#[tokio::test]
async fn every_attack_gets_the_same_answer() {
    let (router, _folder) = with_secret();
    let good = signed(&claims());
    let (unsigned, signature) = good.rsplit_once('.').unwrap();
    let none = json!({"alg": "none", "typ": "JWT"});
    let other = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    let sign =
        |algorithm, key: &EncodingKey| encode(&Header::new(algorithm), &claims(), key).unwrap();
    let ours = EncodingKey::from_secret(SECRET.as_bytes());
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["b64".to_owned()]);
    let attacks = [
        ("alg none", forged(none.clone(), &claims(), "")),
        ("alg none, signed", forged(none, &claims(), signature)),
        ("alg None", forged(json!({"alg": "None"}), &claims(), "")),
        ("another algorithm", sign(Algorithm::HS512, &ours)),
        ("another secret", sign(Algorithm::HS256, &other)),
        (
            "critical extension",
            encode(&critical, &claims(), &ours).unwrap(),
        ),
        ("no signature", format!("{unsigned}.")),
        ("two parts", unsigned.to_owned()),
        (
            "other claims",
            forged(
                json!({"alg": "HS256"}),
                &with(json!({"scope": "admin"})),
                signature,
            ),
        ),
        (
            "key in the header",
            forged(
                json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AA"}}),
                &claims(),
                signature,
            ),
        ),
        ("expired", signed(&with(json!({"exp": at(-MINUTE)})))),
        ("no expiry", signed(&with(json!({"exp": null})))),
        (
            "expiry as text",
            signed(&with(json!({"exp": "9999999999"}))),
        ),
        ("not yet valid", signed(&with(json!({"nbf": at(MINUTE)})))),
        ("wrong issuer", signed(&with(json!({"iss": "other"})))),
        ("no issuer", signed(&with(json!({"iss": null})))),
        ("wrong audience", signed(&with(json!({"aud": "other"})))),
        ("no audience", signed(&with(json!({"aud": null})))),
        ("garbage", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        ("long", "a".repeat(8_193)),
    ];
    let mut answers = Vec::new();
    for (name, token) in attacks {
        let (status, mut problem) = predict(&router, &token).await;
        assert_eq!(status, 401, "{name}: {problem}");
        problem["instance"] = Value::Null;
        answers.push(problem);
    }
    answers.dedup();
    assert_eq!(
        answers.len(),
        1,
        "the answers tell attacks apart: {answers:?}"
    );
}

#[tokio::test]
async fn a_token_without_the_scope_is_forbidden_and_none_at_all_is_asked_for() {
    let (router, _folder) = with_secret();
    let token = signed(&claims());
    let admin = bearing(&token, "/model/update", "{}");
    assert_eq!(ask(&router, admin).await.0, 403);
    for scope in ["", "scores", "score,evaluate", "feedback"] {
        let (status, problem) = predict(&router, &signed(&with(json!({"scope": scope})))).await;
        assert_eq!(status, 403, "{scope}: {problem}");
    }
    let response = router
        .clone()
        .oneshot(post("/predict", "{}"))
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    for path in ["/health", "/metrics", "/docs", "/openapi.json"] {
        let response = router.clone().oneshot(get(path)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    for path in ["/model/info", "/info", "/v1/models"] {
        assert_eq!(ask(&router, get(path)).await.0, 401, "{path}");
    }
}

#[tokio::test]
async fn credentials_are_checked_before_anything_else_of_a_request() {
    let (router, _folder) = with_secret();
    for body in [Body::from("{"), Body::from(" ".repeat(30_000))] {
        let text = Request::post("/predict").header("content-type", "text/plain");
        assert_eq!(ask(&router, text.body(body).unwrap()).await.0, 401);
    }
    assert_eq!(ask(&router, get("/nothing")).await.0, 404);
}

#[tokio::test]
async fn a_changed_secret_lets_new_tokens_in_and_old_ones_out() {
    let (router, folder) = with_secret();
    let old = signed(&claims());
    assert_eq!(predict(&router, &old).await.0, 200);
    let next = "fedcba9876543210fedcba9876543210";
    std::fs::write(folder.path().join("file"), next).unwrap();
    assert_eq!(predict(&router, &old).await.0, 401);
    let key = EncodingKey::from_secret(next.as_bytes());
    let new = encode(&Header::new(Algorithm::HS256), &claims(), &key).unwrap();
    assert_eq!(predict(&router, &new).await.0, 200);
}

#[tokio::test]
async fn without_credentials_scoring_is_open_and_administration_closed() {
    let (router, _) = fake();
    assert_eq!(say(&router, "/predict", json!({"text": "1"})).await.0, 200);
    let (status, problem) = say(&router, "/model/update", json!({"model_path": "m"})).await;
    assert_eq!(status, 403, "{problem}");
    let clear = Request::delete("/cache?model_version=v")
        .body(Body::empty())
        .unwrap();
    assert_eq!(ask(&router, clear).await.0, 403);
}

#[tokio::test]
async fn a_static_key_is_let_in_by_either_header_within_its_scopes() {
    let (_folder, path) = file("trainer key-of-the-trainer score\n");
    let router = guarded(Auth {
        jwt: None,
        keys: Some(Reloaded::open(&path, ApiKeys::parse).unwrap()),
    });
    assert_eq!(predict(&router, "key-of-the-trainer").await.0, 200);
    assert_eq!(predict(&router, "key-of-a-stranger").await.0, 401);
    let mut request = post("/predict", r#"{"text":"1"}"#);
    let key = "key-of-the-trainer".parse().unwrap();
    request.headers_mut().insert("x-api-key", key);
    assert_eq!(ask(&router, request).await.0, 200);
    let evaluate = bearing("key-of-the-trainer", "/evaluate", "{}");
    assert_eq!(ask(&router, evaluate).await.0, 403);
}

/// An RSA key: what signs, what is published of it, and the public half as an attacker has it.
struct Pair {
    signing: EncodingKey,
    published: Jwk,
    public: Vec<u8>,
}

fn pair(id: &str) -> Pair {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let body = STANDARD.encode(der.as_ref());
    let lines: Vec<_> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    let signing = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    let mut published = Jwk::from_encoding_key(&signing, Algorithm::RS256).unwrap();
    published.common.key_id = Some(id.to_owned());
    let public = aws_lc_rs::signature::KeyPair::public_key(&pair);
    Pair {
        signing,
        published,
        public: public.as_ref().to_vec(),
    }
}

fn signed_by(pair: &Pair, id: Option<&str>) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = id.map(str::to_owned);
    encode(&header, &claims(), &pair.signing).unwrap()
}

/// An identity provider: what it publishes may change, and it counts how often it is asked.
struct Provider {
    uri: String,
    keys: Arc<Mutex<Vec<Jwk>>>,
    asked: Arc<AtomicUsize>,
}

async fn provider(keys: Vec<Jwk>) -> Provider {
    let keys = Arc::new(Mutex::new(keys));
    let asked = Arc::new(AtomicUsize::new(0));
    let (published, count) = (keys.clone(), asked.clone());
    let answer = move || {
        count.fetch_add(1, Ordering::Relaxed);
        let keys = published.lock().unwrap().clone();
        std::future::ready(axum::Json(json!({"keys": keys})))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/keys", listener.local_addr().unwrap());
    let router = Router::new().route("/keys", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Provider { uri, keys, asked }
}

fn with_provider(uri: &str, patient: bool) -> Router {
    let keys = Jwks::new(uri).unwrap();
    let keys = if patient { keys } else { keys.impatient() };
    let jwt = Jwt::new(settings(Algorithm::RS256), None, Some(Arc::new(keys))).unwrap();
    guarded(Auth {
        jwt: Some(jwt),
        keys: None,
    })
}

#[tokio::test]
async fn tokens_of_an_identity_provider_are_checked_with_its_keys() {
    let (first, second) = (pair("1"), pair("2"));
    let provider = provider(vec![first.published.clone()]).await;
    let router = with_provider(&provider.uri, false);
    assert_eq!(predict(&router, &signed_by(&first, Some("1"))).await.0, 200);
    assert_eq!(predict(&router, &signed_by(&first, None)).await.0, 200);
    assert_eq!(
        predict(&router, &signed_by(&second, Some("1"))).await.0,
        401
    );
    assert_eq!(
        predict(&router, &signed_by(&second, Some("2"))).await.0,
        401
    );
    // The key is rotated: the new one is found at once, the old one is gone.
    *provider.keys.lock().unwrap() = vec![second.published.clone()];
    assert_eq!(
        predict(&router, &signed_by(&second, Some("2"))).await.0,
        200
    );
    assert_eq!(predict(&router, &signed_by(&first, Some("1"))).await.0, 401);
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret() {
    let rsa = pair("1");
    let provider = provider(vec![rsa.published.clone()]).await;
    let router = with_provider(&provider.uri, false);
    let jwk = serde_json::to_vec(&rsa.published).unwrap();
    for secret in [rsa.public.as_slice(), &jwk] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("1".to_owned());
        let token = encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap();
        assert_eq!(predict(&router, &token).await.0, 401);
    }
}

#[tokio::test]
async fn unknown_key_ids_do_not_make_the_server_hammer_the_provider() {
    let rsa = pair("1");
    let provider = provider(vec![rsa.published.clone()]).await;
    let router = with_provider(&provider.uri, true);
    for i in 0..20 {
        let token = signed_by(&rsa, Some(&format!("unknown-{i}")));
        assert_eq!(predict(&router, &token).await.0, 401);
    }
    assert_eq!(provider.asked.load(Ordering::Relaxed), 1);
    assert_eq!(predict(&router, &signed_by(&rsa, Some("1"))).await.0, 200);
}

#[tokio::test]
async fn while_the_provider_is_away_nobody_is_let_in_by_keys_that_never_came() {
    let router = with_provider("http://127.0.0.1:1/keys", true);
    let (status, problem) = predict(&router, &signed_by(&pair("1"), Some("1"))).await;
    assert_eq!(status, 503);
    assert!(!problem.to_string().contains("127.0.0.1"), "{problem}");
}

#[tokio::test]
async fn a_token_is_taken_for_the_leeway_behind_its_end_and_no_longer() {
    let case = include_str!("../../../tests/cases/jwt-leeway-undocumented/claims.json");
    let mut case: Value = serde_json::from_str(case).unwrap();
    for (leeway, late, expected) in [(10, 8, 200), (10, 12, 401), (0, 2, 401), (60, 55, 200)] {
        let settings = JwtSettings {
            algorithms: vec![Algorithm::HS256],
            leeway: Duration::from_secs(leeway),
            ..JwtSettings::default()
        };
        let (_folder, path) = file(SECRET);
        let key = Reloaded::open(&path, secret).unwrap();
        let router = guarded(Auth {
            jwt: Some(Jwt::new(settings, Some(key), None).unwrap()),
            keys: None,
        });
        case["exp"] = json!(at(-late));
        let mut request = post("/predict", r#"{"text":"1"}"#);
        let token = format!("Bearer {}", signed(&case)).parse().unwrap();
        request.headers_mut().insert("authorization", token);
        let (status, _) = ask(&router, request).await;
        assert_eq!(status.as_u16(), expected, "{late} s late with {leeway} s");
    }
}
