//! Tests of the simulated disk: comparisons with the real disk, and tests with the files of a run.

mod effects;
mod like_the_real_one;
mod power;
mod run;

use std::path::{Path, PathBuf};

use unisono_core::random::Purpose;

use super::*;

const DIR: &str = "/logdir";

impl SimDisk {
    /// Cuts the power of the machine. All unsynced changes are lost.
    fn lose_unsynced(&self) {
        for directory in self.state().tree.directories_mut() {
            directory.return_to_durable();
            directory.contents.values_mut().for_each(Content::lose_unsynced);
        }
    }

    fn n_operations(&self) -> u64 {
        self.state().n_operations
    }
}

fn stream(seed: u64, index: u64) -> Stream {
    Stream::new(seed, Purpose::Permutation, 0, index)
}

/// Creates a disk with one directory.
fn disk() -> SimDisk {
    let disk = SimDisk::new(stream(1, 0));
    disk.create_dir(Path::new(DIR)).unwrap();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Writes a file and syncs it, but not its name.
fn write_synced(disk: &SimDisk, name: &str, bytes: &[u8]) {
    disk.write(&path(name), bytes).unwrap();
    disk.sync(&path(name)).unwrap();
}

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap()
}
