//! Texts that are refused or cleaned. Off by default: a reward model scores code and HTML as they
//! are.

use inference_api::{Input, Problem};

/// What the production guide refused.
pub(crate) const GUIDE_PATTERNS: &str = "<script,javascript:,data:text/html,vbscript:";

/// What is done to texts before they are scored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Lower case.
    patterns: Vec<String>,
    sanitize: bool,
}

impl Filter {
    pub(crate) fn new(patterns: &[String], sanitize: bool) -> Self {
        let patterns = patterns.iter().filter(|pattern| !pattern.is_empty());
        Self {
            patterns: patterns.map(|pattern| pattern.to_lowercase()).collect(),
            sanitize,
        }
    }

    /// Refuses unwanted patterns, then removes tags and control characters.
    ///
    /// # Errors
    /// 422 with the pattern.
    pub(crate) fn apply(&self, input: &mut Input) -> Result<(), Problem> {
        if self.patterns.is_empty() && !self.sanitize {
            return Ok(());
        }
        for text in input.strings_mut() {
            let lower = text.to_lowercase();
            if let Some(pattern) = self.patterns.iter().find(|p| lower.contains(p.as_str())) {
                return Err(Problem::unprocessable(format!(
                    "the text contains {pattern:?}, which this server refuses: remove it"
                )));
            }
            if self.sanitize {
                *text = sanitized(text);
            }
        }
        Ok(())
    }
}

/// The text without tags and without control characters other than tabs and line ends.
fn sanitized(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        clean.push_str(before);
        if let Some((_, behind)) = after.split_once('>') {
            rest = behind;
        } else {
            // No tag begins here, nor behind: a comparison, say. To look on for the end of each would
            // take the square of the time.
            clean.push('<');
            rest = after;
            break;
        }
    }
    clean.push_str(rest);
    clean.retain(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide() -> Filter {
        let patterns: Vec<_> = GUIDE_PATTERNS.split(',').map(str::to_owned).collect();
        Filter::new(&patterns, false)
    }

    #[test]
    fn nothing_is_touched_by_default() {
        let mut input = Input::Text("<script>\u{0}</script>".to_owned());
        Filter::default().apply(&mut input).unwrap();
        assert_eq!(input, Input::Text("<script>\u{0}</script>".to_owned()));
    }

    #[test]
    fn the_guides_patterns_are_found_in_every_string_and_case() {
        for text in ["a <SCRIPT>", "JavaScript:x", "data:text/html;", "vbscript:"] {
            let mut input = Input::answer(Some("fine".to_owned()), text.to_owned());
            let problem = guide().apply(&mut input).unwrap_err();
            assert_eq!(problem.status, 422);
        }
        assert!(
            guide()
                .apply(&mut Input::Text("a script".to_owned()))
                .is_ok()
        );
    }

    #[test]
    fn a_text_of_brackets_takes_no_longer_than_another() {
        let text = "<".repeat(2_000_000);
        let began = std::time::Instant::now();
        assert_eq!(sanitized(&text), text);
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    }

    #[test]
    fn tags_and_control_characters_are_removed() {
        for (text, expected) in [
            ("a <b>c</b>\n\td\u{7}\u{0}", "a c\n\td"),
            ("1 < 2", "1 < 2"),
            ("<<b>x", "x"),
            ("<b>1 < 2 < 3", "1 < 2 < 3"),
            ("<", "<"),
            ("", ""),
        ] {
            assert_eq!(sanitized(text), expected, "{text}");
        }
    }
}
