//! What Prometheus' HTTP API answered, as a gate takes it.
//!
//! Invariant: only one number in one series is a value; everything else says what it is.

use serde::Deserialize;
use serde_json::Value;

use super::PrometheusAnswer;

/// Bytes of an answer that are read: one number has some hundred.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// An answer of `/api/v1/query`.
#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

impl PrometheusAnswer {
    /// Of a body of `/api/v1/query`, whatever its status was.
    pub fn read(body: &[u8]) -> Self {
        let answer: Answer = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(_) => {
                return Self::Unreachable(
                    "what answers is no Prometheus: see --prometheus-url".to_owned(),
                );
            }
        };
        if answer.status != "success" {
            return Self::Unreachable(format!("Prometheus refuses the query: {}", answer.error));
        }
        let Some(data) = answer.data else {
            return Self::Empty;
        };
        match (data.result_type.as_str(), &data.result) {
            ("vector", Value::Array(series)) => match series.as_slice() {
                [] => Self::Empty,
                [one] => one.get("value").map_or(Self::NotANumber, number),
                several => Self::Several(several.len()),
            },
            ("scalar", sample) => number(sample),
            ("string", _) => Self::NotANumber,
            (other, _) => Self::NotAVector(other.to_owned()),
        }
    }
}

impl PrometheusAnswer {
    /// The one number.
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Empty
            | Self::NotANumber
            | Self::Several(_)
            | Self::NotAVector(_)
            | Self::Unreachable(_) => None,
        }
    }
}

/// Of a sample: a time, and a number in a string. What is no finite number stays for who judges.
fn number(sample: &Value) -> PrometheusAnswer {
    let text = sample.get(1).and_then(Value::as_str).unwrap_or_default();
    let read = match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        text => text.parse(),
    };
    read.map_or(PrometheusAnswer::NotANumber, PrometheusAnswer::Value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(series: Value) -> PrometheusAnswer {
        let body = json!({"status": "success", "data": {"resultType": "vector", "result": series}});
        PrometheusAnswer::read(body.to_string().as_bytes())
    }

    #[test]
    fn one_number_in_one_series_is_a_value() {
        let one = json!([{"metric": {}, "value": [1.5, "0.25"]}]);
        assert_eq!(vector(one), PrometheusAnswer::Value(0.25));
        let scalar = br#"{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}"#;
        assert_eq!(PrometheusAnswer::read(scalar), PrometheusAnswer::Value(3.0));
        let infinite = json!([{"value": [1, "+Inf"]}]);
        assert_eq!(vector(infinite), PrometheusAnswer::Value(f64::INFINITY));
    }

    #[test]
    fn everything_else_says_what_it_is() {
        assert_eq!(vector(json!([])), PrometheusAnswer::Empty);
        let two = json!([{"value": [1, "1"]}, {"value": [1, "2"]}]);
        assert_eq!(vector(two), PrometheusAnswer::Several(2));
        let word = json!([{"value": [1, "one"]}]);
        assert_eq!(vector(word), PrometheusAnswer::NotANumber);
        assert!(
            matches!(vector(json!([{"value": [1, "NaN"]}])), PrometheusAnswer::Value(nan) if nan.is_nan())
        );
        let string = br#"{"status":"success","data":{"resultType":"string","result":[1,"3"]}}"#;
        assert_eq!(PrometheusAnswer::read(string), PrometheusAnswer::NotANumber);
        let matrix = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        let is = PrometheusAnswer::NotAVector("matrix".to_owned());
        assert_eq!(PrometheusAnswer::read(matrix), is);
    }

    #[test]
    fn what_refuses_or_is_no_prometheus_is_not_reached() {
        let refused =
            br#"{"status":"error","errorType":"bad_data","error":"1:3: parse error: unexpected end"}"#;
        for (body, words) in [
            (&refused[..], "parse error"),
            (b"<html>404</html>", "--prometheus-url"),
            (b"", "--prometheus-url"),
        ] {
            let read = PrometheusAnswer::read(body);
            let is_told =
                matches!(&read, PrometheusAnswer::Unreachable(why) if why.contains(words));
            assert!(is_told, "{read:?}");
        }
    }
}
