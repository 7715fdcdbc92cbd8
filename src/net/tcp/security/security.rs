//! The way in which tasks prove to each other who they are.

use crate::tcp::security::ends::{Ends, refuse};
use crate::tcp::security::files::SecurityError;
use crate::tcp::security::secret::Secret;
use crate::tcp::security::tls::{Certificate, Tls};
use std::io;
use tokio::net::TcpStream;
use unisono_config::SecurityConfig;
use unisono_core::ids::TaskId;
use unisono_core::protocol::Message;
use unisono_core::wire::MAGIC;

/// The first byte of a TLS handshake: the type of its records.
const TLS_RECORD: u8 = 0x16;

/// How this task proves who it is, and what it asks of others.
#[derive(Debug, Default)]
pub struct Security(Way);

#[derive(Debug, Default)]
enum Way {
    #[default]
    Open,
    Tls(Tls),
    Secret(Secret),
}

/// What a caller proved to be.
#[derive(Debug)]
pub enum Identity {
    /// Nothing.
    Unproved,
    /// Whoever its certificate names.
    Certified(Certificate),
    /// A holder of the secret, which speaks as this task: proved by the first record that it sends.
    Member(TaskId),
}

/// Why a caller does not come in.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It left without a word: a port scan, or a look whether anybody listens.
    Left,
    /// For a person.
    Refused(String),
}

impl Security {
    /// The security of task `me`, with what is in the files.
    ///
    /// # Errors
    /// If a file is missing or of no use: which, why, and what to do.
    pub fn load(config: &SecurityConfig, me: TaskId) -> Result<Self, SecurityError> {
        Ok(Self(match config {
            SecurityConfig::Open => Way::Open,
            SecurityConfig::Tls(files) => Way::Tls(Tls::load(files, me)?),
            SecurityConfig::Secret(file) => Way::Secret(Secret::load(file, me)?),
        }))
    }

    /// Whether anybody may say that it is any task.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.0, Way::Open)
    }

    /// Proves to the task that was called who calls, and that it is the one called.
    pub async fn call(&self, mut stream: TcpStream, to: TaskId) -> Result<Ends, String> {
        match &self.0 {
            Way::Open => Ok(Ends::plain(stream)),
            Way::Tls(tls) => tls.call(stream, to).await.map(Ends::tls),
            Way::Secret(secret) => {
                let keys = secret.call(&mut stream, to).await?;
                Ok(Ends::sealed(stream, keys))
            }
        }
    }

    /// As a call, of which nothing comes: whether both ends prove who they are. Without security
    /// there is nothing to prove.
    ///
    /// # Errors
    /// Why not, for a person.
    pub async fn try_out(&self, stream: TcpStream, to: TaskId) -> Result<(), String> {
        self.call(stream, to).await.map(|_| ())
    }

    /// Has a caller prove who it is, and proves who this task is.
    pub async fn accept(&self, mut stream: TcpStream) -> Result<(Ends, Identity), Refusal> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(0) => return Err(Refusal::Left),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(Refusal::Left);
            }
            Err(error) => return Err(Refusal::Refused(error.to_string())),
        }
        match (&self.0, first[0]) {
            (Way::Tls(tls), TLS_RECORD) => {
                let (stream, certificate) = tls.accept(stream).await.map_err(Refusal::Refused)?;
                Ok((Ends::tls(stream), Identity::Certified(certificate)))
            }
            (Way::Tls(_), byte) => {
                let why = "it does not speak TLS";
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
            (way, TLS_RECORD) => {
                let has = if matches!(way, Way::Open) { "no --tls-cert" } else { "--secret-file" };
                Err(Refusal::Refused(format!("it speaks TLS, and this task has {has}")))
            }
            (Way::Secret(secret), _) => {
                let accepted = secret.accept(&mut stream).await;
                let (member, keys) = accepted.map_err(Refusal::Refused)?;
                Ok((Ends::sealed(stream, keys), Identity::Member(member)))
            }
            (Way::Open, _) => Ok((Ends::plain(stream), Identity::Unproved)),
        }
    }
}

impl Identity {
    /// Whether the first message is one that this caller may say: a hello of nobody else's.
    pub fn check(&self, first: &Message) -> Result<(), String> {
        let from = match (self, first) {
            (Self::Unproved, _) => return Ok(()),
            (_, Message::Hello(hello)) => hello.from,
            (_, other) => return Err(format!("it said {} before it said hello", other.kind())),
        };
        match self {
            Self::Unproved => Ok(()),
            Self::Certified(certificate) => certificate.check_names(from),
            Self::Member(member) if *member == from => Ok(()),
            Self::Member(member) => {
                Err(format!("it says that it is {from}, but proved itself as {member}"))
            }
        }
    }
}
