//! Mutual TLS 1.3: both ends show a certificate of one CA, and the certificate names the task.
//!
//! No session is resumed, so that each connection looks at both certificates again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{AlertDescription, ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::certificate::{
    CalledTask, check_names, is_of_a_ca, name_of_task, names_presented, server_name, what_is_wrong,
    wrong_key,
};
use super::files::{Named, SecurityError};
use super::pem::{certificates, private_key};
use crate::tcp::io_error::{describe, has_ended};
use unisono_config::TlsFiles;
use unisono_core::ids::TaskId;

/// What the called end says once it has taken the caller's certificate. With TLS 1.3 a caller
/// would else not know before its first message is lost.
const ADMITTED: u8 = b'A';

/// Which CA a certificate has to be of.
const OUR_CA: &str = "the CA of our --tls-ca";

/// This task's part in handshakes.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// A caller's certificate, which a CA of ours has signed.
#[derive(Debug)]
pub(in crate::tcp) struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// Whether it names this task.
    pub(super) fn check_names(&self, task: TaskId) -> Result<(), String> {
        check_names(&self.0, &server_name(task)).map_err(|error| match names_presented(&error) {
            Some(presented) => format!(
                "it says that it is {task}, but its certificate names {presented}: give it one for \
                 {}",
                name_of_task(task)
            ),
            None => format!("its certificate {}", what_is_wrong(&error, OUR_CA)),
        })
    }
}

impl Tls {
    pub(super) fn load(files: &TlsFiles, me: TaskId) -> Result<Self, SecurityError> {
        let cert_file = Named { flag: "--tls-cert", path: &files.cert };
        let key_file = Named { flag: "--tls-key", path: &files.key };
        let ca_file = Named { flag: "--tls-ca", path: &files.ca };
        let chain = certificates(cert_file)?;
        let key = private_key(key_file)?;
        let roots = roots(ca_file)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(&roots, &provider, ca_file)?;
        check_own(&chain, me, &*verifier, cert_file, ca_file)?;
        let (refused, cert) = (key.clone_key(), files.cert.display());
        let wrong_key = |error| key_file.unusable(wrong_key(&error, &refused, &cert));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(wrong_key)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client(
                provider, roots, chain, key, wrong_key,
            )?)),
        })
    }

    /// The caller's side: the other end has to be the task that is called.
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
            _ => Err("it does not answer as a task of this release".to_owned()),
        }
    }

    /// The called end's side: the caller has to have a certificate of the CA; whose, it says later.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Certificate), String> {
        let shaken = self.acceptor.accept(stream).await;
        let mut stream = shaken.map_err(|error| explain(&error, "a task"))?;
        let admit = async {
            stream.write_u8(ADMITTED).await?;
            stream.flush().await
        };
        admit.await.map_err(|error| explain(&error, "a task"))?;
        let presented = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let own = presented.expect("the verifier takes no caller without one").clone().into_owned();
        Ok((stream.into(), Certificate(own)))
    }
}

/// Checks this task's own certificates as its peers do, so that what they would refuse is reported
/// here, where it can be mended.
fn check_own(
    chain: &[CertificateDer<'_>],
    me: TaskId,
    verifier: &dyn ClientCertVerifier,
    cert_file: Named<'_>,
    ca_file: Named<'_>,
) -> Result<(), SecurityError> {
    let (own, between) = chain.split_first().expect("a file without certificates is refused");
    let names_me = |certificate| check_names(certificate, &server_name(me));
    verifier.verify_client_cert(own, between, UnixTime::now()).map_err(|error| {
        if is_of_a_ca(&error) && between.iter().any(|behind| names_me(behind).is_ok()) {
            return cert_file.unusable(format!(
                "the certificates in it are in the wrong order: put the one for {} first, and behind \
                 it the CA that signed it, then the CA of that one",
                name_of_task(me)
            ));
        }
        let ca = format!("the CA in {}", ca_file.path.display());
        cert_file.unusable(format!("it {}", what_is_wrong(&error, &ca)))
    })?;
    names_me(own).map_err(|error| {
        let presented = names_presented(&error).unwrap_or_else(|| error.to_string());
        cert_file.unusable(format!(
            "it names {presented}, and this is {me}: give it a certificate for {}",
            name_of_task(me)
        ))
    })
}

/// Whether the certificate is valid now, and will be for so long.
///
/// # Errors
/// If a file is of no use, or the certificate is not valid now.
pub fn is_valid_for(files: &TlsFiles, long: Duration) -> Result<bool, SecurityError> {
    let cert_file = Named { flag: "--tls-cert", path: &files.cert };
    let ca_file = Named { flag: "--tls-ca", path: &files.ca };
    let chain = certificates(cert_file)?;
    let (own, between) = chain.split_first().expect("a file without certificates is refused");
    let verifier = verifier(&roots(ca_file)?, &Arc::new(ring::default_provider()), ca_file)?;
    let now = UnixTime::now();
    verifier.verify_client_cert(own, between, now).map_err(|error| {
        let ca = format!("the CA in {}", files.ca.display());
        cert_file.unusable(format!("it {}", what_is_wrong(&error, &ca)))
    })?;
    let then = Duration::from_secs(now.as_secs()) + long;
    let then = UnixTime::since_unix_epoch(then);
    Ok(verifier.verify_client_cert(own, between, then).is_ok())
}

/// The CAs of a file.
fn roots(ca_file: Named<'_>) -> Result<Arc<RootCertStore>, SecurityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file)? {
        roots.add(certificate).map_err(|error| {
            ca_file.unusable(format!("a certificate in it {}", what_is_wrong(&error, "its CA")))
        })?;
    }
    Ok(Arc::new(roots))
}

fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    ca_file: Named<'_>,
) -> Result<Arc<dyn ClientCertVerifier>, SecurityError> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .map_err(|error| ca_file.unusable(error.to_string()))
}

fn client(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    wrong_key: impl Fn(rustls::Error) -> SecurityError,
) -> Result<ClientConfig, SecurityError> {
    let verifier = CalledTask::new(roots, &provider);
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous() // The verifier differs from the default one in the names alone.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(wrong_key)?;
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// Why a handshake failed, for a person at this end.
fn explain(error: &io::Error, wanted: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => {
            let error = inner.expect("it was just matched");
            match names_presented(error) {
                Some(presented) => format!(
                    "its certificate names {presented}, not {wanted}: compare --ps-hosts with where \
                     the tasks run"
                ),
                None => format!("its certificate {}", what_is_wrong(error, OUR_CA)),
            }
        }
        Some(rustls::Error::NoCertificatesPresented) => {
            "it shows no certificate: give it --tls-cert, --tls-key and --tls-ca".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "it does not take our certificate: its --tls-ca is not the CA that signed our \
                 --tls-cert"
                    .to_owned()
            }
            AlertDescription::CertificateExpired => {
                "it does not take our certificate: it has expired, or is not valid yet by its clock"
                    .to_owned()
            }
            AlertDescription::BadCertificate => {
                "it does not take our certificate, or it is not the task that we called".to_owned()
            }
            other => format!("it ended the TLS handshake: {other:?}"),
        },
        Some(rustls::Error::InvalidMessage(_)) => {
            "it does not speak TLS as it should: compare the flags of the two".to_owned()
        }
        Some(other) => format!("TLS: {other}"),
        None if has_ended(error) => {
            "it ended the connection within the TLS handshake; if it goes on so, give it --tls-cert, \
             --tls-key and --tls-ca, too"
                .to_owned()
        }
        None => format!("within the TLS handshake: {}", describe(error)),
    }
}
