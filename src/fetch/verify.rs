//! Whether a file is the published one.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use flate2::read::MultiGzDecoder;

use unisono_files::sha256;
use unisono_learn::data::PublishedFile;

/// Whether a file is byte for byte as it is published; or holds the same content, compressed by
/// somebody else or not at all, which is as good.
pub(super) fn holds(bytes: &mut File, file: &PublishedFile) -> io::Result<bool> {
    bytes.seek(SeekFrom::Start(0))?;
    let found = sha256::of_reader(&*bytes)?;
    if [file.gzip, file.content].iter().any(|known| known.is(&found)) {
        return Ok(true);
    }
    bytes.seek(SeekFrom::Start(0))?;
    // A byte more than there should be is enough to see that there are too many.
    let content = MultiGzDecoder::new(&*bytes).take(file.content.len + 1);
    // What is no gzip, or damaged, is not the file.
    Ok(sha256::of_reader(content).is_ok_and(|found| file.content.is(&found)))
}
