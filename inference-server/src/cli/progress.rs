//! Progress of long work: how far, how fast, how long still. Only on a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Progress over bytes, whose number may not be known.
pub(crate) fn bytes(what: &'static str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        None => "{msg} {bytes} {bytes_per_sec} {elapsed}",
    };
    bar(what, total, template)
}

/// Progress over things that are counted.
pub(crate) fn count(what: &'static str, total: u64) -> ProgressBar {
    bar(
        what,
        Some(total),
        "{msg} {wide_bar} {pos}/{len} {per_sec} {eta} left",
    )
}

fn bar(what: &'static str, total: Option<u64>, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    total
        .map_or_else(ProgressBar::new_spinner, ProgressBar::new)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}
