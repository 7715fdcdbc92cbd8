use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::circles::{Graph, circles};
use crate::resolve::Tree;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The root file of each crate, under the crate's name in code.
fn crates() -> Vec<(String, PathBuf)> {
    let programs = [("unisono_program", "src/main.rs"), ("unisono_sim_program", "sim/src/main.rs")];
    let libraries = [("unisono", "src/lib.rs"), ("unisono_sim", "sim/src/lib.rs")];
    let named = programs.into_iter().chain(libraries);
    let mut crates: Vec<_> =
        named.map(|(name, file)| (name.to_owned(), root().join(file))).collect();
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("Cargo.toml").is_file() {
            let name = folder.file_name().unwrap().to_str().unwrap();
            crates.push((format!("unisono_{name}"), folder.join("lib.rs")));
        }
    }
    crates
}

/// Each file's imports: the file that defines the item, and the path that names it.
fn imports() -> BTreeMap<PathBuf, BTreeMap<PathBuf, String>> {
    let mut tree = Tree::default();
    for (name, file) in crates() {
        tree.add(&name, &file);
    }
    let relative = |path: &Path| path.strip_prefix(root()).unwrap().to_owned();
    let of = |module| {
        let imported = tree.imported(module).into_iter();
        imported.map(|(to, path)| (relative(&to), path)).collect()
    };
    tree.modules.iter().map(|(module, source)| (relative(&source.path), of(module))).collect()
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let imports = imports();
    let graph: Graph<PathBuf> =
        imports.iter().map(|(from, to)| (from.clone(), to.keys().cloned().collect())).collect();
    let mut report = String::new();
    for circle in circles(&graph) {
        writeln!(report, "a circle of {} files:", circle.len()).unwrap();
        for from in &circle {
            for (to, path) in imports[from].iter().filter(|(to, _)| circle.contains(*to)) {
                writeln!(report, "  {} -> {} ({path})", from.display(), to.display()).unwrap();
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// The entry of `folder` that a file is in: a file, or a folder together with the file of its name.
fn entry(folder: &Path, file: &Path) -> Option<String> {
    let below = file.strip_prefix(folder).ok()?;
    let first = below.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

#[test]
fn folders_do_not_import_each_other_in_a_circle() {
    let imports = imports();
    let folders: BTreeSet<&Path> =
        imports.keys().flat_map(|file| file.ancestors().skip(1)).collect();
    let mut report = String::new();
    for folder in folders {
        let mut graph: Graph<String> = Graph::new();
        let mut shown = BTreeMap::new();
        for (from, to) in &imports {
            let Some(a) = entry(folder, from) else { continue };
            for (to, path) in to {
                if let Some(b) = entry(folder, to).filter(|b| *b != a) {
                    graph.entry(a.clone()).or_default().insert(b.clone());
                    let line = format!("{} -> {} ({path})", from.display(), to.display());
                    shown.entry((a.clone(), b)).or_insert_with(Vec::new).push(line);
                }
            }
        }
        for circle in circles(&graph) {
            writeln!(report, "a circle in {}: {circle:?}", folder.display()).unwrap();
            for ((a, b), lines) in &shown {
                if circle.contains(a) && circle.contains(b) {
                    writeln!(report, "  {a} -> {b}: {} imports, such as {}", lines.len(), lines[0])
                        .unwrap();
                }
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// The commands in the console blocks of a document, without their comments.
fn commands(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("$ "));
    let command = |line: &str| line.split(" # ").next().unwrap_or_default().trim().to_owned();
    lines.map(|line| command(&line.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

#[test]
fn both_readmes_have_the_same_commands() {
    let english = commands("README.md");
    assert!(english.len() > 5, "{english:?}");
    assert_eq!(english, commands("README.zh-CN.md"));
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> =
        ["src", "sim", "tests", "docs", "scripts", "bench", "benches", "examples", "deploy", ".ci"]
            .map(|folder| root().join(folder))
            .to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.push(path);
        }
    }
    files.extend(
        ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md"]
            .map(|name| root().join(name)),
    );
    // In parts, so that this file does not name them.
    let folders =
        [["/ro", "ot/"], ["/wo", "rk/"], ["/home/", "runner"]].map(|parts| parts.concat());
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let is_named = |folder: &&String| {
                let mut places = line.match_indices(folder.as_str());
                places.any(|(at, _)| !line[..at].ends_with(char::is_alphanumeric))
            };
            let named = folders.iter().find(is_named);
            assert!(named.is_none(), "{}:{}: {line}", path.display(), number + 1);
        }
    }
}
