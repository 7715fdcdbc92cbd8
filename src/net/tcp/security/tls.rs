//! Mutual TLS 1.3: both ends present certificates of the same CA, and each certificate names its
//! task.
//!
//! Sessions are never resumed, so both certificates are verified for every connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{AlertDescription, ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::certificate::{
    CalledTask, check_names, is_ca_certificate, name_of_task, names_presented, rejection_reason,
    server_name, wrong_key,
};
use super::files::{FlagFile, SecurityError};
use super::pem::{certificates, private_key};
use crate::tcp::io_error::{describe, has_ended};
use unisono_config::TlsFiles;
use unisono_core::ids::TaskId;

/// The byte that the called end sends after it has accepted the caller's certificate. In TLS 1.3, a
/// caller's handshake succeeds before the called end has verified the certificate. If the caller
/// did not wait for this byte, the called end could refuse the certificate after the caller's first
/// message, and the message would be lost without an error.
const ADMITTED: u8 = b'A';

/// Description of the required CA in errors.
const OUR_CA: &str = "the CA of our --tls-ca";

/// The TLS configuration of this task, for the connections that it opens and that it accepts.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

unisono_core::partial_debug!(Tls {});

/// A caller's certificate, signed by the CA of this cluster.
#[derive(Debug)]
pub(in crate::tcp) struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// Checks that the certificate names `task`. The error is a message for the user.
    pub(super) fn check_names(&self, task: TaskId) -> Result<(), String> {
        check_names(&self.0, &server_name(task)).map_err(|error| match names_presented(&error) {
            Some(presented) => format!(
                "it claims to be {task}, but its certificate names {presented}: give it a \
                 certificate for {}",
                name_of_task(task)
            ),
            None => format!("its certificate {}", rejection_reason(&error, OUR_CA)),
        })
    }
}

impl Tls {
    pub(super) fn load(files: &TlsFiles, me: TaskId) -> Result<Self, SecurityError> {
        let cert_file = FlagFile { flag: "--tls-cert", path: &files.cert };
        let key_file = FlagFile { flag: "--tls-key", path: &files.key };
        let ca_file = FlagFile { flag: "--tls-ca", path: &files.ca };
        let chain = certificates(cert_file)?;
        let key = private_key(key_file)?;
        let roots = roots(ca_file)?;
        // The provider is chosen here and not taken from the process, because another crate could
        // install a provider with different algorithms.
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(&roots, &provider, ca_file)?;
        // This check comes before the comparison of certificate and key. Otherwise a wrong
        // certificate file would be reported as a wrong key.
        check_own(&chain, me, &*verifier, cert_file, ca_file)?;
        let (refused, cert) = (key.clone_key(), files.cert.display());
        let wrong_key = |error| key_file.unusable(wrong_key(&error, &refused, &cert));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(wrong_key)?;
        // If a session were resumed, the caller's certificate would not be checked again, although
        // it may have expired.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let called_task = CalledTask::new(roots, &provider);
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .dangerous() // The verifier differs from the default one only in the check of names.
            .with_custom_certificate_verifier(Arc::new(called_task))
            .with_client_auth_cert(chain, key)
            .map_err(wrong_key)?;
        client.resumption = Resumption::disabled();
        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }

    /// Performs a handshake as the caller. Fails if the certificate of the called end does not name
    /// `to`.
    pub(super) async fn call(
        &self,
        stream: TcpStream,
        to: TaskId,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = server_name(to);
        let shaken = self.connector.connect(name, stream).await;
        let mut stream = shaken.map_err(|error| explain(&error, &name_of_task(to)))?;
        let admitted = stream.read_u8().await;
        match admitted.map_err(|error| explain(&error, &name_of_task(to)))? {
            ADMITTED => Ok(stream.into()),
            _ => {
                Err("its answer is not that of this release: run one release on all tasks"
                    .to_owned())
            }
        }
    }

    /// Performs a handshake as the called end. The caller must present a certificate that the CA
    /// has signed. The names in the certificate are checked later: the caller's hello claims to
    /// come from a task, and [`Certificate::check_names`] compares this task with the names.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Certificate), String> {
        let shaken = self.acceptor.accept(stream).await;
        let mut stream = shaken.map_err(|error| explain(&error, "a task"))?;
        let admit = async {
            stream.write_u8(ADMITTED).await?;
            // rustls buffers the byte, so the byte must be flushed. The caller waits for the byte
            // before sending its first frame.
            stream.flush().await
        };
        admit.await.map_err(|error| explain(&error, "a task"))?;
        let presented = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let own = presented.expect("the verifier requires a certificate").clone().into_owned();
        Ok((stream.into(), Certificate(own)))
    }
}

/// Verifies this task's own certificates in the same way as its peers verify them, so that the user
/// sees the error on the machine where the certificates can be corrected.
fn check_own(
    chain: &[CertificateDer<'_>],
    me: TaskId,
    verifier: &dyn ClientCertVerifier,
    cert_file: FlagFile<'_>,
    ca_file: FlagFile<'_>,
) -> Result<(), SecurityError> {
    let (own, between) = chain.split_first().expect("a file without certificates is refused");
    let names_me = |certificate| check_names(certificate, &server_name(me));
    // The verifier of callers suffices for both roles: it checks the chain and the use as a client.
    // The names are checked below.
    verifier.verify_client_cert(own, between, UnixTime::now()).map_err(|error| {
        // The file contains the task's own certificate, but after a certificate of a CA.
        if is_ca_certificate(&error) && between.iter().any(|behind| names_me(behind).is_ok()) {
            return cert_file.unusable(format!(
                "its certificates are in the wrong order: put the certificate for {} first, then \
                 the CA that signed it, then the CA that signed that CA",
                name_of_task(me)
            ));
        }
        let ca = format!("the CA in {}", ca_file.path.display());
        cert_file.unusable(format!("it {}", rejection_reason(&error, &ca)))
    })?;
    names_me(own).map_err(|error| {
        let presented = names_presented(&error).unwrap_or_else(|| error.to_string());
        cert_file.unusable(format!(
            "it names {presented}, but this task is {me}: give a certificate for {}",
            name_of_task(me)
        ))
    })
}

/// Returns whether the certificate, which is valid now, will still be valid after `duration`.
///
/// # Errors
/// Returns an error if a file cannot be used, or the certificate is not valid now.
pub fn is_valid_for(files: &TlsFiles, duration: Duration) -> Result<bool, SecurityError> {
    let cert_file = FlagFile { flag: "--tls-cert", path: &files.cert };
    let ca_file = FlagFile { flag: "--tls-ca", path: &files.ca };
    let chain = certificates(cert_file)?;
    let (own, between) = chain.split_first().expect("a file without certificates is refused");
    let verifier = verifier(&roots(ca_file)?, &Arc::new(ring::default_provider()), ca_file)?;
    let now = UnixTime::now();
    verifier.verify_client_cert(own, between, now).map_err(|error| {
        let ca = format!("the CA in {}", files.ca.display());
        cert_file.unusable(format!("it {}", rejection_reason(&error, &ca)))
    })?;
    let then = Duration::from_secs(now.as_secs()) + duration;
    let then = UnixTime::since_unix_epoch(then);
    Ok(verifier.verify_client_cert(own, between, then).is_ok())
}

/// Reads the CAs of a file.
fn roots(ca_file: FlagFile<'_>) -> Result<Arc<RootCertStore>, SecurityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file)? {
        roots.add(certificate).map_err(|error| {
            ca_file.unusable(format!("a certificate in it {}", rejection_reason(&error, "its CA")))
        })?;
    }
    Ok(Arc::new(roots))
}

fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    ca_file: FlagFile<'_>,
) -> Result<Arc<dyn ClientCertVerifier>, SecurityError> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .map_err(|error| ca_file.unusable(error.to_string()))
}

/// Returns the reason for a failed handshake, as a message for the user of this task.
fn explain(error: &io::Error, wanted: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let reason = match inner {
        Some(error @ rustls::Error::InvalidCertificate(_)) => {
            return match names_presented(error) {
                Some(presented) => format!(
                    "its certificate names {presented}, not {wanted}: compare --ps-hosts with \
                     where the tasks run"
                ),
                None => format!("its certificate {}", rejection_reason(error, OUR_CA)),
            };
        }
        Some(rustls::Error::NoCertificatesPresented) => {
            "it presented no certificate: give it --tls-cert, --tls-key and --tls-ca"
        }
        // TLS alerts contain no text, so each sentence names the usual cause of the alert.
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "it does not accept our certificate: its --tls-ca is not the CA that signed our \
                 --tls-cert"
            }
            AlertDescription::CertificateExpired => {
                "it does not accept our certificate: by its clock, our certificate has expired or \
                 is not valid yet"
            }
            AlertDescription::BadCertificate => {
                "it does not accept our certificate, or it is not the task that we called"
            }
            other => return format!("it ended the TLS handshake: {other:?}"),
        },
        Some(rustls::Error::InvalidMessage(_)) => {
            "it sent no valid TLS message: compare the flags of the two tasks"
        }
        Some(other) => return format!("TLS: {other}"),
        None if has_ended(error) => {
            "it ended the connection during the TLS handshake; if this repeats, give it \
             --tls-cert, --tls-key and --tls-ca, too"
        }
        None => return format!("TLS handshake: {}", describe(error)),
    };
    reason.to_owned()
}
