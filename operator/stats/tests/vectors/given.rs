//! What a case gives, and how numbers are written in it.

use serde_json::{Value, json};
use stats::{Alpha, BetaPrior, Estimate, Factor, Interval, Kappa, LogE, Moments, Scale, Share};

/// A part of a case.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a>(pub(crate) &'a Value);

impl<'a> Given<'a> {
    pub(crate) fn of(self, name: &str) -> Self {
        Self(
            self.0
                .get(name)
                .unwrap_or_else(|| panic!("no {name} in {}", self.0)),
        )
    }

    pub(crate) fn is_null(self, name: &str) -> bool {
        self.of(name).0.is_null()
    }

    pub(crate) fn number(self, name: &str) -> f64 {
        number(self.of(name).0)
    }

    pub(crate) fn count(self, name: &str) -> u64 {
        count(self.of(name).0)
    }

    pub(crate) fn flag(self, name: &str) -> bool {
        self.of(name).0.as_bool().unwrap()
    }

    pub(crate) fn text(self, name: &str) -> &'a str {
        self.of(name).0.as_str().unwrap()
    }

    pub(crate) fn array(self, name: &str) -> &'a Vec<Value> {
        self.of(name).0.as_array().unwrap()
    }

    pub(crate) fn numbers(self, name: &str) -> Vec<f64> {
        self.array(name).iter().map(number).collect()
    }

    pub(crate) fn counts(self, name: &str) -> Vec<u64> {
        self.array(name).iter().map(count).collect()
    }

    pub(crate) fn each(self, name: &str) -> impl Iterator<Item = Self> {
        self.array(name).iter().map(Self)
    }

    pub(crate) fn alpha(self, name: &str) -> Alpha {
        Alpha::new(self.number(name)).unwrap()
    }

    pub(crate) fn scale(self, name: &str) -> Scale {
        Scale::new(self.number(name)).unwrap()
    }

    pub(crate) fn share(self, name: &str) -> Share {
        Share::new(self.number(name)).unwrap()
    }

    pub(crate) fn kappa(self, name: &str) -> Kappa {
        Kappa::new(self.number(name)).unwrap()
    }

    pub(crate) fn factor(self, name: &str) -> Factor {
        Factor::new(self.number(name)).unwrap()
    }

    pub(crate) fn prior(self) -> BetaPrior {
        BetaPrior::new(self.number("a"), self.number("b")).unwrap()
    }

    pub(crate) fn moments(self) -> Moments {
        let sums = (self.count("n"), self.number("sum"), self.number("sumsq"));
        Moments::new(sums.0, sums.1, sums.2).unwrap()
    }
}

/// A number, or an infinity by its name.
pub(crate) fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        Some(_) | None => value.as_f64().unwrap(),
    }
}

/// A count, which a file may also write with a point.
pub(crate) fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| {
        let number = value.as_f64().unwrap();
        assert!(
            (0.0..9e15).contains(&number) && number.fract() == 0.0,
            "{value} is no count"
        );
        format!("{number:.0}").parse().unwrap()
    })
}

/// A number as a case has it.
pub(crate) fn written(number: f64) -> Value {
    if number == f64::INFINITY {
        json!("inf")
    } else if number == f64::NEG_INFINITY {
        json!("-inf")
    } else if number.is_nan() {
        json!("nan")
    } else {
        json!(number)
    }
}

pub(crate) fn maybe(number: Option<f64>) -> Value {
    number.map_or(Value::Null, written)
}

pub(crate) fn ends(interval: Interval) -> Value {
    json!([written(interval.low), written(interval.high)])
}

pub(crate) fn estimate(estimate: Option<Estimate>) -> Value {
    json!({
        "est": maybe(estimate.map(Estimate::effect)),
        "se": maybe(estimate.map(Estimate::error)),
    })
}

pub(crate) fn evidence(evidence: LogE) -> Value {
    json!({
        "ln_e_two": written(evidence.two_sided),
        "ln_e_greater": written(evidence.greater),
        "ln_e_less": written(evidence.less),
    })
}
