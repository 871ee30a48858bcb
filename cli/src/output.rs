//! What goes to standard output, and bytes as a terminal can take them.

use std::io::{self, Write};

use serde_json::Value;

use crate::exit::Failure;

/// Prints a text of whole lines. It is no failure that nobody reads it to the end.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::output(&error)),
        _ => Ok(()),
    }
}

pub(crate) fn print_json(document: &Value) -> Result<(), Failure> {
    print(&format!("{document:#}\n"))
}

/// Bytes as ASCII, the others escaped, in at most `width` columns; `…` stands for what is left
/// out.
pub(crate) fn preview(bytes: &[u8], width: usize) -> String {
    let mut text = String::new();
    // Each byte takes at least one column.
    for &byte in bytes.iter().take(width.saturating_add(1)) {
        text.extend(byte.escape_ascii().map(char::from));
    }
    cut(&text, width)
}

/// A line of text without control characters, in at most `width` columns.
pub(crate) fn printable(line: &str, width: usize) -> String {
    let mut text = String::new();
    for character in line.chars().take(width.saturating_add(1)) {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    cut(&text, width)
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    text.chars().take(kept).chain(['…']).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A number, or `-` for none.
pub(crate) fn number(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_ascii_and_never_too_wide() {
        assert_eq!(preview(b"a\x1b[31m\n", 80), "a\\x1b[31m\\n");
        assert_eq!(preview(b"abc", 3), "abc");
        assert_eq!(preview(b"abcd", 3), "ab…");
        for width in 1..9 {
            assert!(preview(&[0xff; 100], width).chars().count() <= width);
        }
        assert_eq!(preview(b"abc", 0), "…");
    }

    #[test]
    fn a_decoders_line_cannot_steer_the_terminal() {
        assert_eq!(printable("größe\u{1b}[2J", 80), "größe\\u{1b}[2J");
        assert_eq!(printable("größe", 4), "grö…");
    }
}
