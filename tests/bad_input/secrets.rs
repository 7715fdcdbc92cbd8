//! Secrets that can be guessed, and secret files that never end.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::Folder;

#[test]
fn short_or_endless_secret_is_refused_before_anything_is_written() {
    let folder = Folder::new();
    let write = |name: &str, text: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    };
    let fifo = folder.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO can be made");
    let remedy = "make a secret with: openssl rand -hex 32";
    let unreadable = "give the path of a file that this user may read";
    for (path, message) in [
        (write("short", b"0123456789abcde\n"), ["the secret has 15 bytes, fewer than 16", remedy]),
        (write("repeated", &[b'x'; 64]), ["the secret repeats one byte", remedy]),
        (write("zeros", &[0; 32]), ["the secret repeats one byte", remedy]),
        ("/dev/null".to_owned(), ["the secret has 0 bytes, fewer than 16", remedy]),
        ("/dev/zero".to_owned(), ["it has more than 1048576 bytes", unreadable]),
        (fifo.display().to_string(), ["it did not end in time", unreadable]),
    ] {
        let words = format!("worker --secret-file {path}");
        folder.run(&words).expect_error(1, &[&path, message[0], message[1]]);
    }
    assert!(!folder.logdir().exists());
}
