use std::fs;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A folder with the certificate `ca.pem`, and the address of what has it. It answers with the line of
/// the request's token, or 401 where there is none.
async fn secured() -> (TempDir, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("ca.pem"), own.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that trusts nobody goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = vec![0; 4_096];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8(request[..read].to_vec()).unwrap();
            let token = request
                .lines()
                .find(|line| line.starts_with("authorization"));
            let status = if token.is_some() {
                "200 OK"
            } else {
                "401 Unauthorized"
            };
            let body = token.unwrap_or("who are you?");
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (folder, format!("https://localhost:{port}"))
}

async fn said(access: &Access) -> Result<String, String> {
    match access.get("/api/v1/query", 1_000).await {
        Ok(body) => Ok(String::from_utf8(body.to_vec()).unwrap()),
        Err(error) => Err(format!("{error:#}")),
    }
}

#[tokio::test]
async fn a_token_is_shown_over_https_and_one_that_was_exchanged_is_the_next() {
    let (folder, url) = secured().await;
    let (ca, token) = (folder.path().join("ca.pem"), folder.path().join("token"));
    fs::write(&token, "first\n").unwrap();
    let access = Access::new(&url, Some(&ca), Some(&token)).unwrap();
    assert_eq!(
        said(&access).await,
        Ok("authorization: Bearer first".to_owned())
    );
    fs::write(&token, "second").unwrap();
    assert_eq!(
        said(&access).await,
        Ok("authorization: Bearer second".to_owned())
    );
    fs::remove_file(&token).unwrap();
    let missing = said(&access).await.unwrap_err();
    assert!(missing.contains("--prometheus-token-file"), "{missing}");
}

#[tokio::test]
async fn who_is_refused_is_told_which_flag_names_a_token() {
    let (folder, url) = secured().await;
    let access = Access::new(&url, Some(&folder.path().join("ca.pem")), None).unwrap();
    assert_eq!(
        said(&access).await,
        Err("it answers 401 Unauthorized: see --prometheus-token-file".to_owned())
    );
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_no_answer() {
    let (_folder, url) = secured().await;
    let (other, _) = secured().await;
    let access = Access::new(&url, Some(&other.path().join("ca.pem")), None).unwrap();
    let refused = said(&access).await.unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
}

#[test]
fn what_the_flags_name_has_to_be_there_at_the_start() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let url = "https://prometheus:9090";
    let refused = |url, ca: Option<&Path>, token: Option<&Path>| {
        let error = Access::new(url, ca, token).unwrap_err();
        format!("{error:#}")
    };
    let nowhere = folder.path().join("nowhere");
    for (told, part) in [
        (refused(url, Some(&nowhere), None), "--prometheus-ca"),
        (
            refused(url, Some(&file("empty", "")), None),
            "holds no certificate",
        ),
        (
            refused(
                url,
                Some(&file(
                    "text",
                    "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
                )),
                None,
            ),
            "--prometheus-ca",
        ),
        (
            refused("http://prometheus:9090", Some(&nowhere), None),
            "with an https address only",
        ),
        (
            refused("http://prometheus:9090", None, Some(&nowhere)),
            "--prometheus-token-file",
        ),
        (
            refused("http://prometheus:9090", None, Some(&file("blank", " \n"))),
            "it is empty",
        ),
        (
            refused("http://prometheus:9090", None, Some(&file("lines", "a\nb"))),
            "no token",
        ),
    ] {
        assert!(told.contains(part), "{told}");
    }
}
