//! The simulated disk returns the same results as the disk of the operating system.

use unisono_files::disk::RealDisk;

use super::*;

/// The operations and their results, without the texts of errors.
#[derive(Debug, Default, PartialEq)]
struct Transcript(Vec<String>);

impl Transcript {
    fn note<T: std::fmt::Debug>(&mut self, what: &str, result: io::Result<T>) {
        self.0.push(format!("{what}: {:?}", result.map_err(|error| error.kind())));
    }
}

fn of_mistakes(disk: &dyn Disk, dir: &Path) -> Transcript {
    let mut said = Transcript::default();
    let at = |name: &str| dir.join(name);
    said.note("make a directory", disk.create_dir(&at("sub/sub")));
    said.note("write", disk.write(&at("file"), b"abc"));
    for missing in ["none", "none/file", "file/file", "sub"] {
        said.note("read", disk.read(&at(missing)));
        said.note("append", disk.append(&at(missing), b"x"));
        said.note("truncate", disk.truncate(&at(missing), 1));
        said.note("sync", disk.sync(&at(missing)));
        said.note("remove", disk.remove(&at(missing)));
    }
    for missing in ["none", "none/file", "file/file"] {
        said.note("rename", disk.rename(&at(missing), &at("renamed")));
        said.note("sync a directory", disk.sync_dir(&at(missing)));
    }
    for no_dir in ["none", "file", "file/file"] {
        said.note("list", disk.list(&at(no_dir)));
    }
    for no_place in ["none/file", "file/file", "sub"] {
        said.note("write", disk.write(&at(no_place), b"abc"));
        said.note("rename", disk.rename(&at("file"), &at(no_place)));
    }
    for dir in ["file", "file/sub", "sub", "sub/sub/sub"] {
        said.note("make a directory", disk.create_dir(&at(dir)));
    }
    said.note("list", disk.list(dir));
    said.note("list", disk.list(&at("sub")));
    said
}

/// Performs random operations on few names, so that the operations affect each other.
fn of_anything(disk: &dyn Disk, dir: &Path, seed: u64) -> Transcript {
    let mut said = Transcript::default();
    let mut stream = stream(seed, 0);
    for i in 0..150 {
        let mut name = || dir.join(["a", "b", "c"][below(&mut stream, 3)]);
        let (name, other) = (name(), name());
        let bytes = format!("<{i}>").into_bytes();
        match stream.below(10) {
            0 | 1 => said.note("write", disk.write(&name, &bytes)),
            2 | 3 => said.note("append", disk.append(&name, &bytes)),
            4 => said.note("truncate", disk.truncate(&name, stream.below(8))),
            5 | 6 => said.note("rename", disk.rename(&name, &other)),
            7 => said.note("remove", disk.remove(&name)),
            8 => said.note("list", disk.list(dir)),
            _ => said.note("read", disk.read(&name)),
        }
    }
    said
}

fn compare(transcript: impl Fn(&dyn Disk, &Path) -> Transcript) {
    let dir = tempfile::tempdir().unwrap();
    let real = transcript(&RealDisk, dir.path());
    assert_eq!(transcript(&disk(), Path::new(DIR)), real);
}

#[test]
fn mistakes_return_the_errors_of_the_real_disk() {
    compare(of_mistakes);
}

#[test]
fn random_sequences_return_the_results_of_the_real_disk() {
    for seed in 0..20 {
        compare(|disk, dir| of_anything(disk, dir, seed));
    }
}

#[test]
fn path_without_a_directory_has_a_directory_of_its_own() {
    let disk = disk();
    disk.write(Path::new("file"), b"abc").unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    assert_eq!(disk.list(Path::new("")).unwrap(), ["file"]);
    assert_eq!(disk.list(Path::new("/")).unwrap(), ["logdir"]);
}

#[test]
fn rename_to_another_directory_is_refused() {
    let disk = disk();
    disk.write(&path("file"), b"abc").unwrap();
    let error = disk.rename(&path("file"), Path::new("/file")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CrossesDevices);
}
