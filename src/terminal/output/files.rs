//! Output files of commands. The user chooses their paths.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::anyhow;

/// Writes a file, and makes its parent folders.
///
/// # Errors
/// Returns an error if a folder or the file cannot be written. The text of the error contains the
/// path, the reason and a remedy.
pub fn write_file(path: &Path, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    make_folder_of(path)?;
    fs::write(path, bytes).map_err(|error| cannot_write(path, &error))
}

/// Creates a file, and makes its parent folders.
///
/// # Errors
/// Returns the same errors as [`write_file`].
pub fn create_file(path: &Path) -> anyhow::Result<File> {
    make_folder_of(path)?;
    File::create(path).map_err(|error| cannot_write(path, &error))
}

/// Makes the parent folders of a file.
///
/// # Errors
/// Returns the same errors as [`make_folder`].
pub fn make_folder_of(path: &Path) -> anyhow::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => make_folder(folder),
        _ => Ok(()),
    }
}

/// Makes a folder and its parent folders.
///
/// # Errors
/// Returns an error if a folder cannot be made. The text of the error contains the path, the reason
/// and a remedy.
pub fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).map_err(|error| {
        // If one of the parents is a file, the error of the system does not say which one.
        let remedy = match folder.ancestors().find(|above| above.exists() && !above.is_dir()) {
            Some(file) => format!("{} is not a folder: give another path", file.display()),
            None => format!("{error}; give a folder where this user may write"),
        };
        anyhow!("cannot make the folder {}: {remedy}", folder.display())
    })
}

/// Returns an error with a remedy for a file that could not be written.
#[must_use]
pub fn cannot_write(path: &Path, error: &io::Error) -> anyhow::Error {
    let why = if path.is_dir() {
        "it is a folder: give the name of a file".to_owned()
    } else {
        format!("{error}; give another file, or make room and let this user write there")
    };
    anyhow!("cannot write {}: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_folders_are_made_and_an_obstacle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        write_file(&at("a/b/c"), "text").unwrap();
        assert_eq!(fs::read_to_string(at("a/b/c")).unwrap(), "text");
        let text = |error: anyhow::Error| {
            error.to_string().replace(&dir.path().display().to_string(), "DIR")
        };
        assert_eq!(
            text(write_file(&at("a/b"), "").unwrap_err()),
            "cannot write DIR/a/b: it is a folder: give the name of a file"
        );
        assert_eq!(
            text(create_file(&at("a/b/c/d/e")).unwrap_err()),
            "cannot make the folder DIR/a/b/c/d: DIR/a/b/c is not a folder: give another path"
        );
    }
}
