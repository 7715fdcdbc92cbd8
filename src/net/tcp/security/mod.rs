//! Who is at the other end of a connection: proved by certificates, by a shared secret, or not.
//!
//! All of it happens before the first frame. `docs/security.md` says what each way is good for.

mod certificate;
pub(super) mod ends;
mod files;
mod pem;
pub(super) mod records;
mod secret;
pub mod security;
#[cfg(test)]
pub(super) mod tests;
mod tls;

#[cfg(any(test, fuzzing))]
pub(super) use self::secret::fuzzing;
pub(super) use self::secret::is_magic as is_secret_magic;

pub use certificate::name_of_task;
pub use files::SecurityError;
pub use tls::is_valid_for;
