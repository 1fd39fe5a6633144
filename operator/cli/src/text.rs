//! Numbers and tables for people.

/// A whole number of something, in groups of three.
pub(crate) fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.ceil());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count.
#[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
pub(crate) fn count(number: i64) -> String {
    whole(number.max(0) as f64)
}

/// A number as somebody would write it: at most six digits that say something.
pub(crate) fn number(number: f64) -> String {
    let rounded: f64 = format!("{number:.5e}").parse().unwrap_or(number);
    format!("{rounded}")
}

/// Days, or hours where they are few.
pub(crate) fn days(days: f64) -> String {
    if days < 2.0 {
        format!("{:.1} hours", 24.0 * days)
    } else {
        format!("{days:.1} days")
    }
}

/// Columns, as wide as what is in them, two spaces between; the last as long as it is.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let many = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..many).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<0$}", *width))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(whole(0.2), "1");
        assert_eq!(whole(999.0), "999");
        assert_eq!(whole(1_234_567.0), "1,234,567");
        assert_eq!(number(0.1 + 0.2), "0.3");
        assert_eq!(number(-0.000_123_456_789), "-0.000123457");
        assert_eq!(days(0.5), "12.0 hours");
        assert_eq!(days(2.25), "2.2 days");
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            columns(&[row(["a", "b"]), row(["long", ""])]),
            "a     b\nlong\n"
        );
    }
}
