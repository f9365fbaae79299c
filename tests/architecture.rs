//! Holds the shape of the project: who may depend on whom, what is absent where, and the size and head of each file.
//!
//! Read from `cargo metadata`, `deny.toml` and the source tree; no root needed. ARCHITECTURE.md gives the reasons.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The allowed directions. Nothing else is: a new edge is a decision, made here and in ARCHITECTURE.md.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("skep", &["cli", "oci"]),
    ("cli", &["engine", "failure"]),
    ("oci", &["runtime", "sys", "failure"]),
    ("engine", &["runtime", "monitor", "store", "registry", "reference", "failure"]),
    ("runtime", &["init", "sys", "failure"]),
    ("monitor", &["runtime", "sys", "failure"]),
    ("store", &["sys", "reference", "failure"]),
    ("registry", &["reference", "failure"]),
    ("reference", &["failure"]),
    ("init", &["sys"]),
    ("sys", &[]),
    ("failure", &[]),
    ("xtask", &[]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "types", "core", "manager", "helpers", "misc", "shared"];

/// Lines of a file before its unit tests.
const LONGEST_FILE: usize = 800;

struct Workspace {
    /// Every package of the resolved graph by its id.
    packages: BTreeMap<String, Value>,
    /// Normal dependencies (not for tests, not for build scripts) by package id.
    edges: BTreeMap<String, Vec<String>>,
    members: Vec<String>,
}

impl Workspace {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
            .arg(root().join("Cargo.toml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let packages = list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package));
        let normal = |dependency: &Value| {
            let kinds = list(&dependency["dep_kinds"]);
            kinds.iter().any(|kind| kind["kind"].is_null()).then(|| text(&dependency["pkg"]))
        };
        let edges = list(&metadata["resolve"]["nodes"])
            .into_iter()
            .map(|node| (text(&node["id"]), list(&node["deps"]).iter().filter_map(normal).collect::<Vec<_>>()));
        Self {
            packages: packages.collect(),
            edges: edges.collect(),
            members: list(&metadata["workspace_members"]).iter().map(text).collect(),
        }
    }

    fn name(&self, id: &str) -> &str {
        self.packages[id]["name"].as_str().unwrap()
    }

    fn member(&self, name: &str) -> &str {
        self.members.iter().find(|id| self.name(id) == name).unwrap()
    }

    /// Everything that a package is built from, by name.
    fn closure(&self, id: &str) -> BTreeSet<&str> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![id.to_owned()]);
        while let Some(id) = open.pop() {
            for next in &self.edges[&id] {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen.iter().map(|id| self.packages[id]["name"].as_str().unwrap()).collect()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the project.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<_> = ["crates", "src", "tests", "xtask"].iter().map(|name| root().join(name)).collect();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20);
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The strings of one list in deny.toml: `allow = [...]` or `deny = [...]`.
fn deny_list(key: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let start = text.find(&format!("\n{key} = [")).unwrap();
    let body = &text[start..start + text[start..].find("\n]").unwrap()];
    let lines = body.lines().filter(|line| !line.trim_start().starts_with('#'));
    let strings = lines.filter_map(|line| line.split('"').nth(1).map(str::to_owned));
    strings.collect()
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let workspace = Workspace::read();
    let mut wrong = Vec::new();
    for id in &workspace.members {
        let name = workspace.name(id);
        let (_, allowed) = DIRECTIONS.iter().find(|(from, _)| *from == name).unwrap_or_else(|| {
            panic!("`{name}` is new: give it its place in DIRECTIONS and in ARCHITECTURE.md");
        });
        for to in workspace.edges[id].iter().filter(|to| workspace.members.contains(to)) {
            if !allowed.contains(&workspace.name(to)) {
                wrong.push(format!("{name} -> {}", workspace.name(to)));
            }
        }
    }
    assert!(wrong.is_empty(), "not allowed: {wrong:?}");
}

#[test]
fn what_must_be_absent_is_absent() {
    let workspace = Workspace::read();
    let closure = workspace.closure(workspace.member("skep"));
    for banned in deny_list("deny") {
        assert!(!closure.contains(banned.as_str()), "`{banned}` is in the binary; deny.toml says why it must not be");
    }
    for name in ["init", "sys"] {
        let closure = workspace.closure(workspace.member(name));
        for absent in ["serde", "serde_json", "oci-spec", "failure"] {
            assert!(!closure.contains(absent), "`{name}` must not know `{absent}`");
        }
    }
    for absent in ["store", "tar", "flate2", "zstd"] {
        assert!(!workspace.closure(workspace.member("runtime")).contains(absent), "`runtime` knows no images");
    }
    let store = workspace.closure(workspace.member("store"));
    assert!(!store.contains("runtime") && !store.contains("monitor"), "`store` knows no processes");
}

#[test]
fn licences_are_on_the_list() {
    let workspace = Workspace::read();
    let allowed = deny_list("allow");
    let permits = |expression: &str| {
        // "MIT OR (Apache-2.0 AND Zlib)", the old "MIT/Apache-2.0": some alternative of which every part is allowed.
        let plain = expression.replace('/', " OR ").replace(['(', ')'], "");
        plain.split(" OR ").any(|choice| choice.split(" AND ").all(|part| allowed.iter().any(|one| one == part.trim())))
    };
    let mut wrong = Vec::new();
    for (id, package) in &workspace.packages {
        let license = package["license"].as_str().unwrap_or("none");
        if !permits(license) {
            wrong.push(format!("{}: {license}", workspace.name(id)));
        }
        let source = package["source"].as_str();
        assert!(source.is_none_or(|source| source.starts_with("registry+")), "{id} is from elsewhere: {source:?}");
    }
    assert!(wrong.is_empty(), "not in deny.toml: {wrong:?}");
}

#[test]
fn names_say_what_is_inside() {
    let workspace = Workspace::read();
    for id in &workspace.members {
        assert!(!EMPTY_NAMES.contains(&workspace.name(id)));
    }
    for path in sources() {
        for part in path.strip_prefix(root()).unwrap().with_extension("").iter() {
            assert!(!EMPTY_NAMES.contains(&part.to_str().unwrap()), "{}: an empty name", shown(&path));
        }
    }
}

#[test]
fn every_file_opens_with_its_idea_and_stays_readable() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        // `tests.rs` beside a file continues that file, and its header.
        if !text.starts_with("//!") && !path.ends_with("tests.rs") {
            wrong.push(format!("{}: no `//!` header", shown(&path)));
        }
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{}: {lines} lines", shown(&path)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_lives_in_sys_alone() {
    let lints = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(lints.contains("unsafe_code = \"forbid\""));
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let directory = entry.unwrap().path();
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        if !directory.ends_with("sys") {
            assert!(manifest.contains("[lints]\nworkspace = true"), "{}: its own lints", shown(&directory));
        }
    }
    for path in sources().iter().filter(|path| !path.starts_with(root().join("crates/sys"))) {
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains(concat!("unsafe", " {")), "{}: unsafe outside of sys", shown(path));
    }
}

#[test]
fn only_the_command_line_prints() {
    let printing = ["clippy::print_stdout", "clippy::print_stderr"];
    // Tests and examples may.
    for path in sources().iter().filter(|path| path.iter().any(|part| part == "src")) {
        let text = fs::read_to_string(path).unwrap();
        let may = path.starts_with(root().join("crates/cli")) || path.starts_with(root().join("xtask"));
        assert!(may || !printing.iter().any(|lint| text.contains(lint)), "{}: prints", shown(path));
    }
}

#[test]
fn the_childs_code_cannot_allocate() {
    for name in ["init", "sys"] {
        let text = fs::read_to_string(root().join("crates").join(name).join("src/lib.rs")).unwrap();
        assert!(text.contains("#![no_std]"), "{name}: after clone nothing allocates");
    }
    for path in sources().iter().filter(|path| path.starts_with(root().join("crates/init/src"))) {
        let text = fs::read_to_string(path).unwrap();
        let before_tests = text.split("#[cfg(test)]").next().unwrap();
        for word in ["extern crate alloc", "extern crate std", "alloc::", "std::"] {
            assert!(!before_tests.contains(word), "{}: `{word}`", shown(path));
        }
    }
}
