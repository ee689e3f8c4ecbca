//! What cargo knows of the workspace: packages, declared dependencies, and the graph as resolved for this host with
//! default features. Owns no rule about any of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::json::Json;
use crate::workspace::Workspace;

/// A kind of dependency, as cargo says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// A dependency as a manifest declares it.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// A package of the graph.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) rust_version: Option<String>,
    pub(crate) license: Option<String>,
    /// None for a path.
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: Vec<String>,
}

/// What a package was resolved to lean on, with the kinds of each edge.
pub(crate) type Edges = Vec<(String, BTreeSet<Kind>)>;

/// The workspace's packages and everything they lean on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    /// Ids of the workspace's own packages.
    pub(crate) members: BTreeSet<String>,
    /// From a package to what it was resolved to, with the kinds of each edge.
    pub(crate) edges: BTreeMap<String, Edges>,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// Where cargo fails or its answer cannot be read.
    pub(crate) fn load(workspace: &Workspace) -> Result<Self, String> {
        let host = host(workspace)?;
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| String::from("cargo"));
        let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform", &host];
        Self::read(&Json::parse(&workspace.output(&cargo, &arguments)?)?)
    }

    fn read(json: &Json) -> Result<Self, String> {
        let packages: Option<Vec<Package>> =
            json.get("packages").list().iter().map(package).collect();
        let edges = json.get("resolve").get("nodes").list().iter().map(node).collect::<Option<_>>();
        Ok(Self {
            packages: packages.ok_or("a package of cargo metadata has no name or version")?,
            members: json
                .get("workspace_members")
                .list()
                .iter()
                .filter_map(Json::text)
                .map(str::to_owned)
                .collect(),
            edges: edges.ok_or("an edge of cargo metadata has no package")?,
        })
    }

    /// The workspace's own packages.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.members.contains(&package.id))
    }

    /// Everything reached from `roots` by edges of these kinds, the roots left out.
    pub(crate) fn reached<'m>(
        &'m self,
        roots: impl IntoIterator<Item = &'m str>,
        kinds: &[Kind],
    ) -> Vec<&'m Package> {
        let roots: BTreeSet<&str> = roots.into_iter().collect();
        let mut seen = roots.clone();
        let mut open: Vec<&str> = roots.iter().copied().collect();
        while let Some(id) = open.pop() {
            for (next, edge) in self.edges.get(id).into_iter().flatten() {
                if kinds.iter().any(|kind| edge.contains(kind)) && seen.insert(next) {
                    open.push(next);
                }
            }
        }
        let found = |package: &&Package| {
            seen.contains(package.id.as_str()) && !roots.contains(package.id.as_str())
        };
        self.packages.iter().filter(found).collect()
    }

    /// `package/feature` for every feature of the workspace's own libraries and programs but `default` and the planted bugs.
    pub(crate) fn features_without_mutants(&self) -> Vec<String> {
        let of = |package: &Package| {
            let wanted = package
                .features
                .iter()
                .filter(|name| !matches!(name.as_str(), "default" | "mutants"));
            wanted.map(|feature| format!("{}/{feature}", package.name)).collect::<Vec<_>>()
        };
        self.own().flat_map(of).collect()
    }
}

/// The triple that this machine builds for.
fn host(workspace: &Workspace) -> Result<String, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| String::from("rustc"));
    let version = workspace.output(&rustc, &["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| String::from("`rustc -vV` names no host"))
}

fn package(json: &Json) -> Option<Package> {
    let text = |key: &str| json.get(key).text().map(str::to_owned);
    Some(Package {
        id: text("id")?,
        name: text("name")?,
        version: text("version")?,
        rust_version: text("rust_version"),
        license: text("license"),
        source: text("source"),
        dependencies: json
            .get("dependencies")
            .list()
            .iter()
            .map(dependency)
            .collect::<Option<_>>()?,
        features: json.get("features").keys().into_iter().map(str::to_owned).collect(),
    })
}

fn dependency(json: &Json) -> Option<Dependency> {
    Some(Dependency { name: json.get("name").text()?.to_owned(), kind: kind(json.get("kind")) })
}

fn node(json: &Json) -> Option<(String, Edges)> {
    let edge = |edge: &Json| {
        let kinds =
            edge.get("dep_kinds").list().iter().map(|entry| kind(entry.get("kind"))).collect();
        Some((edge.get("pkg").text()?.to_owned(), kinds))
    };
    Some((
        json.get("id").text()?.to_owned(),
        json.get("deps").list().iter().map(edge).collect::<Option<_>>()?,
    ))
}

fn kind(json: &Json) -> Kind {
    match json.text() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A package with nothing but a name, for the tests of rules.
    pub(crate) fn bare(name: &str) -> Package {
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: String::from("1.0.0"),
            rust_version: Some(String::from("1.60")),
            license: Some(String::from("MIT")),
            source: Some(String::from("registry+https://github.com/rust-lang/crates.io-index")),
            dependencies: Vec::new(),
            features: Vec::new(),
        }
    }

    /// A graph of bare packages; the first of each pair needs the second.
    pub(crate) fn graph(members: &[&str], edges: &[(&str, &str, Kind)]) -> Metadata {
        let mut metadata = Metadata {
            members: members.iter().map(|&name| name.to_owned()).collect(),
            ..Metadata::default()
        };
        let names: BTreeSet<&str> = members
            .iter()
            .copied()
            .chain(edges.iter().flat_map(|&(from, to, _)| [from, to]))
            .collect();
        metadata.packages = names.into_iter().map(bare).collect();
        for &(from, to, kind) in edges {
            metadata
                .edges
                .entry(from.to_owned())
                .or_default()
                .push((to.to_owned(), BTreeSet::from([kind])));
            let package =
                metadata.packages.iter_mut().find(|package| package.name == from).unwrap();
            package.dependencies.push(Dependency { name: to.to_owned(), kind });
        }
        metadata
    }

    #[test]
    fn reads_cargo_metadata() {
        let json = r#"{"packages":[{"id":"a 1","name":"a","version":"1.0.0","rust_version":null,"license":"MIT","source":null,
            "dependencies":[{"name":"b","kind":"dev"}],"features":{"default":[],"testing":[],"mutants":[]},
            "targets":[{"name":"lib_a"}]}],"workspace_members":["a 1"],
            "resolve":{"nodes":[{"id":"a 1","deps":[{"pkg":"b 1","dep_kinds":[{"kind":null},{"kind":"dev"}]}]}]}}"#;
        let metadata = Metadata::read(&Json::parse(json).unwrap()).unwrap();
        assert_eq!(metadata.own().count(), 1);
        assert_eq!(metadata.packages[0].dependencies[0].kind, Kind::Dev);
        assert_eq!(
            metadata.edges["a 1"],
            [(String::from("b 1"), BTreeSet::from([Kind::Normal, Kind::Dev]))]
        );
        assert_eq!(metadata.features_without_mutants(), ["a/testing"]);
    }

    #[test]
    fn reaches_only_by_the_kinds_asked_for() {
        let metadata = graph(
            &["a"],
            &[("a", "b", Kind::Normal), ("b", "c", Kind::Build), ("a", "d", Kind::Dev)],
        );
        let names = |kinds: &[Kind]| {
            metadata.reached(["a"], kinds).iter().map(|p| p.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[Kind::Normal]), ["b"]);
        assert_eq!(names(&[Kind::Normal, Kind::Build]), ["b", "c"]);
    }
}
