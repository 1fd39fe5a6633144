//! CSV as RFC 4180 has it.
//!
//! Invariant: every character of a cell is kept; a quote that is not closed is an error, and never eats the rest.

/// The records of a text with the line that each begins at; empty lines are none.
pub(super) fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut records = Vec::new();
    let (mut line, mut began) = (1, 1);
    let (mut cells, mut cell) = (Vec::new(), String::new());
    let mut quoted = None::<usize>;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match (letter, quoted) {
            ('"', Some(_)) if letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            ('"', Some(_)) => quoted = None,
            ('"', None) if cell.is_empty() => quoted = Some(line),
            ('"', None) => {
                return Err(format!(
                    "line {line}: a quote within a cell that does not begin with one"
                ));
            }
            (',', None) => cells.push(std::mem::take(&mut cell)),
            ('\r', None) if letters.peek() == Some(&'\n') => {}
            ('\n', None) => {
                end(&mut records, began, &mut cells, &mut cell);
                began = line;
            }
            (letter, _) => cell.push(letter),
        }
    }
    if let Some(line) = quoted {
        return Err(format!("line {line}: a quote is not closed"));
    }
    end(&mut records, began, &mut cells, &mut cell);
    Ok(records)
}

fn end(
    records: &mut Vec<(usize, Vec<String>)>,
    line: usize,
    cells: &mut Vec<String>,
    cell: &mut String,
) {
    if cells.is_empty() && cell.is_empty() {
        return;
    }
    cells.push(std::mem::take(cell));
    records.push((line, std::mem::take(cells)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_line_ends_are_kept() {
        let read = records("a,b\r\n\"x,\"\"1\n2\",\n\n3,4").unwrap();
        let row = |line, cells: [&str; 2]| (line, cells.map(str::to_owned).to_vec());
        assert_eq!(
            read,
            [
                row(1, ["a", "b"]),
                row(2, ["x,\"1\n2", ""]),
                row(5, ["3", "4"])
            ]
        );
        assert_eq!(records("").unwrap(), []);
    }

    #[test]
    fn a_quote_that_is_not_closed_says_where_it_began() {
        assert_eq!(
            records("a\nb,\"c\nd").unwrap_err(),
            "line 2: a quote is not closed"
        );
        assert!(records("a\"b").unwrap_err().contains("line 1"));
    }
}
