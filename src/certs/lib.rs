//! Makes a CA and certificates of tasks, so that users can try out mutual TLS.
//!
//! An existing CA can be used instead. `docs/security.md` lists the requirements on its
//! certificates.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use unisono_core::ids::TaskId;
use unisono_net::tcp::security::name_of_task;

/// The period in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment at which the certificate is valid.
    pub from: SystemTime,
    /// The last moment at which the certificate is valid.
    pub until: SystemTime,
}

/// A certificate and its private key, each as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate in PEM.
    pub cert: String,
    /// The private key of the certificate, as PKCS #8 in PEM.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The private key is left out, because it must not appear in a log.
        f.debug_struct("Pair").field("cert", &self.cert).finish_non_exhaustive()
    }
}

/// The reason why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The library cannot make the certificate.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The certificate or the private key of an existing CA is not valid.
    #[error("the files are not a CA and its private key: {0}")]
    NoAuthority(rcgen::Error),
    /// The private key of an existing CA does not belong to the CA's certificate.
    #[error("the private key does not belong to the CA's certificate")]
    OtherKey,
}

/// A CA that signs the certificates of one cluster's tasks.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pair: Pair,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new CA.
    ///
    /// # Errors
    /// Returns an error if the system provides no random numbers.
    pub fn new(validity: Validity) -> Result<Self, CertsError> {
        let key = KeyPair::generate()?;
        let mut params = params(Vec::new(), validity)?;
        // Each CA has a different name, so that a verifier can tell which CA has signed a
        // certificate.
        let hash = Sha256::digest(key.public_key_raw());
        let name = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>();
        params.distinguished_name.push(DnType::CommonName, format!("unisono CA {name}"));
        // With a path length of 0, the CA may sign certificates of tasks, but not of intermediate
        // CAs.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pair = Pair { cert: params.self_signed(&key)?.pem(), key: key.serialize_pem() };
        Ok(Self { issuer: Issuer::new(params, key), pair })
    }

    /// Reads an existing CA.
    ///
    /// # Errors
    /// Returns an error if the texts are not the certificate of a CA and the private key of this
    /// certificate.
    pub fn from_pair(pair: Pair) -> Result<Self, CertsError> {
        let key = KeyPair::from_pem(&pair.key).map_err(CertsError::NoAuthority)?;
        let public = key.public_key_raw().to_vec();
        let der = CertificateDer::from_pem_slice(pair.cert.as_bytes());
        let issuer = Issuer::from_ca_cert_pem(&pair.cert, key).map_err(CertsError::NoAuthority)?;
        // The library does not check that the key belongs to the certificate. With a wrong key, the
        // library would make certificates without an error, and every peer would refuse these
        // certificates.
        let has_key = |der: &[u8]| der.windows(public.len()).any(|bytes| bytes == public);
        if !der.is_ok_and(|der| has_key(&der)) {
            return Err(CertsError::OtherKey);
        }
        Ok(Self { issuer, pair })
    }

    /// Returns the CA's own certificate and key.
    #[must_use]
    pub fn pair(&self) -> Pair {
        self.pair.clone()
    }

    /// Makes a certificate that names these tasks.
    ///
    /// # Errors
    /// Returns an error if the system provides no random numbers.
    pub fn issue(&self, tasks: &[TaskId], validity: Validity) -> Result<Pair, CertsError> {
        let key = KeyPair::generate()?;
        let names: Vec<_> = tasks.iter().copied().map(name_of_task).collect();
        let mut params = params(names, validity)?;
        let name = tasks.first().map_or_else(String::new, |task| format!("unisono {task}"));
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // With R < N, a ps calls ps 0. So a ps is both a server and a client.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
    }
}

fn params(names: Vec<String>, validity: Validity) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::new(names)?;
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    // The default name contains the name of the library, so an empty name replaces it.
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params)
}
