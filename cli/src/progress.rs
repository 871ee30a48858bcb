//! Bars on a terminal, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts `what` up to `len`.
pub(crate) fn bar(doing: &'static str, len: u64, what: &str) -> ProgressBar {
    let template = format!("{{prefix:9}} {{wide_bar}} {{pos}}/{{len}} {what} {{eta}}");
    let style = ProgressStyle::with_template(&template);
    let bar = ProgressBar::new(len).with_prefix(doing);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
