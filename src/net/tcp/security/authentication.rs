//! The authentication method of a cluster, and its use on a connection.

use crate::tcp::security::files::SecurityError;
use crate::tcp::security::halves::{Halves, refuse};
use crate::tcp::security::secret::Secret;
use crate::tcp::security::tls::{Certificate, Tls};
use std::io;
use tokio::net::TcpStream;
use unisono_config::SecurityConfig;
use unisono_core::ids::TaskId;
use unisono_core::protocol::Message;
use unisono_core::wire::MAGIC;

/// The first byte of a TLS handshake.
const TLS_RECORD: u8 = 0x16;

/// The credentials of this task, and the authentication that this task requires from peers.
#[derive(Debug, Default)]
pub struct Security(Method);

#[derive(Debug, Default)]
enum Method {
    #[default]
    Open,
    Tls(Tls),
    Secret(Secret),
}

/// The identity that a caller has proved.
#[derive(Debug)]
pub(in crate::tcp) enum Identity {
    /// The cluster is open, and nothing was proved.
    Unproved,
    /// The caller has a certificate, and is one of the tasks that the certificate names.
    Certified(Certificate),
    /// The caller has used the cluster's secret, and has named the contained task as itself. The
    /// proof is complete once the caller's first record is opened.
    Member(TaskId),
}

/// The reason for which a caller is refused.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::tcp) enum Refusal {
    /// The caller left without a message, as health checks and port scans do.
    Left,
    /// The caller was refused for the contained reason, which is a text for people.
    Refused(String),
}

impl Security {
    /// Reads the credentials of task `me`.
    ///
    /// # Errors
    /// If a file is missing or cannot be used. The error text names the file, the reason and a
    /// remedy.
    pub fn load(config: &SecurityConfig, me: TaskId) -> Result<Self, SecurityError> {
        Ok(Self(match config {
            SecurityConfig::Open => Method::Open,
            SecurityConfig::Tls(files) => Method::Tls(Tls::load(files, me)?),
            SecurityConfig::Secret(file) => Method::Secret(Secret::load(file, me)?),
        }))
    }

    /// Returns whether callers are not authenticated, so that any caller may claim to be any task.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.0, Method::Open)
    }

    /// Authenticates both ends of a connection that this task has opened to task `to`.
    pub(in crate::tcp) async fn call(
        &self,
        mut stream: TcpStream,
        to: TaskId,
    ) -> Result<Halves, String> {
        match &self.0 {
            Method::Open => Ok(Halves::plain(stream)),
            Method::Tls(tls) => tls.call(stream, to).await.map(Halves::tls),
            Method::Secret(secret) => {
                let keys = secret.call(&mut stream, to).await?;
                Ok(Halves::sealed(stream, keys))
            }
        }
    }

    /// Authenticates both ends of a connection to task `to`, and then drops the connection. In a
    /// cluster without authentication, this always succeeds.
    ///
    /// # Errors
    /// If either end fails to authenticate. The error text is for people.
    pub async fn try_out(&self, stream: TcpStream, to: TaskId) -> Result<(), String> {
        self.call(stream, to).await.map(|_| ())
    }

    /// Authenticates both ends of a connection that this task has accepted.
    pub(in crate::tcp) async fn accept(
        &self,
        mut stream: TcpStream,
    ) -> Result<(Halves, Identity), Refusal> {
        // The first byte shows which method the caller uses. If this task uses another method, the
        // caller gets a reason instead of a failed handshake.
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(0) => return Err(Refusal::Left),
            Ok(_) => {}
            // Some health checks reset the connection instead of closing it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(Refusal::Left);
            }
            Err(error) => return Err(Refusal::Refused(error.to_string())),
        }
        match (&self.0, first[0]) {
            (Method::Tls(tls), TLS_RECORD) => {
                let (stream, certificate) = tls.accept(stream).await.map_err(Refusal::Refused)?;
                Ok((Halves::tls(stream), Identity::Certified(certificate)))
            }
            (Method::Tls(_), byte) => {
                let why = "it does not speak TLS";
                // Only a caller that begins with a frame can read a frame with the reason.
                if byte == MAGIC[0] {
                    let (read, write) = stream.split();
                    refuse(
                        write,
                        read,
                        "this cluster uses TLS: give --tls-cert, --tls-key and --tls-ca",
                    )
                    .await;
                }
                Err(Refusal::Refused(why.to_owned()))
            }
            // Neither a frame nor the handshake of a caller with a secret starts with this byte.
            (method, TLS_RECORD) => {
                let has =
                    if matches!(method, Method::Open) { "no --tls-cert" } else { "--secret-file" };
                Err(Refusal::Refused(format!("it speaks TLS, but this task has {has}")))
            }
            (Method::Secret(secret), _) => {
                let accepted = secret.accept(&mut stream).await;
                let (member, keys) = accepted.map_err(Refusal::Refused)?;
                Ok((Halves::sealed(stream, keys), Identity::Member(member)))
            }
            (Method::Open, _) => Ok((Halves::plain(stream), Identity::Unproved)),
        }
    }
}

impl Identity {
    /// Checks that a caller's first message is a hello from the task whose identity was proved.
    ///
    /// # Errors
    /// If the message is not a hello, or names a different task. The error text is for people.
    pub(in crate::tcp) fn check(&self, first: &Message) -> Result<(), String> {
        match (self, first) {
            // In an open cluster, the protocol itself refuses a first message that is not a hello.
            (Self::Unproved, _) => Ok(()),
            (Self::Certified(certificate), Message::Hello(hello)) => {
                certificate.check_names(hello.from)
            }
            (Self::Member(member), Message::Hello(hello)) if *member == hello.from => Ok(()),
            (Self::Member(member), Message::Hello(hello)) => {
                Err(format!("it claims to be {}, but authenticated as {member}", hello.from))
            }
            (_, other) => Err(format!("it sent {} before hello", other.kind())),
        }
    }
}
