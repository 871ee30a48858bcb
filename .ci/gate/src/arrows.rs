//! The arrows between the crates of the workspace point the way that ARCHITECTURE.md says.

use std::collections::BTreeSet;

use crate::metadata::{Metadata, PLATFORMS, Package};
use crate::{Report, Result};

const CONTRACT: &str = "kvlogdb-engine-api";
const FACADE: &str = "kvlogdb";
const LOG: &str = "kvlogdb-log";
const ADAPTER: &str = "kvlogdb-openraft";
const COMPARE: &str = "kvlogdb-compare";
const SUITE: &str = "kvlogdb-conformance";
/// Before the name of the library that an engine's crate is built on.
const ENGINE: &str = "kvlogdb-engine-";
/// These compare with the bare library, or break it on purpose.
const NEAR_THE_LIBRARIES: [&str; 2] = ["kvlogdb-benches", "kvlogdb-crash"];

pub(crate) fn check() -> Result<Report> {
    // Manifests are the same on every platform.
    let [platform, ..] = PLATFORMS;
    let metadata = Metadata::load(platform)?;
    let members = metadata.members()?;
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut findings = BTreeSet::new();
    let mut arrows = 0;
    for member in &members {
        arrows += member.dependencies.len();
        findings.extend(judge(member, &names));
    }
    let checked = format!("{} crates with {arrows} dependencies", members.len());
    Ok(Report { checked, findings })
}

fn judge(member: &Package, members: &BTreeSet<&str>) -> Vec<String> {
    let forbidden = member.dependencies.iter().filter(|dependency| {
        let (name, kind) = (dependency.name.as_str(), dependency.kind.as_deref());
        if members.contains(name) {
            !may_use(&member.name, name, kind)
        } else {
            let engine = format!("{ENGINE}{name}");
            members.contains(engine.as_str()) && !may_see(&member.name, &engine)
        }
    });
    forbidden
        .map(|dependency| format!("{} must not depend on {}", member.name, dependency.name))
        .collect()
}

fn is_engine(name: &str) -> bool {
    name.starts_with(ENGINE) && name != CONTRACT
}

/// Whether one member may depend on another.
fn may_use(from: &str, to: &str, kind: Option<&str>) -> bool {
    // Below the facade the suite is for tests only.
    let in_tests = to == SUITE && kind == Some("dev");
    match from {
        CONTRACT => in_tests,
        LOG => to == CONTRACT || in_tests,
        SUITE => to == CONTRACT || to == LOG,
        FACADE => to == CONTRACT || to == LOG || is_engine(to) || in_tests,
        "kvlogdb-cli" => !is_engine(to),
        ADAPTER => to == CONTRACT || to == LOG || kind == Some("dev") && to == FACADE,
        COMPARE => to == FACADE || to == CONTRACT || in_tests,
        engine if is_engine(engine) => to == CONTRACT || in_tests,
        _ => true,
    }
}

/// Whether a member may depend on the library behind an engine.
fn may_see(from: &str, engine: &str) -> bool {
    from == engine || NEAR_THE_LIBRARIES.contains(&from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(from: &str, to: &str, kind: Option<&str>) -> Vec<String> {
        let package = serde_json::from_value(json!({
            "id": from, "name": from, "version": "1.0.0", "links": null, "rust_version": null,
            "dependencies": [{ "name": to, "kind": kind }],
        }));
        let members = [
            "kvlogdb",
            "kvlogdb-compare",
            "kvlogdb-conformance",
            "kvlogdb-engine-api",
            "kvlogdb-engine-fjall",
            "kvlogdb-engine-redb",
            "kvlogdb-engine-sled",
            "kvlogdb-log",
        ];
        judge(&package.unwrap(), &BTreeSet::from(members))
    }

    #[test]
    fn arrows_that_point_down_pass() {
        for (from, to) in [
            ("kvlogdb", "kvlogdb-log"),
            ("kvlogdb", "kvlogdb-engine-redb"),
            ("kvlogdb-benches", "redb"),
            ("kvlogdb-cli", "kvlogdb"),
            ("kvlogdb-compare", "kvlogdb"),
            ("kvlogdb-crash", "kvlogdb-engine-redb"),
            ("kvlogdb-conformance", "kvlogdb-log"),
            ("kvlogdb-openraft", "kvlogdb-log"),
            ("kvlogdb-engine-redb", "kvlogdb-engine-api"),
            ("kvlogdb-engine-redb", "redb"),
            ("kvlogdb-log", "kvlogdb-engine-api"),
            ("kvlogdb-log", "bytes"),
        ] {
            assert_eq!(found(from, to, None), [""; 0], "{from} -> {to}");
        }
    }

    #[test]
    fn arrows_that_point_up_or_across_are_found() {
        for (from, to) in [
            ("kvlogdb", "redb"),
            ("kvlogdb-cli", "kvlogdb-engine-redb"),
            ("kvlogdb-cli", "redb"),
            ("kvlogdb-compare", "kvlogdb-engine-fjall"),
            ("kvlogdb-compare", "sled"),
            ("kvlogdb-conformance", "kvlogdb-engine-sled"),
            ("kvlogdb-engine-api", "kvlogdb-log"),
            ("kvlogdb-engine-fjall", "kvlogdb-engine-redb"),
            ("kvlogdb-engine-fjall", "kvlogdb-log"),
            ("kvlogdb-engine-fjall", "redb"),
            ("kvlogdb-log", "kvlogdb"),
            ("kvlogdb-log", "kvlogdb-engine-redb"),
            ("kvlogdb-log", "sled"),
            ("kvlogdb-openraft", "kvlogdb-engine-redb"),
            ("kvlogdb-openraft", "redb"),
        ] {
            let expected = format!("{from} must not depend on {to}");
            assert_eq!(found(from, to, None), [expected.as_str()]);
            assert_eq!(found(from, to, Some("dev")), [expected]);
        }
    }

    #[test]
    fn an_adapter_takes_the_facade_for_tests_only() {
        assert_eq!(found(ADAPTER, FACADE, Some("dev")), [""; 0]);
        assert_eq!(found(ADAPTER, FACADE, None).len(), 1);
    }

    #[test]
    fn the_suite_is_for_tests_only() {
        for from in ["kvlogdb", "kvlogdb-engine-api", "kvlogdb-engine-redb", "kvlogdb-log"] {
            assert_eq!(found(from, "kvlogdb-conformance", Some("dev")), [""; 0]);
            assert_eq!(found(from, "kvlogdb-conformance", None).len(), 1);
            assert_eq!(found(from, "kvlogdb-conformance", Some("build")).len(), 1);
        }
    }
}
