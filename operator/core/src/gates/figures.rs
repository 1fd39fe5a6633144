//! Numbers as a status shows them.
//!
//! Invariant: what is written is a decimal of at most 32 characters, without an exponent, so that it
//! reads back as the number that was written.

use crds::value::Decimal;

/// Digits that a reader can use.
const SHOWN: i32 = 6;
/// Digits of what is computed with again.
const KEPT: i32 = 12;
/// Digits behind the point at most.
const LAST: i32 = 24;
/// No number that is shown is larger.
const LARGEST: f64 = 1e24;

/// For a reader: six digits. `None` where it is not finite, or beyond 1e24.
pub(crate) fn shown(value: f64) -> Option<Decimal> {
    decimal(value, SHOWN)
}

/// To be computed with again: twelve digits.
pub(crate) fn kept(value: f64) -> Option<Decimal> {
    decimal(value, KEPT)
}

/// The number that was written.
pub(crate) fn number(decimal: &Decimal) -> Option<f64> {
    let text = decimal.as_str();
    let plain = |c: char| c.is_ascii_digit() || c == '-' || c == '.';
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
    value.filter(|_| text.len() <= 32 && text.chars().all(plain))
}

fn decimal(value: f64, digits: i32) -> Option<Decimal> {
    if !value.is_finite() || value.abs() > LARGEST {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "between -324 and 24")]
    let before = if value == 0.0 {
        1
    } else {
        value.abs().log10().floor() as i32 + 1
    };
    let places = usize::try_from((digits - before).clamp(0, LAST)).unwrap_or(0);
    let text = format!("{value:.places$}");
    let text = match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.'),
        None => &text,
    };
    Some(Decimal::from(if text == "-0" { "0" } else { text }))
}

/// A share, for a sentence: `3.02 %`.
pub(crate) fn percent(share: f64) -> String {
    let text = shown(100.0 * share).map_or_else(|| "?".to_owned(), |text| text.to_string());
    format!("{text} %")
}

/// A number, for a sentence.
pub(crate) fn plain(value: f64) -> String {
    shown(value).map_or_else(|| "?".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_short_and_without_an_exponent() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.05, "0.05"),
            (1.0 / 3.0, "0.333333"),
            (-2.5e-9, "-0.0000000025"),
            (123_456.789, "123457"),
            (1e20, "100000000000000000000"),
            (1e-40, "0"),
        ] {
            assert_eq!(shown(value).unwrap().as_str(), text);
        }
        for bad in [f64::NAN, f64::INFINITY, 1e25] {
            assert_eq!(shown(bad), None);
        }
        assert_eq!(
            (percent(0.0302).as_str(), plain(f64::NAN).as_str()),
            ("3.02 %", "?")
        );
    }

    #[test]
    fn what_is_no_decimal_is_no_number() {
        for text in ["", "nan", "inf", "1e5", "0x1", "one", "1.2.3"] {
            assert_eq!(number(&Decimal::from(text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_reads_back_as_it_was_written(value in -1e9_f64..1e9, scale in -12_i32..1) {
            let value = value * 10_f64.powi(scale);
            let written = kept(value).unwrap();
            let read = number(&written).unwrap();
            prop_assert_eq!(kept(read), Some(written));
            prop_assert!((read - value).abs() <= 1e-11 * value.abs() + 1e-24);
        }
    }
}
