//! Adds the planted bugs of `sim/bugs` to a copy of the tree. The copy is a separate cargo
//! workspace.
//!
//! `sim/bugs/overlay` contains files that are added to the copy. `sim/bugs/patches` contains
//! patches of existing files. A patch applies only while the lines around its changes are
//! unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use diffy::Patch;

/// The folder of the bugs, relative to the root of the tree.
const BUGS: &str = "sim/bugs";

/// Folders of a checkout that are not copied, because they are not part of the tree.
const NOT_COPIED: [&str; 2] = ["target", ".git"];

/// The reason why the bugs cannot be added to the copy.
#[derive(Debug, thiserror::Error)]
pub enum WeaveError {
    /// The folder is not below the root of a checkout.
    #[error(
        "{} is not in a checkout of the project: the bugs are patches of its sources, so run this \
         command in a clone", .0.display()
    )]
    NoTree(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file in the folder of patches is not a valid patch.
    #[error("{} is not a patch of one file: {why}", path.display())]
    NotAPatch {
        /// The path of the patch.
        path: PathBuf,
        /// The reason why the patch is invalid.
        why: String,
    },
    /// A patch does not apply, because the code around its changes was edited.
    #[error(
        "{} does not fit {file}: {why}; the code around a planted bug has changed, so mend the \
         patch", path.display()
    )]
    DoesNotFit {
        /// The path of the patch.
        path: PathBuf,
        /// The file that the patch changes.
        file: String,
        /// The part of the patch that does not apply.
        why: String,
    },
}

/// Returns the root of the checkout that contains a folder.
///
/// # Errors
/// If no checkout contains the folder.
pub fn find_tree(folder: &Path) -> Result<&Path, WeaveError> {
    let is_tree = |folder: &&Path| folder.join(BUGS).join("patches").is_dir();
    folder.ancestors().find(is_tree).ok_or_else(|| WeaveError::NoTree(folder.to_owned()))
}

/// Copies the tree to the folder `copy`, and adds all bugs to the copy. Files that already have the
/// right content keep their modification times, so that cargo rebuilds only changed files.
///
/// # Errors
/// Returns an error if a patch does not apply, or if a file cannot be read or written.
pub fn weave(root: &Path, copy: &Path) -> Result<(), WeaveError> {
    let bugs = root.join(BUGS);
    let mut contents = read_all(root)?;
    contents.extend(read_all(&bugs.join("overlay"))?);
    for path in patches(&bugs)? {
        let (file, patched) = apply(&path, |file| {
            let found = contents.get(Path::new(file));
            found.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        })?;
        contents.insert(file.into(), patched.into_bytes());
    }
    write_all(copy, &contents)
}

/// Returns the paths of all patches.
///
/// # Errors
/// If the folder cannot be read.
fn patches(bugs: &Path) -> Result<Vec<PathBuf>, WeaveError> {
    let folder = bugs.join("patches");
    Ok(list(&folder)?.iter().map(|file| folder.join(file)).collect())
}

/// Returns the name of the file that a patch changes, and the content of the file after the patch.
fn apply(
    path: &Path,
    read: impl FnOnce(&str) -> Option<String>,
) -> Result<(String, String), WeaveError> {
    let not_a_patch = |why: String| WeaveError::NotAPatch { path: path.to_owned(), why };
    let text = fs::read_to_string(path).map_err(at("read", path))?;
    let patch = Patch::from_str(&text).map_err(|error| not_a_patch(error.to_string()))?;
    let name = patch.modified().and_then(|name| name.strip_prefix("b/"));
    let name = name.ok_or_else(|| not_a_patch("its second line names no file b/…".to_owned()))?;
    let does_not_fit = |why: String| {
        let (path, file) = (path.to_owned(), name.to_owned());
        WeaveError::DoesNotFit { path, file, why }
    };
    let base = read(name).ok_or_else(|| does_not_fit("there is no such file".to_owned()))?;
    let patched = diffy::apply(&base, &patch).map_err(|error| does_not_fit(error.to_string()))?;
    Ok((name.to_owned(), patched))
}

/// Returns all files below a folder, relative to the folder and ordered by name.
fn list(root: &Path) -> Result<BTreeSet<PathBuf>, WeaveError> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        for entry in fs::read_dir(&path).map_err(at("read", &path))? {
            let entry = entry.map_err(at("read", &path))?;
            let kind = entry.file_type().map_err(at("read", &entry.path()))?;
            let name = entry.file_name();
            if kind.is_file() {
                files.insert(folder.join(name));
            } else if kind.is_dir() && !NOT_COPIED.iter().any(|other| name == *other) {
                folders.push(folder.join(name));
            }
        }
    }
    Ok(files)
}

/// The content of each file of a tree, by the path relative to the root.
type Contents = BTreeMap<PathBuf, Vec<u8>>;

fn read_all(root: &Path) -> Result<Contents, WeaveError> {
    let read = |file: PathBuf| {
        let path = root.join(&file);
        let bytes = fs::read(&path).map_err(at("read", &path))?;
        Ok((file, bytes))
    };
    list(root)?.into_iter().map(read).collect()
}

fn write_all(copy: &Path, contents: &Contents) -> Result<(), WeaveError> {
    fs::create_dir_all(copy).map_err(at("make", copy))?;
    for (file, bytes) in contents {
        let path = copy.join(file);
        if fs::read(&path).is_ok_and(|found| found == *bytes) {
            continue;
        }
        let folder = path.parent().unwrap_or(copy);
        fs::create_dir_all(folder).map_err(at("make", folder))?;
        fs::write(&path, bytes).map_err(at("write", &path))?;
    }
    // A file that was removed from the tree must also be removed from the copy: otherwise cargo
    // would still compile it.
    for file in list(copy)?.into_iter().filter(|file| !contents.contains_key(file)) {
        let path = copy.join(file);
        fs::remove_file(&path).map_err(at("remove", &path))?;
    }
    Ok(())
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WeaveError {
    move |source| WeaveError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        find_tree(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn every_patch_applies_to_the_tree() {
        for path in patches(&root().join(BUGS)).unwrap() {
            let read = |file: &str| fs::read_to_string(root().join(file)).ok();
            let (file, patched) = apply(&path, read).unwrap_or_else(|error| panic!("{error}"));
            assert!(patched.contains("planted"), "{file}");
        }
    }

    #[test]
    fn patch_of_changed_code_is_refused_and_both_files_are_named() {
        let path = patches(&root().join(BUGS)).unwrap().swap_remove(0);
        let error = apply(&path, |_| Some("fn other() {}\n".to_owned())).unwrap_err().to_string();
        assert!(error.contains("does not fit src/") && error.contains("mend the patch"), "{error}");
    }

    #[test]
    fn production_code_does_not_mention_planted_bugs() {
        let files = list(&root().join("src")).unwrap();
        for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "rs")) {
            let text = fs::read_to_string(root().join("src").join(file)).unwrap();
            assert!(!text.contains("is_planted"), "{}", file.display());
        }
    }

    #[test]
    fn copy_has_the_patched_files_and_loses_files_removed_from_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        let write = |file: &str, text: &str| {
            let path = tree.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("src/a.rs", "one\ntwo\n");
        write("src/b.rs", "gone soon\n");
        write("target/x", "not copied\n");
        write("sim/bugs/overlay/src/c.rs", "new\n");
        let patch = "--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1,2 +1,2 @@\n one\n-two\n+bug\n";
        write("sim/bugs/patches/a.patch", patch);
        let copy = tree.join("target/copy");
        weave(&tree, &copy).unwrap();
        assert_eq!(fs::read_to_string(copy.join("src/a.rs")).unwrap(), "one\nbug\n");
        assert_eq!(fs::read_to_string(copy.join("src/c.rs")).unwrap(), "new\n");
        assert!(copy.join("src/b.rs").exists() && !copy.join("target").exists());
        fs::remove_file(tree.join("src/b.rs")).unwrap();
        weave(&tree, &copy).unwrap();
        assert!(!copy.join("src/b.rs").exists());
        write("src/a.rs", "one\nthree\n");
        assert!(matches!(weave(&tree, &copy), Err(WeaveError::DoesNotFit { .. })));
    }
}
