//! Reads certificates and private keys from PEM files. The error for an unusable file contains a
//! remedy.

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::files::{FlagFile, SecurityError};

const BEGIN: &str = "-----BEGIN ";
const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// The first byte of a DER file, which is the tag of an ASN.1 sequence. PEM is the text form of
/// DER.
const DER_SEQUENCE: u8 = 0x30;

// The kinds of items that a file must contain.
const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private key";

/// Returns the certificates of a file; at least one.
///
/// # Errors
/// Returns an error if the file cannot be read or contains no certificate.
pub(super) fn certificates(
    file: FlagFile<'_>,
) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let bytes = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        // The parser skips all text that is not PEM, so a wrong file yields an empty list.
        Ok(all) if all.is_empty() => {
            let why = explain(&pem::Error::NoItemsFound, &bytes, CERTIFICATE);
            Err(file.unusable(why))
        }
        Ok(all) => Ok(all),
        Err(error) => Err(file.unusable(explain(&error, &bytes, CERTIFICATE))),
    }
}

/// Returns the first private key of a file.
///
/// # Errors
/// Returns an error if the file cannot be read, or contains no unencrypted private key.
pub(super) fn private_key(file: FlagFile<'_>) -> Result<PrivateKeyDer<'static>, SecurityError> {
    let bytes = read(file)?;
    let text = String::from_utf8_lossy(&bytes);
    // In OpenSSL's older format, an encrypted key has the label of an unencrypted key.
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(file.unusable(format!(
            "the private key in it is encrypted, but a task cannot ask for the passphrase: decrypt \
             it, as with `openssl pkey -in {} -out key.pem`, and keep the result from other users \
             (chmod 600)",
            file.path.display()
        )));
    }
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| file.unusable(explain(&error, &bytes, PRIVATE_KEY)))
}

/// Reads a file. A byte-order mark is an error, because it hides a line from the PEM parser.
fn read(file: FlagFile<'_>) -> Result<Vec<u8>, SecurityError> {
    let bytes = file.read()?;
    let path = file.path.display();
    if UTF_16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(file.unusable(format!(
            "it is UTF-16 text with a byte-order mark, but PEM is ASCII: convert it, as with `iconv \
             -f UTF-16 -t ASCII {path}`"
        )));
    }
    // A file that was concatenated from two files may have a byte-order mark in the middle. The
    // parser would silently skip the certificate after the mark.
    if bytes.windows(UTF_8_MARK.len()).any(|part| part == UTF_8_MARK) {
        return Err(file.unusable(format!(
            "it has a byte-order mark, but PEM is ASCII: remove the mark, as with `sed -i \
             's/\\xef\\xbb\\xbf//' {path}`"
        )));
    }
    Ok(bytes)
}

/// Returns the reason why `bytes` do not yield the wanted item, and a remedy.
fn explain(error: &pem::Error, bytes: &[u8], wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => {
            let (found, remedy) = found_instead(bytes, wanted);
            let found = found.map_or_else(String::new, |found| format!(", but {found}"));
            format!("there is no {wanted} in it{found}: {remedy}")
        }
        pem::Error::MissingSectionEnd { .. } => {
            format!("the {wanted} in it is cut off: copy the file again, to its last line")
        }
        other => format!("the {wanted} in it cannot be read ({other}): copy the file again"),
    }
}

/// Returns a description of the item that `bytes` contain instead of the wanted item, and a remedy.
/// The description is `None` if the content is unknown.
fn found_instead(bytes: &[u8], wanted: &str) -> (Option<String>, &'static str) {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return (
            Some("binary data".to_owned()),
            "convert it to PEM, as with `openssl x509` or `openssl pkey` and `-inform der`, or with \
             `openssl pkcs12 -nodes` if it is PKCS #12",
        );
    }
    let text = String::from_utf8_lossy(bytes);
    let label =
        text.lines().find_map(|line| line.strip_prefix(BEGIN)?.trim_end().strip_suffix("-----"));
    let Some(label) = label else {
        return (None, "it has to be PEM, as `unisono certs` makes it");
    };
    let remedy = match (wanted, label) {
        (PRIVATE_KEY, "CERTIFICATE") => "give the file with the key of that certificate",
        (CERTIFICATE, label) if label.ends_with("PRIVATE KEY") => {
            "give the file with the certificate that was made for that key"
        }
        (_, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") => {
            "have the CA sign that request, and give the certificate that it makes"
        }
        (_, "TRUSTED CERTIFICATE") => "convert it, as with `openssl x509 -in FILE -out NEW`",
        (_, "PKCS7") => "convert it, as with `openssl pkcs7 -print_certs -in FILE -out NEW`",
        _ => "it has to be PEM, as `unisono certs` makes it",
    };
    // The label is shortened, because it is part of a log line.
    let n_shown = label.char_indices().nth(40).map_or(label.len(), |(end, _)| end);
    (Some(format!("a {}", &label[..n_shown].to_lowercase())), remedy)
}
