//! Authentication of peers by certificates or by a shared secret, and encryption of the bytes that
//! they exchange.
//!
//! Peers authenticate before the first frame. `docs/security.md` compares the methods.

pub(super) mod authentication;
mod certificate;
mod files;
pub(super) mod halves;
mod pem;
pub(super) mod records;
mod secret;
#[cfg(test)]
pub(super) mod tests;
mod tls;

#[cfg(any(test, fuzzing))]
pub(super) use self::secret::fuzzing;
pub(super) use self::secret::is_magic as is_secret_magic;

pub use certificate::name_of_task;
pub use files::SecurityError;
pub use tls::is_valid_for;
