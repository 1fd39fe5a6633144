//! A stand-in for where models are fetched from: folders of models in the layout of a hub, private, and
//! in that of S3, for one key.
//!
//! Owns what is answered to which request; it does not check signatures. Invariant: nothing outside of
//! the folder is served.

mod listing;
mod server;

use std::path::{Path, PathBuf};

pub use server::serve;

/// The only commit that its models have.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The only owner of models, and the only bucket.
pub const OWNER: &str = "team";

/// What is served, to whom.
#[derive(Clone, Debug)]
pub struct Source {
    /// A folder of models.
    pub folder: PathBuf,
    /// The token that the hub asks for.
    pub token: String,
    /// The key id that the store asks for.
    pub key: String,
    /// The most bytes of one answer; then it breaks off.
    pub most: usize,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// How many bytes of files were sent.
    Sent,
    /// The files of a model of the hub.
    Files(String),
    /// One of them.
    File(String, String),
    /// The files below a prefix of the bucket.
    Objects(String),
    /// One of them.
    Object(String, String),
}

impl Wish {
    /// The wish of a request for `path` and `query`, if it is one.
    #[must_use]
    pub fn parse(path: &str, query: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let plain = |name: &str| !name.is_empty() && !name.starts_with('.');
        if !parts.iter().all(|part| plain(part)) {
            return None;
        }
        let text = |part: &str| part.to_owned();
        match parts.as_slice() {
            ["sent"] => Some(Self::Sent),
            ["api", "models", OWNER, model, "revision", COMMIT] => Some(Self::Files(text(model))),
            [OWNER, model, "resolve", COMMIT, name] => Some(Self::File(text(model), text(name))),
            [OWNER] => Some(Self::Objects(prefix(query)?)),
            [OWNER, model, name] => Some(Self::Object(text(model), text(name))),
            _ => None,
        }
    }

    /// Whether a request with this `authorization` may have it.
    #[must_use]
    pub fn is_granted(&self, source: &Source, authorization: &str) -> bool {
        match self {
            Self::Sent => true,
            Self::Files(_) | Self::File(..) => authorization == format!("Bearer {}", source.token),
            Self::Objects(_) | Self::Object(..) => {
                let wanted = format!("AWS4-HMAC-SHA256 Credential={}/", source.key);
                authorization.starts_with(&wanted)
            }
        }
    }
}

/// The model that a listing asks for: `prefix=MODEL%2F`.
fn prefix(query: &str) -> Option<String> {
    let mut pairs = query.split('&');
    let prefix = pairs.find_map(|pair| pair.strip_prefix("prefix="))?;
    let model = prefix.trim_end_matches("%2F").trim_end_matches('/');
    (!model.contains(['%', '/']) && !model.starts_with('.')).then(|| model.to_owned())
}

/// The part of a file that `range` (`bytes=FROM-[TO]`) asks for, and the whole file's length.
///
/// # Errors
/// When the file cannot be read.
pub fn part(path: &Path, range: Option<&str>) -> std::io::Result<(usize, Vec<u8>, usize)> {
    let all = std::fs::read(path)?;
    let asked = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (from, to) = asked.map_or((0, all.len()), |(from, to)| {
        let to = to.parse::<usize>().map_or(all.len(), |to| to + 1);
        (from.parse().unwrap_or(0), to.min(all.len()))
    });
    let part = all.get(from..to).unwrap_or_default().to_vec();
    Ok((from, part, all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            folder: PathBuf::new(),
            token: "t".to_owned(),
            key: "k".to_owned(),
            most: 1,
        }
    }

    #[test]
    fn what_is_no_wish_gets_nothing() {
        for path in [
            "/",
            "/team/../x",
            "/team/.git/config",
            "/other/m/f",
            "/api/models/team/m/revision/main",
        ] {
            assert_eq!(Wish::parse(path, ""), None, "{path}");
        }
        assert_eq!(Wish::parse("/team", "prefix=..%2F"), None);
    }

    #[test]
    fn both_layouts_are_known_to_who_may_see_them() {
        let key = "AWS4-HMAC-SHA256 Credential=k/2026";
        let file = format!("/team/m/resolve/{COMMIT}/config.json");
        for (path, query, good) in [
            (file.as_str(), "", "Bearer t"),
            ("/team", "list-type=2&prefix=m%2F", key),
            ("/team/m/config.json", "", key),
        ] {
            let wish = Wish::parse(path, query).unwrap();
            assert!(wish.is_granted(&source(), good), "{path}");
            assert!(!wish.is_granted(&source(), "Bearer other"), "{path}");
        }
    }
}
