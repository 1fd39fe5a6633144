//! From a body to a value, in the order of checks: size, type, JSON, meaning.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use inference_api::Problem;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Reads a JSON body of at most `limit` bytes.
///
/// # Errors
/// 413, 415, 400 or 422, in this order.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, Problem> {
    let too_large = || {
        Problem::too_large(format!(
            "the body has more than {limit} bytes: send several requests, or raise --max-body-bytes"
        ))
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if announced
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_large());
    }
    require_json(headers)?;
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|error| {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            if error.to_string().contains("length limit exceeded") {
                return too_large();
            }
            source = error.source();
        }
        Problem::bad_request("the body ended early")
    })?;
    serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
        Category::Data => Problem::unprocessable(format!("the body does not fit: {error}")),
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::bad_request(format!("the body is not JSON: {error}"))
        }
    })
}

/// A missing content type is taken for JSON, as curl without a header means it.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = kind
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type(
            "send the body as application/json",
        ))
    }
}
