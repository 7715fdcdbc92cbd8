//! All directories of a disk, and the lookup of paths. Paths are compared as text.
//!
//! A directory is durable as soon as it is created, and is never removed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::directory::Directory;

#[derive(Clone, Debug)]
pub(super) struct Tree(BTreeMap<OsString, Directory>);

impl Tree {
    /// Creates the root directory `/`, and the directory `""`, which holds the files whose path is
    /// only a file name.
    pub(super) fn new() -> Self {
        Self(["/", ""].map(|dir| (dir.into(), Directory::default())).into())
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.0.contains_key(path.as_os_str())
    }

    pub(super) fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        if self.is_file(dir) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if dir.ancestors().any(|above| self.is_file(above)) {
            return Err(ErrorKind::NotADirectory.into());
        }
        for made in dir.ancestors() {
            self.0.entry(made.into()).or_default();
        }
        Ok(())
    }

    /// Returns the names of files and directories, sorted. Names that are not UTF-8 are left out.
    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let directory = self.0.get(dir.as_os_str()).ok_or_else(|| self.why_absent(dir))?;
        let inside = self.0.keys().map(Path::new).filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()).chain(directory.names());
        let mut names: Vec<String> = names.filter_map(|name| Some(name.to_str()?.into())).collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn directory(&mut self, dir: &Path) -> io::Result<&mut Directory> {
        if !self.is_dir(dir) {
            return Err(self.why_absent(dir));
        }
        Ok(self.0.get_mut(dir.as_os_str()).expect("the directory was found above"))
    }

    /// Returns the directory of a file, and the name of the file in this directory. The file need
    /// not exist.
    pub(super) fn place<'a>(&mut self, path: &'a Path) -> io::Result<(&mut Directory, &'a OsStr)> {
        match (path.parent(), path.file_name()) {
            (Some(dir), Some(name)) if !self.is_dir(path) => Ok((self.directory(dir)?, name)),
            _ => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn directories_mut(&mut self) -> impl Iterator<Item = &mut Directory> {
        self.0.values_mut()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.parent()
            .and_then(|dir| Some((self.0.get(dir.as_os_str())?, path.file_name()?)))
            .is_some_and(|(directory, name)| directory.has(name))
    }

    fn why_absent(&self, dir: &Path) -> io::Error {
        let is_under_a_file = dir.ancestors().any(|above| self.is_file(above));
        if is_under_a_file { ErrorKind::NotADirectory.into() } else { ErrorKind::NotFound.into() }
    }
}
