//! The tasks that a certificate names, and a sentence for each reason to refuse a certificate.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, InconsistentKeys, RootCertStore, SignatureScheme,
};

use unisono_core::ids::TaskId;

/// The domain that contains the names of all tasks.
const DOMAIN: &str = "unisono";

/// The supported kinds of keys, as text for remedies.
const KEYS: &str = "ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more";

/// Object identifiers in DER, with tag and length. Only an algorithm or a key that was already
/// refused is searched for these bytes. So if the bytes occur by chance, only an error text is
/// wrong.
mod oid {
    pub(super) const MD5_WITH_RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04";
    pub(super) const SHA1_WITH_RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05";
    pub(super) const ECDSA_WITH_SHA1: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01";
    pub(super) const ECDSA_WITH_SHA512: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04";
    pub(super) const P_521: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x23";
}

fn contains(der: &[u8], oid: &[u8]) -> bool {
    der.windows(oid.len()).any(|part| part == oid)
}

/// Returns the DNS name of a task in its certificate, such as `ps-0.unisono`.
#[must_use]
pub fn name_of_task(task: TaskId) -> String {
    format!("{}-{}.{DOMAIN}", task.job, task.index)
}

pub(super) fn server_name(task: TaskId) -> ServerName<'static> {
    ServerName::try_from(name_of_task(task))
        .expect("the name has letters, digits, a dash and a dot")
}

/// Checks that a certificate names a task, either by the task's own name or by the wildcard for all
/// tasks.
///
/// # Errors
/// If the certificate has neither name. [`names_presented`] returns the names in the certificate.
pub(super) fn check_names(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), rustls::Error> {
    match verify_server_name(&ParsedCertificate::try_from(certificate)?, name) {
        // webpki refuses a wildcard directly before a top-level domain, because no public CA may
        // sign one. The domain `unisono` is private, and all names in it have the form
        // `TASK.unisono`.
        Err(error) if names_all_tasks(&error) => Ok(()),
        checked => checked,
    }
}

fn names_all_tasks(error: &rustls::Error) -> bool {
    let wildcard = format!("*.{DOMAIN}");
    names_in(error)
        .is_some_and(|names| names.iter().any(|name| name.eq_ignore_ascii_case(&wildcard)))
}

/// Returns the names in a certificate that was refused because it lacks the expected name. Returns
/// `None` for every other error.
pub(super) fn names_presented(error: &rustls::Error) -> Option<String> {
    let names = names_in(error)?;
    Some(if names.is_empty() { "no task".to_owned() } else { names.join(", ") })
}

fn names_in(error: &rustls::Error) -> Option<Vec<String>> {
    let rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        presented,
        ..
    }) = error
    else {
        return None;
    };
    // rustls gives each name together with its type, as `DnsName("ps-0.unisono")`. Only DNS names
    // are unwrapped, so that a URI `*.unisono` does not count as a wildcard.
    let name = |text: &String| {
        let dns_name = text.strip_prefix("DnsName(\"").and_then(|rest| rest.strip_suffix("\")"));
        dns_name.map_or_else(|| text.clone(), str::to_owned)
    };
    Some(presented.iter().map(name).collect())
}

/// Verifies the certificate of a called task. rustls checks the chain, and [`check_names`] checks
/// the name.
#[derive(Debug)]
pub(super) struct CalledTask {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl CalledTask {
    pub(super) fn new(roots: Arc<RootCertStore>, provider: &CryptoProvider) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for CalledTask {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        // rustls's own verifier would refuse the wildcard for all tasks.
        check_names(end_entity, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Returns whether the certificate was refused because it belongs to a CA.
pub(super) fn is_ca_certificate(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(error)
        if webpki_error(error) == Some(&webpki::Error::CaUsedAsEndEntity))
}

fn webpki_error(error: &CertificateError) -> Option<&webpki::Error> {
    match error {
        // rustls wraps the errors of webpki for which rustls has no variant.
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}

/// Returns the reason for which a certificate is refused, and a remedy. The text continues a
/// sentence that begins with "it" or "its certificate".
pub(super) fn rejection_reason(error: &rustls::Error, ca: &str) -> String {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(error) = error else {
        return format!("cannot be used: {error}");
    };
    match error {
        E::ExpiredContext { time, not_after } => {
            let ago = days(time.as_secs().saturating_sub(not_after.as_secs()));
            format!("expired {ago} ago: make a new certificate")
        }
        E::NotValidYetContext { time, not_before } => {
            let ahead = days(not_before.as_secs().saturating_sub(time.as_secs()));
            format!("becomes valid only in {ahead}: compare the clocks")
        }
        // If a CA was created again under the same name, its old certificates fail with a bad
        // signature.
        E::UnknownIssuer | E::BadSignature => {
            format!("was not signed by {ca}: all tasks need certificates of one CA")
        }
        E::BadEncoding => "is not an X.509 certificate".to_owned(),
        // Every task needs a certificate for both: with R < N, a ps is not only a server, but also
        // a client of ps 0.
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "does not allow both server and client authentication: make a certificate that allows \
             both"
                .to_owned()
        }
        E::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            wrong_signature(signature_algorithm_id)
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext { public_key_algorithm_id, .. } => {
            wrong_key_of_ca(public_key_algorithm_id)
        }
        other => match webpki_error(other) {
            Some(error) => wrong_structure(error),
            None => format!("cannot be used: {other}"),
        },
    }
}

fn wrong_signature(algorithm: &[u8]) -> String {
    let is = |oid| contains(algorithm, oid);
    let hash = if is(oid::MD5_WITH_RSA) {
        "MD5"
    } else if is(oid::SHA1_WITH_RSA) || is(oid::ECDSA_WITH_SHA1) {
        "SHA-1"
    } else if is(oid::ECDSA_WITH_SHA512) {
        return format!(
            "is signed with ECDSA and SHA-512 (the default of a CA on the curve P-521), which is \
             not supported: make a CA with a key of another kind ({KEYS}), and sign with SHA-256"
        );
    } else {
        return format!(
            "is signed with an unsupported algorithm: make a CA with a key of a supported kind \
             ({KEYS}), and sign with SHA-256"
        );
    };
    format!(
        "is signed with {hash}, which can be forged: sign it again with SHA-256, as with \
         `openssl x509 -sha256`"
    )
}

fn wrong_key_of_ca(algorithm: &[u8]) -> String {
    let kind = if contains(algorithm, oid::P_521) {
        "on the curve P-521, which is not supported"
    } else {
        "of a kind that is not supported"
    };
    format!("is signed with a key {kind}: make a CA with a key of another kind ({KEYS})")
}

fn wrong_structure(error: &webpki::Error) -> String {
    use webpki::Error as E;
    let reason = match error {
        E::CaUsedAsEndEntity => {
            "is the certificate of a CA (CA:TRUE), which no task can present: let that CA sign a \
             certificate for the task, as `unisono certs` does"
        }
        E::EndEntityUsedAsCa => {
            "was signed with a certificate that is not a CA's: let a CA sign it"
        }
        E::UnsupportedCertVersion => {
            "has X.509 version 1, which cannot name a task: make it with the extension \
             subjectAltName, as with `openssl x509 -extfile`, which makes version 3"
        }
        E::PathLenConstraintViolated => {
            "has more CAs between it and the root than the root allows (pathlen): let a CA nearer \
             to the root sign it"
        }
        E::UnsupportedCriticalExtension => {
            "has a critical extension that is not supported: make it without that extension"
        }
        other => return format!("cannot be used: {other}"),
    };
    reason.to_owned()
}

/// Returns the reason for which a private key cannot be used with its certificate, and a remedy.
pub(super) fn wrong_key(
    error: &rustls::Error,
    key: &PrivateKeyDer<'_>,
    cert: &dyn Display,
) -> String {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "it is not the key of the certificate in {cert}: give a key and a certificate that \
             were made together"
        ),
        _ if contains(key.secret_der(), oid::P_521) => format!(
            "it is a key on the curve P-521, which is not supported: make a key of another kind \
             ({KEYS}) and a certificate for that key"
        ),
        // If rustls cannot parse a key, it reports only a general error.
        rustls::Error::General(_) => format!(
            "it is damaged, or of an unsupported kind: make a key of a supported kind ({KEYS}) and \
             a certificate for that key"
        ),
        other => other.to_string(),
    }
}

fn days(secs: u64) -> String {
    let duration = Duration::from_secs(secs);
    match duration.as_secs() / 86_400 {
        0 => format!("{} minutes", duration.as_secs() / 60),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
