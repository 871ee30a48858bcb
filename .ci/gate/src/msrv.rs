//! No package of the tree asks for a newer compiler than the workspace promises.

use std::collections::BTreeSet;

use crate::metadata::{Metadata, PLATFORMS};
use crate::{Report, Result};

pub(crate) fn check() -> Result<Report> {
    let mut findings = BTreeSet::new();
    let mut silent = BTreeSet::new();
    let mut promise = Version::default();
    for platform in PLATFORMS {
        let metadata = Metadata::load(platform)?;
        promise = judge(&metadata, &mut findings, &mut silent)?;
    }
    let (major, minor, patch) = promise;
    let checked = format!(
        "packages that must build with Rust {major}.{minor}.{patch}; these state no version: {}",
        silent.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(Report { checked, findings })
}

type Version = (u32, u32, u32);

/// Adds what is wrong to `findings` and who states nothing to `silent`; answers the oldest
/// version that a member promises.
fn judge(
    metadata: &Metadata,
    findings: &mut BTreeSet<String>,
    silent: &mut BTreeSet<String>,
) -> Result<Version> {
    let mut promises = BTreeSet::new();
    for member in metadata.members()? {
        match &member.rust_version {
            Some(stated) => _ = promises.insert(parse(stated)?),
            None => _ = findings.insert(format!("{} states no rust-version", member.name)),
        }
    }
    let promise = *promises.first().ok_or("no member states a rust-version")?;
    if promises.len() > 1 {
        findings.insert("the members state different rust-versions".to_owned());
    }
    for one in metadata.reached()? {
        let name = format!("{} {}", one.package.name, one.package.version);
        match &one.package.rust_version {
            Some(stated) if parse(stated)? > promise => {
                findings.insert(format!("{} asks for Rust {stated} ({name})", one.path));
            }
            Some(_) => (),
            None => _ = silent.insert(name),
        }
    }
    Ok(promise)
}

/// `1.90` and `1.90.0` are the same version.
fn parse(stated: &str) -> Result<Version> {
    let mut parts = stated.split('.').map(str::parse);
    let mut part = || parts.next().unwrap_or(Ok(0));
    match (part(), part(), part()) {
        (Ok(major), Ok(minor), Ok(patch)) => Ok((major, minor, patch)),
        _ => Err(format!("{stated} is not a version of Rust").into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::metadata::tests::graph;

    /// What is found in a member that promises `promise` over a package that asks for `asked`.
    fn found(promise: Option<&str>, asked: Option<&str>) -> Result<BTreeSet<String>> {
        let metadata = graph(&[("log", &["old"]), ("old", &[])], |answer| {
            answer["packages"][0]["rust_version"] = json!(promise);
            answer["packages"][1]["rust_version"] = json!(asked);
        });
        let mut findings = BTreeSet::new();
        judge(&metadata, &mut findings, &mut BTreeSet::new())?;
        Ok(findings)
    }

    #[test]
    fn packages_up_to_the_promise_pass() {
        for asked in [None, Some("1.9"), Some("1.90"), Some("1.90.0")] {
            assert!(found(Some("1.90"), asked).unwrap().is_empty(), "{asked:?}");
        }
    }

    #[test]
    fn a_package_over_the_promise_is_found() {
        for asked in ["1.90.1", "1.91", "2.0"] {
            let expected = format!("log > old asks for Rust {asked} (old 1.0.0)");
            let found = found(Some("1.90"), Some(asked)).unwrap();
            assert_eq!(found.into_iter().collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn a_workspace_without_a_promise_is_an_error() {
        assert!(found(None, None).is_err());
        assert!(found(Some("new"), None).is_err());
    }
}
