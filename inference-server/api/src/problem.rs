//! Errors as RFC 9457 problem details. They carry no path, no stack and no secret.

use serde::Serialize;
use utoipa::ToSchema;

/// An error as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do.
    pub detail: String,
    /// The request that it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The item of a batch that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Seconds after which to try again; sent as a header.
    #[serde(skip)]
    pub retry_after: Option<u32>,
    /// Whether an input has more tokens than are allowed; dialects have statuses of their own for it.
    #[serde(skip)]
    pub too_long: bool,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:literal $title:literal;)+) => {
        impl Problem {
            $($(#[$doc])*
            pub fn $name(detail: impl Into<String>) -> Self {
                Self::new($status, $title, detail.into())
            })+
        }
    };
}

problems! {
    /// The body is not JSON.
    bad_request = 400 "Bad Request";
    /// There are no valid credentials.
    unauthorized = 401 "Unauthorized";
    /// The credentials do not allow this.
    forbidden = 403 "Forbidden";
    /// There is no such route.
    not_found = 404 "Not Found";
    /// The route does not know this method.
    method_not_allowed = 405 "Method Not Allowed";
    /// The body came too slowly.
    request_timeout = 408 "Request Timeout";
    /// The server's state or settings do not allow this.
    conflict = 409 "Conflict";
    /// The body is too large.
    too_large = 413 "Content Too Large";
    /// The body is of another type than JSON.
    unsupported_media_type = 415 "Unsupported Media Type";
    /// The body is JSON, and cannot be scored.
    unprocessable = 422 "Unprocessable Content";
    /// The server has no room.
    too_many_requests = 429 "Too Many Requests";
    /// The server failed.
    internal = 500 "Internal Server Error";
    /// The model is not there yet, or the server is leaving.
    unavailable = 503 "Service Unavailable";
    /// The answer would come too late.
    timeout = 504 "Gateway Timeout";
}

impl Problem {
    fn new(status: u16, title: &'static str, detail: String) -> Self {
        Self {
            kind: "about:blank",
            title,
            status,
            detail,
            instance: None,
            index: None,
            retry_after: None,
            too_long: false,
        }
    }

    /// The same, of item `index` of a batch.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// The same, of an input that has too many tokens.
    #[must_use]
    pub const fn of_length(mut self) -> Self {
        self.too_long = true;
        self
    }

    /// The same, with the advice to try again after so many seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}
