//! Questions that are not the API server's: to routers, and to Prometheus.
//!
//! Owns how an answer is read. It must not know what one means. Invariant: no more of an answer is read than
//! who asks allows.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

/// The client of all of them.
#[derive(Clone, Debug)]
pub(crate) struct Asking(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Asking {
    /// Of what speaks http: nobody is trusted.
    pub(crate) fn new() -> Self {
        let nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        Self::trusting(nobody.with_no_client_auth())
    }

    /// Of what may speak https too.
    pub(crate) fn trusting(config: ClientConfig) -> Self {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(Duration::from_secs(2)));
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(2)
            .build(connector);
        Self(client)
    }

    /// The status and the body of an answer of at most `most` bytes.
    pub(crate) async fn ask(
        &self,
        request: Builder,
        most: usize,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = self.0.request(request.body(Empty::new())?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), most).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?;
        Ok((status, body.to_bytes()))
    }
}

impl Asking {
    /// The bytes of a document of a router's admin port; `None` where it has none.
    pub(crate) async fn document(
        &self,
        request: Builder,
        most: usize,
    ) -> anyhow::Result<Option<Bytes>> {
        let request = request.header(ACCEPT, "application/octet-stream");
        let asked = self.ask(request, most).await;
        let (status, body) = asked.context("read the evidence")?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        ensure!(status.is_success(), "it answers {status}");
        Ok(Some(body))
    }
}

/// A request to the admin port of a router, with its token.
pub(crate) fn admin(address: &str, path: &str, token: Option<&str>) -> Builder {
    let request = Request::get(format!("http://{address}{path}"));
    match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}
