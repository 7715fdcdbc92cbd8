//! Tests of the effects of faults, and of the counts of effects and operations.

use super::*;

const ID: FaultId = FaultId(7);

fn broken(fault: DiskMode) -> SimDisk {
    let disk = disk();
    write_synced(&disk, "file", b"0123456789");
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.set_fault(ID, fault);
    disk
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn full_disk_keeps_a_prefix_and_still_reads_and_removes() {
    let disk = broken(DiskMode::NoSpace);
    assert_eq!(kind(disk.write(&path("new"), b"abc")), ErrorKind::StorageFull);
    assert_eq!(kind(disk.append(&path("file"), b"abc")), ErrorKind::StorageFull);
    assert_eq!(kind(disk.create_dir(&path("dir"))), ErrorKind::StorageFull);
    assert_eq!(disk.n_effects(ID), 3);
    disk.create_dir(Path::new(DIR)).unwrap();
    assert!(b"ab".starts_with(&disk.read(&path("new")).unwrap()));
    let appended = disk.read(&path("file")).unwrap();
    assert!(appended.starts_with(b"0123456789") && b"0123456789ab".starts_with(&appended));
    disk.remove(&path("new")).unwrap();
    disk.truncate(&path("file"), 3).unwrap();
    disk.rename(&path("file"), &path("moved")).unwrap();
    assert_eq!(disk.n_effects(ID), 3);
    disk.clear_fault(ID);
    disk.write(&path("new"), b"abc").unwrap();
    assert_eq!(disk.n_effects(ID), 3);
}

#[test]
fn io_error_fails_every_operation_except_a_list_and_changes_nothing() {
    let disk = broken(DiskMode::Io);
    let file = path("file");
    let results = [
        disk.create_dir(&path("dir")),
        disk.read(&file).map(|_| ()),
        disk.write(&file, b"abc"),
        disk.append(&file, b"abc"),
        disk.truncate(&file, 1),
        disk.sync(&file),
        disk.rename(&file, &path("moved")),
        disk.sync_dir(Path::new(DIR)),
        disk.remove(&file),
    ];
    assert_eq!(results.map(kind), [ErrorKind::Other; 9]);
    assert_eq!((names(&disk), disk.n_effects(ID)), (vec!["file".to_owned()], 9));
    disk.clear_fault(ID);
    assert_eq!(disk.read(&file).unwrap(), b"0123456789");
}

#[test]
fn torn_write_keeps_a_strict_prefix_of_any_length() {
    let disk = broken(DiskMode::Torn);
    let mut lengths = [0; 4];
    for _ in 0..100 {
        assert_eq!(kind(disk.write(&path("file"), b"abc")), ErrorKind::Other);
        let kept = disk.read(&path("file")).unwrap();
        assert!(b"abc".starts_with(&kept));
        lengths[kept.len()] += 1;
    }
    assert_eq!(lengths.map(|n| n > 0), [true, true, true, false], "{lengths:?}");
    assert_eq!(disk.n_effects(ID), 100);
}

#[test]
fn lying_sync_loses_data_in_a_power_loss() {
    let disk = broken(DiskMode::LostUnsynced);
    disk.sync(&path("file")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(disk.n_effects(ID), 0, "there was nothing to sync");
    disk.append(&path("file"), b"abc").unwrap();
    disk.sync(&path("file")).unwrap();
    disk.write(&path("new"), b"").unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(disk.n_effects(ID), 2);
    assert_eq!(disk.read(&path("file")).unwrap(), b"0123456789abc");
    disk.lose_unsynced();
    assert_eq!(disk.read(&path("file")).unwrap(), b"0123456789");
    assert_eq!(names(&disk), ["file"]);
}

#[test]
fn honest_sync_after_a_lying_one_makes_data_durable() {
    let disk = broken(DiskMode::LostUnsynced);
    write_synced(&disk, "file", b"abc");
    disk.clear_fault(ID);
    disk.sync(&path("file")).unwrap();
    disk.lose_unsynced();
    assert_eq!(disk.read(&path("file")).unwrap(), b"abc");
}

#[test]
fn each_read_has_one_flipped_bit_and_the_stored_bytes_do_not_change() {
    let disk = broken(DiskMode::BitFlip);
    let n_flipped = |read: &[u8]| -> u32 {
        read.iter().zip(b"0123456789").map(|(read, stored)| (read ^ stored).count_ones()).sum()
    };
    let reads: Vec<Vec<u8>> = (0..20).map(|_| disk.read(&path("file")).unwrap()).collect();
    assert!(reads.iter().all(|read| n_flipped(read) == 1));
    assert!(reads.iter().any(|read| *read != reads[0]), "not always the same bit");
    assert_eq!(disk.n_effects(ID), 20);
    disk.write(&path("empty"), b"").unwrap();
    assert_eq!(disk.read(&path("empty")).unwrap(), b"");
    assert_eq!(disk.n_effects(ID), 20);
    disk.clear_fault(ID);
    assert_eq!(disk.read(&path("file")).unwrap(), b"0123456789");
}

#[test]
fn operations_of_every_kind_count_including_failed_ones() {
    let disk = SimDisk::new(stream(1, 0));
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.write(&path("file"), &[1; 7]).unwrap();
    disk.append(&path("file"), &[1; 5]).unwrap();
    disk.truncate(&path("file"), 10).unwrap();
    disk.sync(&path("file")).unwrap();
    disk.read(&path("file")).unwrap();
    disk.read(&path("none")).unwrap_err();
    disk.list(Path::new(DIR)).unwrap();
    disk.rename(&path("file"), &path("moved")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.remove(&path("moved")).unwrap();
    assert_eq!(disk.n_operations(), 11);
}

#[test]
fn simultaneous_faults_all_have_effects() {
    let disk = broken(DiskMode::Torn);
    disk.set_fault(FaultId(8), DiskMode::BitFlip);
    disk.set_fault(FaultId(9), DiskMode::NoSpace);
    assert_eq!(kind(disk.append(&path("file"), b"abc")), ErrorKind::StorageFull);
    disk.clear_fault(FaultId(9));
    assert_eq!(kind(disk.append(&path("file"), b"abc")), ErrorKind::Other);
    disk.read(&path("file")).unwrap();
    assert_eq!([7, 8, 9].map(|id| disk.n_effects(FaultId(id))), [1, 1, 1]);
}

#[test]
fn killed_process_does_nothing_until_it_is_revived() {
    let disk = broken(DiskMode::Torn);
    let before = disk.n_operations();
    disk.kill_after(Some(1));
    disk.read(&path("file")).unwrap();
    let error = disk.write(&path("file"), b"abc").unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Interrupted, "killed"));
    assert_eq!(kind(disk.list(Path::new(DIR))), ErrorKind::Interrupted);
    assert_eq!((disk.n_operations() - before, disk.n_effects(ID)), (1, 0));
    disk.kill_after(None);
    assert_eq!(disk.read(&path("file")).unwrap(), b"0123456789");
}
