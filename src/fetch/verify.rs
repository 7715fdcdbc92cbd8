//! Verifies a file against the published digests.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use flate2::read::MultiGzDecoder;

use unisono_files::sha256;
use unisono_learn::data::PublishedFile;

/// Returns whether a file has the published content. The file may be the published gzip file, the
/// plain file, or a gzip file that was compressed differently. Reads the file from its start.
pub(super) fn holds(bytes: &mut File, file: &PublishedFile) -> io::Result<bool> {
    bytes.seek(SeekFrom::Start(0))?;
    let found = sha256::of_reader(&*bytes)?;
    if [file.gzip, file.content].iter().any(|known| known.is(&found)) {
        return Ok(true);
    }
    bytes.seek(SeekFrom::Start(0))?;
    // One byte more than the published length is read, which suffices to notice a longer file.
    let content = MultiGzDecoder::new(&*bytes).take(file.content.len + 1);
    // If decoding fails, the file is not gzip, or is damaged.
    Ok(sha256::of_reader(content).is_ok_and(|found| file.content.is(&found)))
}
