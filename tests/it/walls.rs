//! The rooms' walls: who may depend on whom, and which libraries stay inside which room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand};

/// A room and the rooms that it may depend on. What is not here is forbidden.
const ROOMS: &[(&str, &[&str])] = &[
    ("bailiwick-proto", &[]),
    ("bailiwick-collector-ebpf", &[]),
    ("bailiwick-collector", &["bailiwick-collector-ebpf", "bailiwick-proto"]),
    ("bailiwick-lake", &["bailiwick-proto"]),
    ("bailiwick-ingest", &["bailiwick-lake", "bailiwick-proto"]),
    ("bailiwick-rules", &["bailiwick-proto"]),
    ("bailiwick-query", &["bailiwick-lake", "bailiwick-proto", "bailiwick-rules"]),
    ("bailiwick-detect", &["bailiwick-lake", "bailiwick-proto", "bailiwick-query", "bailiwick-rules"]),
];

/// A library and the only rooms that may name it in their manifests.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("aya", &["bailiwick-collector"]),
    ("kube", &["bailiwick-collector"]),
    ("delta_kernel", &["bailiwick-lake"]),
    ("delta_kernel_default_engine", &["bailiwick-lake"]),
    ("datafusion", &["bailiwick-rules", "bailiwick-query", "bailiwick-detect"]),
    ("pgwire", &["bailiwick-query"]),
    ("arrow-flight", &["bailiwick-query"]),
];

/// Rooms that only wire others together, or only test them.
const FREE: &[&str] = &["bailiwick", "bailiwick-benches", "bailiwick-fuzz"];

fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).features(CargoOpt::AllFeatures).other_options(["--offline".to_owned()]);
    command.exec().expect("cargo metadata answers")
}

/// What each workspace package names as a dependency; tests may use more.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let named = |package: &cargo_metadata::Package| {
        let real = package.dependencies.iter().filter(|edge| edge.kind != DependencyKind::Development);
        real.map(|edge| edge.name.clone()).collect()
    };
    let packages = metadata.workspace_packages();
    packages.into_iter().map(|package| (package.name.to_string(), named(package))).collect()
}

/// Goal: an edge that the design does not know cannot slip in. Method: compare
/// every workspace edge with the table above.
#[test]
fn rooms_depend_only_on_what_the_design_allows() {
    let manifests = manifests();
    let rooms: BTreeSet<&str> = manifests.keys().map(String::as_str).collect();
    let known = ROOMS.iter().map(|(room, _)| *room).chain(FREE.iter().copied()).collect();
    assert_eq!(rooms, known, "a room is missing from this test, or from the workspace");
    for (room, allowed) in ROOMS {
        let edges = manifests[*room].iter().filter(|name| rooms.contains(name.as_str()));
        let forbidden: Vec<_> = edges.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(forbidden.is_empty(), "{room} must not depend on {forbidden:?}");
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    for (room, edges) in manifests() {
        if FREE.contains(&room.as_str()) {
            continue;
        }
        for (library, owners) in LIBRARIES {
            let misplaced = edges.contains(*library) && !owners.contains(&room.as_str());
            assert!(!misplaced, "{room} must not use {library}; it belongs to {owners:?}");
        }
    }
}

/// Goal: nobody builds Arrow or DataFusion twice without noticing. A second
/// major version doubles build time and makes types that do not fit.
#[test]
fn arrow_and_datafusion_are_locked_once() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata().packages {
        versions.entry(package.name.to_string()).or_default().insert(package.version.to_string());
    }
    let watched = |name: &str| {
        name.starts_with("arrow")
            || name.starts_with("datafusion")
            || ["parquet", "object_store"].contains(&name)
    };
    let twice: Vec<_> = versions.iter().filter(|(name, found)| watched(name) && found.len() > 1).collect();
    assert!(twice.is_empty(), "locked more than once: {twice:?}");
}
