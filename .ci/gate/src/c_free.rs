//! Nothing in the tree compiles or links C, on any platform, for builds and tests alike.

use std::collections::BTreeMap;

use crate::metadata::{Metadata, PLATFORMS, Reached};
use crate::{Report, Result};

/// Packages whose only purpose is to compile C or to find C libraries.
const TOOLS_FOR_C: [&str; 11] = [
    "autotools",
    "bindgen",
    "cc",
    "clang-sys",
    "cmake",
    "cxx-build",
    "gcc",
    "nasm-rs",
    "pkg-config",
    "system-deps",
    "vcpkg",
];

/// Packages that state `links` without linking anything native, each with the reason.
const LINKS_WITHOUT_C: [(&str, &str); 1] =
    [("rayon-core", "states `links` so that only one version of it gets into a program")];

pub(crate) fn check() -> Result<Report> {
    let mut accused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut counts = Vec::new();
    for platform in PLATFORMS {
        let metadata = Metadata::load(platform)?;
        let reached = metadata.reached()?;
        counts.push(format!("{} packages for {platform}", reached.len()));
        for accusation in judge(&reached) {
            accused.entry(accusation).or_default().push(platform);
        }
    }
    let with_platforms =
        |(accusation, on): (String, Vec<&str>)| format!("{accusation}, on {}", on.join(", "));
    Ok(Report {
        checked: counts.join(", "),
        findings: accused.into_iter().map(with_platforms).collect(),
    })
}

fn judge(reached: &[Reached<'_>]) -> Vec<String> {
    reached.iter().filter_map(accuse).collect()
}

fn accuse(one: &Reached<'_>) -> Option<String> {
    let package = one.package;
    let reason = if TOOLS_FOR_C.contains(&package.name.as_str()) {
        "compiles or finds C".to_owned()
    } else if LINKS_WITHOUT_C.iter().any(|(name, _)| *name == package.name) {
        return None;
    } else {
        format!("links the native library {}", package.links.as_deref()?)
    };
    let version = &package.version;
    Some(format!("{} {version} {reason}", one.path))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::metadata::tests::graph;

    fn links(package: usize, library: &str) -> impl Fn(&mut Value) {
        move |answer| answer["packages"][package]["links"] = json!(library)
    }

    #[test]
    fn a_tree_of_plain_packages_passes() {
        let metadata = graph(
            &[("log", &["libc", "linux-raw-sys"]), ("libc", &[]), ("linux-raw-sys", &[])],
            |_| (),
        );
        assert_eq!(judge(&metadata.reached().unwrap()), [""; 0]);
    }

    #[test]
    fn every_tool_for_c_is_found_with_the_way_to_it() {
        for tool in TOOLS_FOR_C {
            let metadata = graph(&[("log", &["engine"]), ("engine", &[tool]), (tool, &[])], |_| ());
            let expected = format!("log > engine > {tool} 1.0.0 compiles or finds C");
            assert_eq!(judge(&metadata.reached().unwrap()), [expected]);
        }
    }

    #[test]
    fn a_native_library_is_found() {
        let metadata = graph(&[("log", &["zlib"]), ("zlib", &[])], links(1, "z"));
        let found = judge(&metadata.reached().unwrap());
        assert_eq!(found, ["log > zlib 1.0.0 links the native library z"]);
    }

    #[test]
    fn a_named_exception_passes_and_only_under_its_name() {
        let rayon: &[(&str, &[&str])] = &[("log", &["rayon-core"]), ("rayon-core", &[])];
        let metadata = graph(rayon, links(1, "rayon-core"));
        assert_eq!(judge(&metadata.reached().unwrap()), [""; 0]);
        let other: &[(&str, &[&str])] = &[("log", &["rayon"]), ("rayon", &[])];
        let metadata = graph(other, links(1, "rayon-core"));
        assert_eq!(judge(&metadata.reached().unwrap()).len(), 1);
    }

    #[test]
    fn what_the_platform_leaves_out_is_not_held_against_the_tree() {
        let metadata = graph(&[("log", &[]), ("cc", &[])], |_| ());
        assert_eq!(judge(&metadata.reached().unwrap()), [""; 0]);
    }

    #[test]
    fn the_bans_for_cargo_deny_are_the_same() {
        let bans = include_str!("../../../deny.toml");
        let banned = bans.lines().filter(|line| line.contains("# C"));
        assert_eq!(banned.count(), TOOLS_FOR_C.len());
        for tool in TOOLS_FOR_C {
            assert!(bans.contains(&format!("{{ crate = \"{tool}\"")), "{tool}");
        }
    }
}
