//! How the Prometheus of this operator is reached: where it is, whom its certificate has to come from, and the token
//! that is shown to it.
//!
//! Owns the files that flags name. It must not know a question. Invariants: a certificate that cannot be checked is
//! no answer; a token goes to the address of the flag alone, is read anew for each question, since it is exchanged
//! beneath us, and is in no message.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::asking::Asking;

/// The way to a Prometheus.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    client: Asking,
    /// Without the slash at its end.
    url: Arc<str>,
    token: Option<Arc<PathBuf>>,
}

impl Access {
    /// `ca` is a file of certificates of who may sign for it, where these are not the system's; `token` the file of the
    /// bearer token.
    ///
    /// # Errors
    /// When a file cannot be read, or holds no certificate or token.
    pub(crate) fn new(url: &str, ca: Option<&Path>, token: Option<&Path>) -> anyhow::Result<Self> {
        let client = if url.starts_with("https://") {
            Asking::trusting(config(ca)?)
        } else {
            ensure!(
                ca.is_none(),
                "--prometheus-ca is of use with an https address only: {url}"
            );
            Asking::new()
        };
        let access = Self {
            client,
            url: url.trim_end_matches('/').into(),
            token: token.map(|path| Arc::new(path.to_owned())),
        };
        access.authorization()?;
        Ok(access)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The body of the answer to a GET, whatever its status is but for a refusal of ourselves.
    pub(crate) async fn get(&self, path: &str, most: usize) -> anyhow::Result<Bytes> {
        let mut request = Request::get(format!("{}{path}", self.url));
        if let Some(token) = self.authorization()? {
            request = request.header(AUTHORIZATION, token);
        }
        let (status, body) = self.client.ask(request, most).await?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            bail!("it answers {status}: see --prometheus-token-file");
        }
        Ok(body)
    }

    fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        let Some(path) = &self.token else {
            return Ok(None);
        };
        let file = || format!("--prometheus-token-file {}", path.display());
        let token = std::fs::read_to_string(path.as_path()).with_context(file)?;
        let token = token.trim();
        ensure!(!token.is_empty(), "{}: it is empty", file());
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| anyhow::anyhow!("{}: it holds no token, but other bytes", file()))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

fn config(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let file = || format!("--prometheus-ca {}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).with_context(file)? {
            roots
                .add(certificate.with_context(file)?)
                .with_context(file)?;
        }
        ensure!(!roots.is_empty(), "{}: it holds no certificate", file());
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(
            !roots.is_empty(),
            "there are no certificates of the system here: name those of Prometheus with --prometheus-ca"
        );
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
