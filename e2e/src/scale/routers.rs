//! The routers of the stand-in: each router pod has a loopback address of its own, and behind all of them
//! stands one server that says of each that it follows its table.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The port that operators ask.
const PORT: u16 = 8001;
/// How long an answer is held back where there is no news.
const HELD: Duration = Duration::from_secs(20);

/// Namespace and name of a RewardModel.
type Key = (String, String);

/// All router pods and tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Routers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    pods: HashMap<IpAddr, (Key, String)>,
    tables: HashMap<Key, Value>,
}

impl Routers {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a router pod.
    pub(super) fn address(&self, namespace: &str, model: &str, pod: &str) -> String {
        let mut known = self.known();
        let count = u32::try_from(known.pods.len()).unwrap_or(u32::MAX);
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x7F01_0001 + count));
        let key = (namespace.to_owned(), model.to_owned());
        known.pods.insert(address, (key, pod.to_owned()));
        address.to_string()
    }

    /// A table that was written.
    pub(super) fn table(&self, object: &ConfigMap) {
        let text = object.data.as_ref().and_then(|data| data.get("table.json"));
        let table = text.and_then(|text| serde_json::from_str(text).ok());
        let model = object.labels().get("betterai.dev/model").cloned();
        if let (Some(table), Some(model)) = (table, model) {
            let key = (object.namespace().unwrap_or_default(), model);
            self.known().tables.insert(key, table);
        }
    }

    /// What the router at an address says; nothing where it has no table.
    fn report(&self, address: IpAddr) -> Option<Value> {
        let known = self.known();
        let (key, pod) = known.pods.get(&address)?;
        let table = known.tables.get(key)?;
        let revisions = table.get("revisions").and_then(Value::as_array);
        let revisions: Vec<Value> = revisions
            .into_iter()
            .flatten()
            .map(|row| {
                json!({"revision": row.get("revision"), "endpoints": 1, "ready": 1, "effectiveWeight": row.get("weight")})
            })
            .collect();
        Some(json!({
            "schemaVersion": 1, "pod": pod, "instance": "stand-in", "synced": true,
            "sequence": table.get("generation"), "revisions": revisions,
            "table": {"modelUid": table.pointer("/model/uid"), "generation": table.get("generation")},
        }))
    }

    /// Answers for ever.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) async fn serve(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        loop {
            let (connection, _) = listener.accept().await?;
            let routers = self.clone();
            // An operator that hangs up asks again.
            tokio::spawn(async move { routers.answer(connection).await.ok() });
        }
    }

    async fn answer(&self, connection: TcpStream) -> anyhow::Result<()> {
        let address = connection.local_addr()?.ip();
        let mut connection = BufReader::new(connection);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if connection.read_line(&mut head).await? == 0 {
                    return Ok(());
                }
            }
            let since = head.split_once("since=").map_or("0", |(_, rest)| rest);
            let since = since
                .split(' ')
                .next()
                .and_then(|digits| digits.parse().ok());
            let report = self.news(address, since.unwrap_or(0)).await;
            let (status, body) = match report {
                Some(report) => ("200 OK", report.to_string()),
                None => ("503 Service Unavailable", String::new()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            connection.write_all(answer.as_bytes()).await?;
        }
    }

    async fn news(&self, address: IpAddr, since: u64) -> Option<Value> {
        let waiting = async {
            loop {
                let report = self.report(address);
                let sequence = report
                    .as_ref()
                    .and_then(|report| report.get("sequence")?.as_u64());
                if sequence != Some(since) {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let news = tokio::time::timeout(HELD, waiting).await;
        news.unwrap_or_else(|_| self.report(address))
    }
}
