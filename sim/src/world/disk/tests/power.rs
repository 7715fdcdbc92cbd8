//! Tests of power losses and of the files that they leave.

use std::collections::BTreeSet;

use super::*;
use crate::world::disk::directory::MAX_UNSYNCED;

/// The names and contents of files.
type Files = Vec<(String, Vec<u8>)>;

/// Returns all sets of files that a power loss can leave.
fn left(prepare: impl Fn(&SimDisk)) -> BTreeSet<Files> {
    let outcome = |seed| {
        let disk = disk();
        prepare(&disk);
        disk.power_loss(&mut stream(seed, 1));
        let files = contents(&disk);
        disk.lose_unsynced();
        assert_eq!(contents(&disk), files, "everything that is left is durable");
        files
    };
    (0..400).map(outcome).collect()
}

fn contents(disk: &SimDisk) -> Files {
    let content = |name: String| (name.clone(), disk.read(&path(&name)).unwrap());
    names(disk).into_iter().map(content).collect()
}

fn files<const N: usize>(files: [(&str, &str); N]) -> Files {
    files.map(|(name, content)| (name.to_owned(), content.into())).into()
}

fn sync_dir(disk: &SimDisk) {
    disk.sync_dir(Path::new(DIR)).unwrap();
}

/// Renames a new file to the name of an old, durable file.
fn publish(disk: &SimDisk, with_sync: bool) {
    write_synced(disk, "file", b"old");
    sync_dir(disk);
    disk.write(&path("new"), b"n").unwrap();
    if with_sync {
        disk.sync(&path("new")).unwrap();
    }
    disk.rename(&path("new"), &path("file")).unwrap();
}

#[test]
fn rename_happens_as_a_whole_or_not_at_all() {
    let expected =
        [files([("file", "n")]), files([("file", "old")]), files([("file", "old"), ("new", "n")])];
    assert_eq!(left(|disk| publish(disk, true)), expected.into());
}

#[test]
fn rename_may_survive_without_the_unsynced_content() {
    let left = left(|disk| publish(disk, false));
    for content in ["", "\0", "n"] {
        assert!(left.contains(&files([("file", content)])), "{content:?} in {left:?}");
    }
}

#[test]
fn synced_data_survive_every_power_loss() {
    let left = left(|disk| {
        publish(disk, true);
        sync_dir(disk);
    });
    assert_eq!(left, [files([("file", "n")])].into());
}

#[test]
fn name_may_survive_without_content_and_content_never_without_a_name() {
    let left_content = left(|disk| {
        disk.write(&path("file"), b"n").unwrap();
        sync_dir(disk);
    });
    let expected = ["", "\0", "n"].map(|content| files([("file", content)]));
    assert_eq!(left_content, expected.into());
    let left_name = left(|disk| write_synced(disk, "file", b"n"));
    assert_eq!(left_name, [files([]), files([("file", "n")])].into());
}

#[test]
fn removal_may_be_undone_until_the_directory_is_synced() {
    let remove = |disk: &SimDisk| {
        write_synced(disk, "file", b"old");
        sync_dir(disk);
        disk.remove(&path("file")).unwrap();
    };
    assert_eq!(left(remove), [files([]), files([("file", "old")])].into());
    let left_durably = left(|disk| {
        remove(disk);
        sync_dir(disk);
    });
    assert_eq!(left_durably, [files([])].into());
}

#[test]
fn changes_of_different_names_survive_in_any_combination() {
    let left = left(|disk| {
        for name in ["a", "b", "c"] {
            write_synced(disk, name, b"");
        }
    });
    assert_eq!(left.len(), 8);
}

#[test]
fn durable_file_that_was_renamed_keeps_one_of_its_names() {
    let left = left(|disk| {
        write_synced(disk, "a", b"old");
        sync_dir(disk);
        disk.rename(&path("a"), &path("b")).unwrap();
        write_synced(disk, "a", b"new");
    });
    let expected =
        [files([("a", "old")]), files([("b", "old")]), files([("a", "new"), ("b", "old")])];
    assert_eq!(left, expected.into());
}

#[test]
fn lose_unsynced_keeps_nothing_that_was_not_synced() {
    let disk = disk();
    publish(&disk, true);
    disk.write(&path("other"), b"x").unwrap();
    disk.append(&path("file"), b"ew").unwrap();
    disk.lose_unsynced();
    assert_eq!(contents(&disk), files([("file", "old")]));
}

#[test]
fn power_losses_with_equal_random_streams_leave_equal_files() {
    let left = |seed| {
        let disk = disk();
        for i in 0..20 {
            disk.write(&path(&format!("{i}")), &[7; 100]).unwrap();
        }
        disk.power_loss(&mut stream(seed, 1));
        contents(&disk)
    };
    assert_eq!(left(3), left(3));
    assert_ne!(left(3), left(4));
}

#[test]
fn oldest_name_changes_become_durable_without_a_sync() {
    let disk = disk();
    for i in 0..MAX_UNSYNCED + 2 {
        disk.write(&path(&format!("{i:03}")), b"").unwrap();
    }
    disk.lose_unsynced();
    assert_eq!(names(&disk), ["000", "001"]);
}
