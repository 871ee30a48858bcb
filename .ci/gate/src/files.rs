//! The files of the repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;

/// A text file of the repository.
pub(crate) struct Text {
    /// From the root of the repository.
    pub(crate) name: String,
    pub(crate) content: String,
}

/// Every text file that is tracked, or is new and not ignored. Other files are left out.
pub(crate) fn texts(root: &Path) -> Result<Vec<Text>> {
    // A clone in a container often belongs to another user, which git refuses by default.
    let output = Command::new("git")
        .current_dir(root)
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("git ls-files failed: {said}").into());
    }
    let names = String::from_utf8(output.stdout)?;
    let mut texts = Vec::new();
    for name in names.split_terminator('\0') {
        let path = root.join(name);
        // A file that was removed and not yet committed is still listed.
        if path.is_file()
            && let Ok(content) = String::from_utf8(fs::read(path)?)
        {
            let name = name.to_owned();
            texts.push(Text { name, content });
        }
    }
    if texts.is_empty() {
        return Err("git lists no files here".into());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracked_and_new_texts_are_listed_and_ignored_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.current_dir(dir.path()).args(arguments);
            assert!(command.status().unwrap().success());
        };
        git(&["init", "--quiet"]);
        for (name, content) in [
            (".gitignore", &b"ignored"[..]),
            ("ignored", b""),
            ("new", b""),
            ("removed", b""),
            ("tracked", b"text"),
            ("picture", b"\xff\xfe"),
        ] {
            fs::write(dir.path().join(name), content).unwrap();
        }
        git(&["add", "tracked", "removed", "picture"]);
        fs::remove_file(dir.path().join("removed")).unwrap();
        let texts = texts(dir.path()).unwrap();
        let mut names: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, [".gitignore", "new", "tracked"]);
    }

    #[test]
    fn a_directory_that_is_no_repository_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(texts(dir.path()).is_err());
    }
}
