//! What must not be in any file: stubs, examples that nobody runs, places of one machine.

use std::collections::BTreeSet;
use std::path::Path;

use crate::files::{Text, texts};
use crate::{Report, Result};

/// Each in two halves, so that this file does not have it.
const FORBIDDEN: [&str; 11] = [
    concat!("to", "do!("),
    concat!("un", "implemented!("),
    concat!("```", "ignore"),
    concat!("```", "no_run"),
    concat!("```", "rust,ignore"),
    concat!("```", "rust,no_run"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/", "target"),
    concat!("replace-", "with"),
];

/// How cargo writes that a package comes from a registry.
const FROM_A_REGISTRY: [&str; 2] = [concat!("regi", "stry+"), concat!("spar", "se+")];
/// The only registry of this workspace, in the words of a lock file.
const CRATES_IO: &str = "https://github.com/rust-lang/crates.io-index";

pub(crate) fn check() -> Result<Report> {
    let files = texts(Path::new("."))?;
    let findings: BTreeSet<String> = files.iter().flat_map(judge).collect();
    let checked = format!("{} files", files.len());
    Ok(Report { checked, findings })
}

fn judge(file: &Text) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(file.content.lines()) {
        let forbidden = FORBIDDEN.iter().find(|word| line.contains(**word));
        if let Some(word) = forbidden {
            findings.push(format!("{}:{number} has {word}", file.name));
        }
        if names_other_registry(line) {
            findings.push(format!("{}:{number} names another registry", file.name));
        }
    }
    findings
}

fn names_other_registry(line: &str) -> bool {
    FROM_A_REGISTRY.iter().any(|prefix| {
        let mut places = line.split(prefix);
        places.next();
        places.any(|place| !place.starts_with(CRATES_IO))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<String> {
        judge(&Text { name: "a".to_owned(), content: format!("first\n{line}\n") })
    }

    #[test]
    fn plain_lines_pass() {
        for line in ["// A network/rootless homework.", "```text", "```rust", "/tmp/store"] {
            assert_eq!(found(line), [""; 0]);
        }
    }

    #[test]
    fn every_forbidden_word_is_found_with_its_line() {
        for word in FORBIDDEN {
            assert_eq!(found(&format!("x {word} y")), [format!("a:2 has {word}")]);
        }
    }

    #[test]
    fn one_registry_passes_and_every_other_is_found() {
        let [full, sparse] = FROM_A_REGISTRY;
        assert_eq!(found(&format!("source = \"{full}{CRATES_IO}\"")), [""; 0]);
        for other in [format!("{full}https://a.example/index"), format!("{sparse}https://b/")] {
            assert_eq!(found(&other), ["a:2 names another registry"], "{other}");
        }
    }
}
