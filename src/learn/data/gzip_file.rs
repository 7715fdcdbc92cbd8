//! Reads the content of a gzip file as a stream. A gzip file consists of one or more members. Zeros
//! may follow the last member.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// Decompresses a gzip file.
///
/// Consecutive members form one file (RFC 1952, 2.2). Like `gzip -t`, this type accepts zeros after
/// the last member, because tapes and some file systems pad a file to a whole block. Anything else
/// after the last member is an error.
#[derive(Debug)]
pub(super) enum GzipFile<R: BufRead> {
    /// The next byte belongs to a member.
    Member(GzDecoder<R>),
    /// The last member and all padding have been read.
    End,
}

impl<R: BufRead> GzipFile<R> {
    pub(super) fn new(file: R) -> Self {
        Self::Member(GzDecoder::new(file))
    }
}

impl<R: BufRead> Read for GzipFile<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Self::Member(decoder) = self {
            let n_bytes = decoder.read(buffer)?;
            if n_bytes > 0 {
                return Ok(n_bytes);
            }
            let Self::Member(decoder) = std::mem::replace(self, Self::End) else { break };
            let mut file = decoder.into_inner();
            let n_zeros = skip_zeros(&mut file)?;
            if file_has_more(&mut file)? {
                // Padding can only be at the end of a file. Anything after the padding is damage.
                if n_zeros > 0 {
                    let why = format!("data after {n_zeros} bytes of padding");
                    return Err(io::Error::new(ErrorKind::InvalidData, why));
                }
                *self = Self::new(file);
            }
        }
        Ok(0)
    }
}

/// Reads all zeros up to the next byte that is not zero, or to the end of the file. Returns the
/// number of zeros.
fn skip_zeros(file: &mut impl BufRead) -> io::Result<u64> {
    let mut n_zeros = 0;
    while file_has_more(file)? {
        let bytes = file.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let is_end = zeros < bytes.len();
        file.consume(zeros);
        n_zeros += zeros as u64;
        if is_end {
            break;
        }
    }
    Ok(n_zeros)
}

/// Returns whether the file has another byte. Retries a read that a signal interrupts, as
/// `read_to_end` does.
fn file_has_more(file: &mut impl BufRead) -> io::Result<bool> {
    loop {
        match file.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            filled => return Ok(!filled?.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::data::idx_file::tests::gzip;

    /// Decompresses a file that is read through a buffer of `capacity` bytes.
    fn content(file: &[u8], capacity: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let file = BufReader::with_capacity(capacity, file);
        GzipFile::new(file).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn members_form_one_file_and_only_zeros_may_follow_the_last() {
        let (a, b) = (gzip(b"unisono"), gzip(b" trains"));
        let all = |parts: &[&[u8]]| content(&parts.concat(), 3).map_err(|error| error.to_string());
        assert_eq!(all(&[&a]), Ok(b"unisono".to_vec()));
        assert_eq!(all(&[&a, &gzip(b""), &b, &[0; 10]]), Ok(b"unisono trains".to_vec()));
        let wrong = "data after 4 bytes of padding".to_owned();
        assert_eq!(all(&[&a, &[0; 4], &b]), Err(wrong.clone()));
        assert_eq!(all(&[&a, &[0; 4], b"x"]), Err(wrong));
        assert!(all(&[&a, b"x"]).is_err() && all(&[&a, &b[..5]]).is_err());
    }
}
