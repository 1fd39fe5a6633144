//! Lines of people's files, which hold more than is asked for.
//!
//! Owns that members of other names are passed over here, while the routes refuse them. Must not
//! know what members mean.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The value that the members of these names make.
///
/// # Errors
/// When the line is no object, or they make none.
pub(crate) fn of_members<T: DeserializeOwned>(
    line: &[u8],
    names: &[&str],
) -> Result<T, serde_json::Error> {
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_slice(line)?;
    members.retain(|name, _| names.contains(&name.as_str()));
    serde_json::from_str(&serde_json::to_string(&members)?)
}

#[cfg(test)]
mod tests {
    use inference_api::native::PredictRequest;

    use super::*;

    #[test]
    fn members_of_other_names_are_passed_over() {
        let line = r#"{"id":7,"text":"a\u0062","cont\u0065xt":"q","source":{"text":1}}"#;
        let request: PredictRequest =
            of_members(line.as_bytes(), &PredictRequest::MEMBERS).unwrap();
        assert_eq!(request.text.as_deref(), Some("ab"));
        assert_eq!(request.context.as_deref(), Some("q"));
    }
}
