//! A hub, the host that it redirects to, and an object store, in this process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::get;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A folder that is served in the forms of a hub (`/api`, `/team/model/resolve`), of what it redirects
/// to (`/bytes`) and of S3 (`/bucket`).
pub(super) struct StandIn {
    pub(super) folder: PathBuf,
    /// What the hub asks for; nothing where it is empty.
    pub(super) token: &'static str,
    /// The key that the store asks for.
    pub(super) key: &'static str,
    /// Where the hub redirects to.
    pub(super) redirects_to: Mutex<Option<String>>,
    /// Bytes that are given away before it refuses.
    pub(super) gives: AtomicUsize,
    pub(super) given: AtomicUsize,
    /// Whether it is in trouble.
    pub(super) is_down: AtomicBool,
    /// Tokens that were sent along with a redirect.
    pub(super) leaked: AtomicUsize,
}

impl StandIn {
    pub(super) fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            token: "",
            key: "",
            redirects_to: Mutex::new(None),
            gives: AtomicUsize::new(usize::MAX),
            given: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            leaked: AtomicUsize::new(0),
        }
    }

    /// Serves it; answers its address.
    pub(super) async fn serve(self) -> (String, Arc<Self>) {
        let own = Arc::new(self);
        let router = Router::new()
            .route("/api/models/team/model/revision/{revision}", get(listing))
            .route("/team/model/resolve/{revision}/{name}", get(resolve))
            .route("/bytes/{name}", get(bytes))
            .route("/bucket", get(objects))
            .route("/bucket/models/v1/{name}", get(object))
            .with_state(own.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, own)
    }

    fn refuses(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        if self.is_down.load(Ordering::Relaxed) {
            return Some(answer(StatusCode::SERVICE_UNAVAILABLE, "down"));
        }
        let sent = text(headers, "authorization");
        let good = self.token.is_empty() || sent == format!("Bearer {}", self.token);
        (!good).then(|| answer(StatusCode::UNAUTHORIZED, "who are you?"))
    }

    fn names(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.folder).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    fn file(&self, name: &str, headers: &HeaderMap) -> Response<Body> {
        let Ok(all) = std::fs::read(self.folder.join(name)) else {
            return answer(StatusCode::NOT_FOUND, "no such file");
        };
        let range = text(headers, "range");
        let (from, to) = range
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
            .map_or((0, all.len()), |(from, to)| {
                let to = to.parse::<usize>().map_or(all.len(), |to| to + 1);
                (from.parse().unwrap(), to.min(all.len()))
            });
        let given = self.given.load(Ordering::Relaxed);
        let left = self.gives.load(Ordering::Relaxed).saturating_sub(given);
        if left == 0 {
            return answer(StatusCode::FORBIDDEN, "no more");
        }
        let part = all[from..to].to_vec();
        let sent = part.len().min(left);
        self.given.fetch_add(sent, Ordering::Relaxed);
        let status = if range.is_empty() { 200 } else { 206 };
        let body = if sent < part.len() {
            Body::from_stream(futures::stream::iter([
                Ok(part[..sent].to_vec()),
                Err(std::io::Error::other("broken off")),
            ]))
        } else {
            Body::from(part.clone())
        };
        let mut builder = Response::builder()
            .status(status)
            .header("content-length", part.len())
            .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            .header("etag", format!("\"{}\"", all.len()));
        if status == 206 {
            let range = format!("bytes {from}-{}/{}", to.max(1) - 1, all.len());
            builder = builder.header("content-range", range);
        }
        builder.body(body).unwrap()
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn answer(status: StatusCode, body: &str) -> Response<Body> {
    let body = Body::from(body.to_owned());
    Response::builder().status(status).body(body).unwrap()
}

async fn listing(
    State(own): State<Arc<StandIn>>,
    Path(revision): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    if let Some(refusal) = own.refuses(&headers) {
        return refusal;
    }
    if revision != COMMIT && revision != "main" {
        return answer(StatusCode::NOT_FOUND, "no such revision");
    }
    let names = own.names().into_iter();
    let siblings: Vec<_> = names
        .map(|name| serde_json::json!({"rfilename": name}))
        .collect();
    let body = serde_json::json!({"sha": COMMIT, "siblings": siblings});
    answer(StatusCode::OK, &body.to_string())
}

async fn resolve(
    State(own): State<Arc<StandIn>>,
    Path((revision, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    if let Some(refusal) = own.refuses(&headers) {
        return refusal;
    }
    if revision != COMMIT {
        return answer(StatusCode::NOT_FOUND, "a branch may move");
    }
    let elsewhere = own.redirects_to.lock().unwrap().clone();
    match elsewhere {
        Some(elsewhere) => Response::builder()
            .status(StatusCode::FOUND)
            .header(
                "location",
                format!("{elsewhere}/bytes/{name}?signature=xyz"),
            )
            .body(Body::empty())
            .unwrap(),
        None => own.file(&name, &headers),
    }
}

async fn bytes(
    State(own): State<Arc<StandIn>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let sent = headers.contains_key("authorization");
    own.leaked.fetch_add(usize::from(sent), Ordering::Relaxed);
    own.file(&name, &headers)
}

/// What S3 answers to a signature of another key.
fn foreign_key(own: &StandIn, headers: &HeaderMap) -> Option<Response<Body>> {
    let sent = text(headers, "authorization");
    let good = sent.starts_with(&format!("AWS4-HMAC-SHA256 Credential={}/", own.key));
    (!good).then(|| {
        let body = "<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIAOTHER</AWSAccessKeyId></Error>";
        answer(StatusCode::FORBIDDEN, body)
    })
}

async fn objects(State(own): State<Arc<StandIn>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    if let Some(refusal) = foreign_key(&own, &headers) {
        return refusal;
    }
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let prefix = query
        .filter(|(name, _)| name == "prefix")
        .map(|(_, value)| value);
    let prefix: String = prefix.collect();
    let mut body =
        "<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>".to_owned();
    for name in own.names().iter().filter(|_| prefix == "models/v1/") {
        let size = std::fs::metadata(own.folder.join(name)).unwrap().len();
        let object = format!(
            "<Contents><Key>{prefix}{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"{size}\"</ETag><Size>{size}</Size></Contents>"
        );
        body += &object;
    }
    answer(StatusCode::OK, &(body + "</ListBucketResult>"))
}

async fn object(
    State(own): State<Arc<StandIn>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    foreign_key(&own, &headers).unwrap_or_else(|| own.file(&name, &headers))
}
