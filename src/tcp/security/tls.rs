//! Mutual TLS 1.3: both ends show a certificate of one CA, and the certificate names the task.
//!
//! No session is resumed, so that each connection looks at both certificates again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, InconsistentKeys, RootCertStore, ServerConfig,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::files::{Named, SecurityError};
use crate::config::TlsFiles;
use crate::ids::TaskId;
use crate::tcp::connector::{describe, has_ended};

/// What the called end says once it has taken the caller's certificate. With TLS 1.3 a caller
/// would else not know before its first message is lost.
const ADMITTED: u8 = b'A';

/// Which CA a certificate has to be of.
const OUR_CA: &str = "the CA of our --tls-ca";

/// The names of all tasks are below this one.
const DOMAIN: &str = "unisono";

/// The DNS name that the certificate of a task carries, such as `ps-0.unisono`.
#[must_use]
pub fn name_of_task(task: TaskId) -> String {
    format!("{}-{}.{DOMAIN}", task.job, task.index)
}

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
        names(&self.0, task).map_err(|error| match names_presented(&error) {
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
        let key = PrivateKeyDer::from_pem_slice(&key_file.read()?)
            .map_err(|error| key_file.unusable(no_pem(&error, "private key")))?;
        let roots = roots(ca_file)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(&roots, &provider, ca_file)?;
        let (own, between) = chain.split_first().expect("a file without certificates is refused");
        // What the others would say of us, said here, where it can be mended.
        verifier.verify_client_cert(own, between, UnixTime::now()).map_err(|error| {
            let ca = format!("the CA in {}", files.ca.display());
            cert_file.unusable(format!("it {}", what_is_wrong(&error, &ca)))
        })?;
        names(own, me).map_err(|error| {
            let presented = names_presented(&error).unwrap_or_else(|| error.to_string());
            cert_file.unusable(format!(
                "it names {presented}, and this is {me}: give it a certificate for {}",
                name_of_task(me)
            ))
        })?;

        let wrong_key = |error| {
            key_file.unusable(match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                    "it is not the key of the certificate in {}: give the two that were made \
                     together",
                    files.cert.display()
                ),
                other => other.to_string(),
            })
        };
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
            ca_file.unusable(format!("a certificate there is not one of a CA: {error}"))
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
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(wrong_key)?;
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// The certificates of a file, at least one.
fn certificates(file: Named<'_>) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let bytes = file.read()?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => {
            Err(file.unusable(no_pem(&pem::Error::NoItemsFound, "certificate")))
        }
        Ok(all) => Ok(all),
        Err(error) => Err(file.unusable(no_pem(&error, "certificate"))),
    }
}

fn no_pem(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => {
            format!("there is no {what} in it; it has to be PEM, as `unisono certs` makes it")
        }
        pem::Error::MissingSectionEnd { .. } => format!("the {what} in it is cut off"),
        other => format!("the {what} in it cannot be read: {other}"),
    }
}

fn server_name(task: TaskId) -> ServerName<'static> {
    ServerName::try_from(name_of_task(task)).expect("letters, digits, a dash and a dot")
}

fn names(certificate: &CertificateDer<'_>, task: TaskId) -> Result<(), rustls::Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, &server_name(task))
}

/// The names in a certificate, if that it has not the right one is what is wrong with it.
fn names_presented(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }) => {
            let name = |text: &String| {
                text.strip_prefix("DnsName(\"")
                    .and_then(|rest| rest.strip_suffix("\")"))
                    .map_or_else(|| text.clone(), str::to_owned)
            };
            let all: Vec<_> = presented.iter().map(name).collect();
            Some(if all.is_empty() { "no task".to_owned() } else { all.join(", ") })
        }
        _ => None,
    }
}

/// What makes a certificate unacceptable; goes on from "it", or "its certificate".
fn what_is_wrong(error: &rustls::Error, ca: &str) -> String {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(error) = error else {
        return format!("cannot be used: {error}");
    };
    match error {
        E::ExpiredContext { time, not_after } => {
            let ago = days(time.as_secs().saturating_sub(not_after.as_secs()));
            format!("expired {ago} ago: make a new one")
        }
        E::NotValidYetContext { time, not_before } => {
            let ahead = days(not_before.as_secs().saturating_sub(time.as_secs()));
            format!("is not valid for another {ahead}: compare the clocks")
        }
        E::UnknownIssuer | E::BadSignature => {
            format!("was not signed by {ca}: all tasks need certificates of one CA")
        }
        E::BadEncoding => "is not an X.509 certificate".to_owned(),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "is not for authenticating both servers and clients: make it for both".to_owned()
        }
        other => format!("cannot be used: {other}"),
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
