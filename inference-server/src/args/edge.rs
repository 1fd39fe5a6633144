//! The edge of the API: credentials, rates, proxies, browsers, and what texts may contain.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::http::HeaderValue;
use ipnet::IpNet;
use jsonwebtoken::Algorithm;

use super::duration;
use crate::http::edge::{
    ApiKeys, Auth, BODY_BYTES, Budget, Edge, Filter, GUIDE_PATTERNS, Jwks, Jwt, JwtSettings,
    Limiter, Proxies, Rate, Reloaded, secret,
};

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct EdgeArgs {
    /// A file with the secret of HS256 tokens; it may change while the server runs.
    #[arg(long, env = "REWARD_JWT_SECRET_FILE", value_name = "FILE")]
    pub(crate) jwt_secret_file: Option<PathBuf>,
    /// Where the identity provider publishes its keys.
    #[arg(long, env = "REWARD_JWT_JWKS_URI", value_name = "URL")]
    pub(crate) jwt_jwks_uri: Option<String>,
    /// Algorithms of tokens [default: HS256 with a secret, RS256 and ES256 with JWKS].
    #[arg(long, env = "REWARD_JWT_ALGORITHMS", value_delimiter = ',')]
    pub(crate) jwt_algorithms: Vec<Algorithm>,
    /// Who must have issued tokens.
    #[arg(long, env = "REWARD_JWT_ISSUER")]
    pub(crate) jwt_issuer: Option<String>,
    /// Whom tokens must be meant for.
    #[arg(long, env = "REWARD_JWT_AUDIENCE")]
    pub(crate) jwt_audience: Option<String>,
    /// How far the clocks of the issuer and of this server may differ: a token is taken so long before
    /// its `nbf` and after its `exp`.
    #[arg(long, env = "REWARD_JWT_LEEWAY", default_value = "10s", value_parser = duration)]
    pub(crate) jwt_leeway: Duration,
    /// A file of static keys, a line each: NAME KEY [SCOPE,SCOPE]; it may change too.
    #[arg(long, env = "REWARD_API_KEY_FILE", value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Scoring requests of one caller in this process: 60/m, or 60/m,burst=10,per=subject|address.
    #[arg(long, env = "REWARD_RATE_LIMIT")]
    pub(crate) rate_limit: Option<Rate>,
    /// Networks whose X-Forwarded-For is believed, such as 10.0.0.0/8.
    #[arg(long, env = "REWARD_TRUSTED_PROXIES", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Origins that browsers may ask from; * is any.
    #[arg(long, env = "REWARD_CORS_ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<HeaderValue>,
    /// Refuses texts that contain one of these, whatever the case [without a value: <script,
    /// javascript:, data:text/html and vbscript:].
    #[arg(
        long,
        env = "REWARD_REJECT_PATTERNS",
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = GUIDE_PATTERNS
    )]
    pub(crate) reject_patterns: Vec<String>,
    /// Removes tags and control characters from texts before they are scored.
    #[arg(long, env = "REWARD_SANITIZE")]
    pub(crate) sanitize: bool,
    /// Bytes that the bodies of all requests take together; more are answered with 429 [default:
    /// 134217728, or one body where that may be longer].
    #[arg(long, env = "REWARD_MAX_BODIES_BYTES")]
    pub(crate) max_bodies_bytes: Option<usize>,
}

impl EdgeArgs {
    /// # Errors
    /// When a file cannot be read, or flags contradict each other or `max_body_bytes`, those of one body.
    pub(crate) fn edge(&self, max_body_bytes: usize) -> anyhow::Result<Edge> {
        let origins = self.cors_origin.iter().filter(|origin| !origin.is_empty());
        for origin in origins.clone() {
            anyhow::ensure!(
                is_origin(origin),
                "--cors-origin {origin:?} would match no browser: write * or https://HOST[:PORT], without a path or a slash at the end"
            );
        }
        let bodies = self.max_bodies_bytes;
        let bodies = bodies.unwrap_or_else(|| BODY_BYTES.max(max_body_bytes));
        anyhow::ensure!(
            bodies >= max_body_bytes,
            "--max-bodies-bytes {bodies} is less than --max-body-bytes {max_body_bytes}: the longest bodies would be answered with 429 for ever"
        );
        let open = |what: &str, error: String| anyhow!("{what}: {error}");
        let keys = self
            .api_key_file
            .as_deref()
            .map(|path| Reloaded::open(path, ApiKeys::parse));
        Ok(Edge {
            auth: Auth {
                jwt: self.jwt()?,
                keys: keys
                    .transpose()
                    .map_err(|error| open("--api-key-file", error))?,
            },
            limiter: self.rate_limit.map(Limiter::new),
            proxies: Proxies::new(self.trusted_proxies.clone()),
            filter: Filter::new(&self.reject_patterns, self.sanitize),
            bodies: Budget::new(bodies),
            origins: origins.cloned().collect(),
        })
    }

    fn jwt(&self) -> anyhow::Result<Option<Jwt>> {
        if self.jwt_secret_file.is_none() && self.jwt_jwks_uri.is_none() {
            let unused = !self.jwt_algorithms.is_empty()
                || self.jwt_issuer.is_some()
                || self.jwt_audience.is_some();
            anyhow::ensure!(
                !unused,
                "--jwt-algorithms, --jwt-issuer and --jwt-audience need --jwt-secret-file or --jwt-jwks-uri: without one, nothing would be checked"
            );
            return Ok(None);
        }
        let key = self
            .jwt_secret_file
            .as_deref()
            .map(|path| Reloaded::open(path, secret))
            .transpose()
            .map_err(|error| anyhow!(error))
            .context("--jwt-secret-file")?;
        let keys = self
            .jwt_jwks_uri
            .as_deref()
            .map(|uri| Jwks::new(uri).map(Arc::new))
            .transpose()
            .map_err(|error| anyhow!(error))
            .context("--jwt-jwks-uri")?;
        let mut algorithms = self.jwt_algorithms.clone();
        if algorithms.is_empty() {
            algorithms.extend(key.iter().map(|_| Algorithm::HS256));
            algorithms.extend(
                keys.iter()
                    .flat_map(|_| [Algorithm::RS256, Algorithm::ES256]),
            );
        }
        let settings = JwtSettings {
            algorithms,
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            leeway: self.jwt_leeway,
        };
        Jwt::new(settings, key, keys)
            .map(Some)
            .map_err(|error| anyhow!("--jwt-algorithms: {error}"))
    }
}

/// Whether a browser may say that it is from there: scheme, host and port, or what has none of them.
fn is_origin(origin: &HeaderValue) -> bool {
    let Ok(text) = origin.to_str() else {
        return false;
    };
    let host = text.split_once("://").map(|(_, host)| host);
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
    text == "*" || text == "null" || host.is_some_and(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change<'a> = &'a dyn Fn(&mut EdgeArgs);

    #[test]
    fn flags_that_would_check_nothing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let short = folder.path().join("short");
        std::fs::write(&short, "secret\n").unwrap();
        let long = folder.path().join("long");
        std::fs::write(&long, "0123456789abcdef0123456789abcdef\n").unwrap();
        let with = |change: &dyn Fn(&mut EdgeArgs)| {
            let mut args = EdgeArgs::default();
            change(&mut args);
            args.edge(1_000).err().map(|error| format!("{error:#}"))
        };
        assert_eq!(with(&|_| ()), None);
        let origin = HeaderValue::from_static;
        for right in ["*", "null", "https://a", "http://localhost:3000"] {
            assert_eq!(with(&|a| a.cors_origin = vec![origin(right)]), None);
        }
        for wrong in ["https://a/", "https://a/b", "a.example", "https://"] {
            let error = with(&|a| a.cors_origin = vec![origin(wrong)]).unwrap();
            assert!(error.contains("would match no browser"), "{error}");
        }
        assert_eq!(with(&|a| a.cors_origin = vec![origin("")]), None);
        assert_eq!(with(&|a| a.max_bodies_bytes = Some(1_000)), None);
        let error = with(&|a| a.max_bodies_bytes = Some(999)).unwrap();
        assert!(error.contains("--max-body-bytes 1000"), "{error}");
        assert_eq!(with(&|a| a.jwt_secret_file = Some(long.clone())), None);
        let refused: [(Change<'_>, &str); 5] = [
            (
                &|a| a.jwt_audience = Some("x".into()),
                "nothing would be checked",
            ),
            (&|a| a.jwt_secret_file = Some(short.clone()), "6 bytes"),
            (
                &|a| a.api_key_file = Some("/nowhere".into()),
                "--api-key-file",
            ),
            (&|a| a.jwt_jwks_uri = Some("file:///x".into()), "https://"),
            (
                &|a| {
                    a.jwt_secret_file = Some(long.clone());
                    a.jwt_algorithms = vec![Algorithm::RS256];
                },
                "--jwt-algorithms",
            ),
        ];
        for (change, expected) in refused {
            let error = with(change).unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
