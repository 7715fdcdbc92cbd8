//! The names under which the files of a data set are found. Mirrors and archives spell the names in
//! several ways.

use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of folder entries that are searched for a file of a similar name. The folder of a
/// data set has few entries. The limit bounds the time if the folder contains something else.
const MAX_ENTRIES: usize = 10_000;

/// Returns the paths at which the file `name` of a data set may be, in the order in which they are
/// tried.
///
/// A file may be called `name`, or `name` with a dot instead of the hyphen before `idx`, each
/// without or with `.gz`. The first paths are these file names in `dir`. The other paths are the
/// same file names within a folder called by either name without `.gz`, because some archives
/// unpack each file into a folder that has the file's name.
pub(super) fn candidates(dir: &Path, name: &str) -> Vec<PathBuf> {
    let spellings = [name.to_owned(), name.replacen("-idx", ".idx", 1)];
    let files: Vec<_> =
        spellings.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]).collect();
    let in_dir = files.iter().map(|file| dir.join(file));
    let in_folders = spellings.iter().flat_map(|folder| {
        let folder = dir.join(folder);
        files.iter().map(move |file| folder.join(file))
    });
    in_dir.chain(in_folders).collect()
}

/// Returns a file of the folder that may be the file `name` under a name that [`candidates`] does
/// not contain.
///
/// The name of the returned file mentions the same part of the data set (training or test) and the
/// same kind of content (images or labels) as `name`.
pub(super) fn similar(dir: &Path, name: &str) -> Option<PathBuf> {
    let parts = if name.starts_with("train") { &["train"][..] } else { &["t10k", "test"] };
    let content = if name.contains("labels") { "label" } else { "image" };
    let is_similar = |found: &str| {
        let found = found.to_ascii_lowercase();
        found.contains(content) && parts.iter().any(|part| found.contains(part))
    };
    let entries = fs::read_dir(dir).ok()?.take(MAX_ENTRIES).filter_map(Result::ok);
    let is_similar_file = |entry: &fs::DirEntry| {
        entry.file_name().to_str().is_some_and(is_similar)
            && fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file())
    };
    // The smallest path is returned, so that an error message does not depend on the order of
    // `read_dir`, which varies between file systems.
    entries.filter(is_similar_file).map(|entry| entry.path()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_tried_and_plain_before_gzip() {
        let all = candidates(Path::new("d"), "train-labels-idx1-ubyte");
        let all: Vec<_> = all.iter().map(|path| path.to_str().expect("UTF-8")).collect();
        assert_eq!(
            all[..6],
            [
                "d/train-labels-idx1-ubyte",
                "d/train-labels-idx1-ubyte.gz",
                "d/train-labels.idx1-ubyte",
                "d/train-labels.idx1-ubyte.gz",
                "d/train-labels-idx1-ubyte/train-labels-idx1-ubyte",
                "d/train-labels-idx1-ubyte/train-labels-idx1-ubyte.gz",
            ]
        );
        assert_eq!(all.len(), 12);
    }

    #[test]
    fn file_is_similar_if_its_name_has_the_same_part_and_content() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let found = |name: &str| {
            let path = similar(dir.path(), name)?;
            Some(path.file_name()?.to_str()?.to_owned())
        };
        for name in ["qmnist-train-labels-idx2-int.gz", "Test_Images.idx", "notes.txt"] {
            fs::write(dir.path().join(name), "").expect("a writable directory");
        }
        fs::create_dir(dir.path().join("train-images")).expect("a writable directory");
        assert_eq!(found("train-labels-idx1-ubyte").unwrap(), "qmnist-train-labels-idx2-int.gz");
        assert_eq!(found("t10k-images-idx3-ubyte").unwrap(), "Test_Images.idx");
        assert_eq!(found("train-images-idx3-ubyte"), None, "a folder is not a file");
        assert_eq!(found("t10k-labels-idx1-ubyte"), None);
    }
}
