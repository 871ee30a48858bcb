//! What `cargo metadata` says of the workspace.

use std::collections::{BTreeMap, VecDeque};
use std::process::Command;

use serde::Deserialize;

use crate::Result;

/// The platforms for which the workspace makes promises.
pub(crate) const PLATFORMS: [&str; 6] = [
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-gnu",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-gnu",
    "x86_64-pc-windows-msvc",
];

#[derive(Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// The native library that the package says it links.
    pub(crate) links: Option<String>,
    pub(crate) rust_version: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest states it, whether or not the features and the platform use it.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev`, `build`, or nothing for the usual kind.
    pub(crate) kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

/// A package of the resolved graph. Its dependencies are of all kinds: usual, build and dev.
#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// A package of the graph and a shortest way to it.
pub(crate) struct Reached<'a> {
    pub(crate) package: &'a Package,
    /// Names from a member of the workspace to the package, `a > b > c`.
    pub(crate) path: String,
}

impl Metadata {
    /// Asks cargo for one platform, with every feature of every member.
    pub(crate) fn load(platform: &str) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--all-features", "--filter-platform", platform])
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cargo metadata failed for {platform}:\n{said}").into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    pub(crate) fn members(&self) -> Result<Vec<&Package>> {
        let packages = self.by_id();
        let find = |id: &String| {
            let package = packages.get(id.as_str()).copied();
            package.ok_or_else(|| format!("no package for the member {id}").into())
        };
        self.workspace_members.iter().map(find).collect()
    }

    /// Every package that is built for any target of any member, the members among them.
    ///
    /// This follows the graph, not the list of packages: only the graph says what the platform
    /// and the features leave in.
    pub(crate) fn reached(&self) -> Result<Vec<Reached<'_>>> {
        let packages = self.by_id();
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut paths: BTreeMap<&str, String> = BTreeMap::new();
        let mut found = Vec::new();
        let members = self.workspace_members.iter();
        let mut waiting: VecDeque<(&str, String)> =
            members.map(|id| (id.as_str(), String::new())).collect();
        while let Some((id, via)) = waiting.pop_front() {
            if paths.contains_key(id) {
                continue;
            }
            let (Some(package), Some(node)) = (packages.get(id), nodes.get(id)) else {
                return Err(format!("{id} is not in the whole of cargo's answer").into());
            };
            let path = via + &package.name;
            let next = node.dependencies.iter();
            waiting.extend(next.map(|id| (id.as_str(), format!("{path} > "))));
            paths.insert(id, path.clone());
            found.push(Reached { package, path });
        }
        Ok(found)
    }

    fn by_id(&self) -> BTreeMap<&str, &Package> {
        let packages = self.packages.iter();
        packages.map(|package| (package.id.as_str(), package)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A graph by hand: each package with the packages it depends on, the first one the member.
    pub(crate) fn graph(packages: &[(&str, &[&str])], change: impl Fn(&mut Value)) -> Metadata {
        let package = |name: &str| {
            json!({
                "id": name, "name": name, "version": "1.0.0", "links": null,
                "rust_version": null, "dependencies": [],
            })
        };
        let mut answer = json!({
            "packages": packages.iter().map(|(name, _)| package(name)).collect::<Vec<_>>(),
            "workspace_members": [packages[0].0],
            "resolve": { "nodes": packages.iter().map(|(name, dependencies)| {
                json!({ "id": name, "dependencies": dependencies })
            }).collect::<Vec<_>>() },
        });
        change(&mut answer);
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn packages_outside_the_graph_are_not_reached() {
        let metadata = graph(&[("a", &["b"]), ("b", &[]), ("c", &[])], |_| ());
        let reached = metadata.reached().unwrap();
        let names: Vec<&str> = reached.iter().map(|one| &*one.package.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_way_is_a_shortest_one_and_circles_end() {
        let links: &[(&str, &[&str])] = &[("a", &["b", "c"]), ("b", &["c"]), ("c", &["a"])];
        let metadata = graph(links, |_| ());
        let paths: Vec<String> =
            metadata.reached().unwrap().into_iter().map(|one| one.path).collect();
        assert_eq!(paths, ["a", "a > b", "a > c"]);
    }

    #[test]
    fn a_graph_with_a_gap_is_an_error() {
        assert!(graph(&[("a", &["lost"])], |_| ()).reached().is_err());
    }
}
