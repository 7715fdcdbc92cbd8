//! SHA-256 digests as 64 hexadecimal digits.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// Returns the digest of all bytes that were written to `hasher`.
#[must_use]
pub fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the digest of `bytes`.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(Sha256::new().chain_update(bytes))
}

/// Reads all bytes of `reader`. Returns the number of bytes and the digest.
///
/// # Errors
/// If reading fails.
pub fn of_reader(mut reader: impl Read) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((len, hex(hasher))),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                len += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_bytes_and_readers_match_fips_180() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        assert_eq!(of_reader(&b"abc"[..]).expect("bytes can be read"), (3, abc.to_owned()));
    }
}
