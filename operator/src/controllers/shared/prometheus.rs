//! The Prometheus that is asked beside the reconciles.
//!
//! Owns the questions that are under way, and answers that nobody has had yet. It must not judge. Invariants: no
//! reconcile waits for Prometheus, because one that hangs must not hold up a cut-off, an abort or a rollback;
//! an owner has each question under way once at most; an answer that does not come is an answer of its own, never an
//! error of a reconcile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use operator_core::gates::{MAX_ANSWER_BYTES, PrometheusAnswer};
use tokio::task::AbortHandle;

use super::Owner;
use super::access::Access;

/// How long Prometheus may take: it gives up a query itself only after two minutes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer is true: one that nobody fetched is asked for anew.
const FRESH: Duration = Duration::from_mins(1);

/// Who hears that an answer has come.
type News = Arc<dyn Fn(&Owner) + Send + Sync>;

/// The Prometheus of this operator.
pub(crate) struct Prometheus {
    access: Option<Access>,
    /// By the uid of who asks, then by query.
    asked: Arc<Mutex<HashMap<String, HashMap<String, Asked>>>>,
    news: News,
}

/// A query.
#[derive(Debug)]
enum Asked {
    UnderWay(AbortHandle),
    Answered(PrometheusAnswer, Instant),
}

impl Asked {
    fn is_stale(&self) -> bool {
        match self {
            Self::UnderWay(_) => false,
            Self::Answered(_, at) => at.elapsed() >= FRESH,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        match self {
            Self::UnderWay(task) => task.abort(),
            Self::Answered(..) => {}
        }
    }
}

impl Prometheus {
    pub(crate) fn new(
        access: Option<Access>,
        news: impl Fn(&Owner) + Send + Sync + 'static,
    ) -> Self {
        Self {
            access,
            asked: Arc::default(),
            news: Arc::new(news),
        }
    }

    /// The answer to a query. Where there is none yet, it is asked for, and whoever asks hears of it.
    pub(crate) fn answer(&self, owner: &Owner, query: &str) -> Option<PrometheusAnswer> {
        let answers = self.answers(owner, &BTreeSet::from([query.to_owned()]))?;
        answers.into_values().next()
    }

    /// The answers to some queries, once all of them are there. Those that are not are asked for, and whoever
    /// asks hears of each.
    pub(crate) fn answers(
        &self,
        owner: &Owner,
        queries: &BTreeSet<String>,
    ) -> Option<BTreeMap<String, PrometheusAnswer>> {
        let Some(access) = &self.access else {
            let why = "this operator was told of no Prometheus: set its flag --prometheus-url";
            let each = |query: &String| {
                let answer = PrometheusAnswer::Unreachable(why.to_owned());
                (query.clone(), answer)
            };
            return Some(queries.iter().map(each).collect());
        };
        let mut all = self.asked();
        let own = all.entry(owner.uid.clone()).or_default();
        for query in queries {
            if own.get(query).is_none_or(Asked::is_stale) {
                let task = self.ask(owner, access.clone(), query.clone());
                own.insert(query.clone(), Asked::UnderWay(task));
            }
        }
        let each = queries.iter().map(|query| match own.get(query)? {
            Asked::Answered(answer, _) => Some((query.clone(), answer.clone())),
            Asked::UnderWay(_) => None,
        });
        let answers = each.collect::<Option<BTreeMap<_, _>>>()?;
        own.retain(|query, _| !queries.contains(query));
        Some(answers)
    }

    /// Who asked is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.asked().remove(uid);
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Asked>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, owner: &Owner, access: Access, query: String) -> AbortHandle {
        let news = self.news.clone();
        let (asked, owner) = (self.asked.clone(), owner.clone());
        let task = tokio::spawn(async move {
            let within = tokio::time::timeout(PATIENCE, ask(&access, &query)).await;
            let url = access.url();
            let answer = match within {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => PrometheusAnswer::Unreachable(format!("{url}: {error:#}")),
                Err(_) => PrometheusAnswer::Unreachable(format!("{url}: no answer in 5 s")),
            };
            {
                let mut all = asked.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever is gone has forgotten the question.
                let Some(own) = all.get_mut(&owner.uid) else {
                    return;
                };
                own.insert(query, Asked::Answered(answer, Instant::now()));
            }
            news(&owner);
        });
        task.abort_handle()
    }
}

async fn ask(access: &Access, query: &str) -> anyhow::Result<PrometheusAnswer> {
    let path = format!("/api/v1/query?query={}", encoded(query));
    let body = access.get(&path, MAX_ANSWER_BYTES).await?;
    Ok(PrometheusAnswer::read(&body))
}

/// A text as a part of a URL's query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
            let digits = [byte >> 4, byte & 0xf].map(|half| digit(half).to_ascii_uppercase());
            encoded.push('%');
            encoded.extend(digits);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_query_is_one_parameter_whatever_is_in_it() {
        assert_eq!(
            encoded(r#"sum(rate(a{b="c&d"}[5m])) > 1"#),
            "sum%28rate%28a%7Bb%3D%22c%26d%22%7D%5B5m%5D%29%29%20%3E%201"
        );
        assert_eq!(encoded("é"), "%C3%A9");
    }

    fn owner() -> Owner {
        let pod = serde_json::json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}});
        Owner::of(&serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(pod).unwrap())
    }

    fn access(url: &str) -> Access {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Access::new(url, None, None).unwrap()
    }

    /// Answers each question with a number, one more each time.
    async fn counting() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for number in 1.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4_096]).await.unwrap();
                let body = format!(
                    r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"{number}"]}}}}"#
                );
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn answers_are_given_together_and_are_new_each_time() {
        let url = counting().await;
        let (told, mut news) = tokio::sync::mpsc::unbounded_channel();
        let prometheus = Prometheus::new(Some(access(&url)), move |_| {
            told.send(()).unwrap();
        });
        let queries = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        for numbers in [[1.0, 2.0], [3.0, 4.0]] {
            // All are asked for at once, and each comes by itself.
            assert_eq!(prometheus.answers(&owner(), &queries), None);
            news.recv().await.unwrap();
            news.recv().await.unwrap();
            let answers = prometheus.answers(&owner(), &queries).unwrap();
            let mut values: Vec<_> = answers
                .values()
                .filter_map(PrometheusAnswer::value)
                .collect();
            values.sort_by(f64::total_cmp);
            assert_eq!(values, numbers);
        }
    }

    #[tokio::test]
    async fn who_asks_nothing_has_all_answers() {
        let prometheus = Prometheus::new(Some(access("http://127.0.0.1:1")), |_| {});
        let answers = prometheus.answers(&owner(), &BTreeSet::new());
        assert_eq!(answers, Some(BTreeMap::new()));
    }
}
