//! `POST /model/update` and `DELETE /cache`.

use futures::future::BoxFuture;
use inference_api::Problem;
use serde_json::json;
use tokio::sync::Notify;

use super::edge::{ApiKeys, Auth, Reloaded};
use super::*;

const KEY: &str = "key-of-the-admin";

/// Loads what its path says, when it is allowed to.
struct Told(Arc<Notify>);

impl Loader<Fake> for Told {
    fn check(&self, wanted: &Wanted) -> Result<(), Problem> {
        if wanted.model_path == "outside" {
            return Err(Problem::unprocessable("no such folder"));
        }
        Ok(())
    }

    fn load(&self, wanted: Wanted) -> BoxFuture<'static, Result<Served<Fake>, String>> {
        let go = self.0.clone();
        Box::pin(async move {
            go.notified().await;
            match wanted.model_path.as_str() {
                "broken" => Err("ModelInvalid: config.json is missing".to_owned()),
                "panics" => panic!("as told"),
                _ => {
                    let mut fake = Fake::default();
                    let by = Arc::make_mut(&mut fake.by);
                    by.version = wanted.version.unwrap_or_else(|| "new".to_owned());
                    by.calibration = wanted.calibration;
                    let about = fake.by.clone();
                    let mut served = served(fake, &["LABEL_0"], None);
                    served.model.about = about;
                    Ok(served)
                }
            }
        })
    }
}

struct Remembering(Mutex<Vec<String>>);

impl CacheControl for Remembering {
    fn clear<'a>(&'a self, version: &'a str) -> BoxFuture<'a, Result<(), Problem>> {
        self.0.lock().unwrap().push(version.to_owned());
        Box::pin(std::future::ready(Ok(())))
    }
}

fn administered(change: impl FnOnce(&mut App<Fake>)) -> (Router, Arc<Notify>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, format!("admin {KEY} admin,score\n")).unwrap();
    let go = Arc::new(Notify::new());
    let mut app = app_of(served(
        labelled(&["LABEL_0"], Some("scale=1,shift=0")),
        &["LABEL_0"],
        Some("scale=1,shift=0"),
    ));
    app.edge = Arc::new(Edge {
        auth: Auth {
            jwt: None,
            keys: Some(Reloaded::open(&path, ApiKeys::parse).unwrap()),
        },
        ..Edge::default()
    });
    app.updates = Some(Updates::new(Arc::new(Told(go.clone()))));
    change(&mut app);
    (router(Arc::new(app)), go)
}

fn keyed(mut request: Request<Body>) -> Request<Body> {
    request
        .headers_mut()
        .insert("x-api-key", KEY.parse().unwrap());
    request
}

/// An answer and the version that gave it.
async fn send(router: &Router, request: Request<Body>) -> (u16, Value, String) {
    let response = router.clone().oneshot(keyed(request)).await.unwrap();
    let (status, version) = (
        response.status(),
        response.headers()["x-model-version"].clone(),
    );
    let answer = serde_json::from_slice(&bytes_of(response).await).unwrap();
    (
        status.as_u16(),
        answer,
        version.to_str().unwrap().to_owned(),
    )
}

async fn ended(router: &Router, id: &str) -> Value {
    for _ in 0..1_000 {
        let (status, job, _) = send(router, get(&format!("/model/update/{id}"))).await;
        assert_eq!(status, 200);
        if job["status"] != "loading" {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not end");
}

async fn begun(router: &Router, body: Value) -> String {
    let (status, job, _) = send(router, post("/model/update", body.to_string())).await;
    assert_eq!(status, 202, "{job}");
    assert_eq!(job["status"], "loading");
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_update_swaps_the_model_when_it_is_loaded_and_not_before() {
    let (router, go) = administered(|_| ());
    let body = json!({"model_path": "m", "version": "v2", "calibration": {"scale": 2, "shift": 1}});
    let id = begun(&router, body).await;
    let predict = || post("/predict", r#"{"text":"1"}"#);
    let (_, answer, version) = send(&router, predict()).await;
    assert_eq!(
        (&answer["model_version"], version.as_str()),
        (&json!("v"), "v")
    );
    let (status, problem, _) = send(&router, post("/model/update", r#"{"model_path":"n"}"#)).await;
    assert_eq!(status, 409, "one at a time: {problem}");
    go.notify_one();
    let job = ended(&router, &id).await;
    assert_eq!(job["status"], "succeeded");
    assert_eq!(job["model_version"], "v2");
    let (_, answer, version) = send(&router, predict()).await;
    assert_eq!(
        (&answer["model_version"], version.as_str()),
        (&json!("v2"), "v2")
    );
    assert_eq!(answer["confidence"], 0.5, "the calibration came along");
}

#[tokio::test]
async fn a_failed_update_leaves_the_old_model_serving_and_says_why() {
    for (path, reason) in [
        ("broken", "ModelInvalid"),
        ("panics", "could not be loaded"),
    ] {
        let (router, go) = administered(|_| ());
        let id = begun(&router, json!({"model_path": path})).await;
        go.notify_one();
        let job = ended(&router, &id).await;
        assert_eq!(job["status"], "failed");
        assert!(job["message"].as_str().unwrap().contains(reason), "{job}");
        let (status, answer, _) = send(&router, post("/predict", r#"{"text":"1"}"#)).await;
        assert_eq!((status, &answer["model_version"]), (200, &json!("v")));
        assert!(answer["confidence"].is_number());
        // And the next one may come.
        let id = begun(&router, json!({"model_path": "m"})).await;
        go.notify_one();
        assert_eq!(ended(&router, &id).await["status"], "succeeded");
    }
}

#[tokio::test]
async fn an_update_that_cannot_be_is_refused_at_once() {
    let (router, _) = administered(|_| ());
    for (body, status) in [
        (json!({"model_path": "outside"}), 422),
        (json!({"model_path": ""}), 422),
        (json!({"model_path": "m", "version": "a b"}), 422),
        (
            json!({"model_path": "m", "calibration": {"scale": 0, "shift": 0}}),
            422,
        ),
        (json!({}), 422),
    ] {
        let (got, problem, _) = send(&router, post("/model/update", body.to_string())).await;
        assert_eq!(got, status, "{body}: {problem}");
    }
    for id in ["nothing", "%ff"] {
        let (status, _, _) = send(&router, get(&format!("/model/update/{id}"))).await;
        assert_eq!(status, 404, "{id}");
    }
    let (managed, _) = administered(|app| app.updates = None);
    let (status, problem, _) = send(&managed, post("/model/update", r#"{"model_path":"m"}"#)).await;
    assert_eq!(status, 409);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("--allow-update")
    );
}

#[tokio::test]
async fn the_scores_of_one_version_are_forgotten_where_there_is_a_cache() {
    let cache = Arc::new(Remembering(Mutex::default()));
    let (router, _) = administered(|app| app.cache = cache.clone());
    let clear = |path: &str| Request::delete(path).body(Body::empty()).unwrap();
    let (status, answer, _) = send(&router, clear("/cache?model_version=v%2B1")).await;
    assert_eq!((status, &answer["model_version"]), (200, &json!("v+1")));
    assert_eq!(*cache.0.lock().unwrap(), ["v+1"]);
    for path in [
        "/cache",
        "/cache?model_version=",
        "/cache?version=v",
        "/cache?model_version=%zz",
    ] {
        assert_eq!(send(&router, clear(path)).await.0, 422, "{path}");
    }
    let (none, _) = administered(|_| ());
    let (status, problem, _) = send(&none, clear("/cache?model_version=v")).await;
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("no cache"));
}
