//! Files, functions and lines of Rust keep their limits. There are no exceptions.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::files::{Text, texts};
use crate::{Report, Result};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_LINE_CHARS: usize = 100;

pub(crate) fn check() -> Result<Report> {
    let mut files = texts(Path::new("."))?;
    files.retain(|file| Path::new(&file.name).extension() == Some(OsStr::new("rs")));
    let mut findings = BTreeSet::new();
    let mut functions = 0;
    for file in &files {
        let lengths = functions_of(&file.content)
            .map_err(|error| format!("{} is not Rust: {error}", file.name))?;
        functions += lengths.len();
        findings.extend(judge(file, &lengths));
    }
    let checked = format!("{} files with {functions} functions", files.len());
    Ok(Report { checked, findings })
}

/// A function with a body.
#[derive(Debug, PartialEq)]
struct Function {
    name: String,
    /// Of its `fn`, from 1.
    line: usize,
    /// From its `fn` to the end of its body; attributes and comments above do not count.
    lines: usize,
}

fn judge(file: &Text, functions: &[Function]) -> Vec<String> {
    let name = &file.name;
    let mut findings = Vec::new();
    let lines = file.content.lines().count();
    if lines > MAX_FILE_LINES {
        findings.push(format!("{name} has {lines} lines, over {MAX_FILE_LINES}"));
    }
    for (number, line) in (1..).zip(file.content.lines()) {
        let chars = line.chars().count();
        if chars > MAX_LINE_CHARS {
            findings.push(format!("{name}:{number} has {chars} characters, over {MAX_LINE_CHARS}"));
        }
    }
    for function in functions.iter().filter(|one| one.lines > MAX_FUNCTION_LINES) {
        let Function { name: function, line, lines } = function;
        findings.push(format!(
            "{name}:{line} fn {function} has {lines} lines, \
            over {MAX_FUNCTION_LINES}"
        ));
    }
    findings
}

/// Every function in the source, those inside functions and inside macro calls too.
fn functions_of(source: &str) -> Result<Vec<Function>> {
    let tokens: TokenStream = source.parse().map_err(|error| format!("{error}"))?;
    let mut functions = Vec::new();
    collect(tokens, &mut functions);
    Ok(functions)
}

fn collect(tokens: TokenStream, functions: &mut Vec<Function>) {
    // The name and line of the function whose body has not come yet.
    let mut open: Option<(String, usize)> = None;
    let mut after_fn = None;
    for token in tokens {
        let line_of_fn = after_fn.take();
        match token {
            TokenTree::Ident(ident) if ident == "fn" => {
                after_fn = Some(ident.span().start().line);
            }
            TokenTree::Ident(ident) => {
                // Without a name after it, `fn` begins a type.
                if let Some(line) = line_of_fn {
                    open = Some((ident.to_string(), line));
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => open = None,
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Brace
                    && let Some((name, line)) = open.take()
                {
                    let lines = group.span_close().end().line + 1 - line;
                    functions.push(Function { name, line, lines });
                }
                collect(group.stream(), functions);
            }
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &str) -> Vec<String> {
        let file = Text { name: "a.rs".to_owned(), content: content.to_owned() };
        judge(&file, &functions_of(content).unwrap())
    }

    fn function_of(lines: usize) -> String {
        format!("/// A comment.\nfn long() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_has_up_to_500_lines() {
        assert!(found(&"// x\n".repeat(500)).is_empty());
        assert_eq!(found(&"// x\n".repeat(501)), ["a.rs has 501 lines, over 500"]);
    }

    #[test]
    fn a_line_has_up_to_100_characters_however_many_bytes() {
        assert!(found(&format!("//{}", "ü".repeat(98))).is_empty());
        let long = found(&format!("//\n//{}", "x".repeat(99)));
        assert_eq!(long, ["a.rs:2 has 101 characters, over 100"]);
    }

    #[test]
    fn a_function_has_up_to_70_lines() {
        assert!(found(&function_of(70)).is_empty());
        assert_eq!(found(&function_of(71)), ["a.rs:2 fn long has 71 lines, over 70"]);
    }

    #[test]
    fn functions_are_found_wherever_they_are() {
        let source = "
            trait T { fn none(&self) -> [u8; 3]; const C: u8 = { 1 }; fn given(&self) { } }
            impl S { pub async fn method<F: Fn()>(f: fn(u8) -> u8) where F: Sync {
                fn inner() {
                }
            } }
            check! { #[test] fn made(x in 0..3) {
            } }
            const TEXT: &str = \"fn string() {\"; // fn comment() {
        ";
        let functions = functions_of(source).unwrap();
        let mut lengths: Vec<(&str, usize)> =
            functions.iter().map(|one| (one.name.as_str(), one.lines)).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [("given", 1), ("inner", 2), ("made", 2), ("method", 4)]);
    }

    #[test]
    fn what_is_not_rust_is_an_error() {
        assert!(functions_of("fn broken( {").is_err());
    }
}
