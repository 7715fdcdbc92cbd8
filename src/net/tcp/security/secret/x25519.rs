//! X25519 for `snow`, implemented with `ring`, so that `ring` does all cryptography of the
//! handshake.
//!
//! The `ring` resolver of `snow` has no Diffie-Hellman, because a private key of `ring` can be used
//! only once.

use std::sync::Mutex;

use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver, FallbackResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};

const KEY_BYTES: usize = 32;

/// Returns a resolver that takes all cryptography from `ring`.
pub(super) fn resolver() -> BoxedCryptoResolver {
    // `RingResolver` lacks only Diffie-Hellman, so the fallback is asked only for Diffie-Hellman.
    Box::new(FallbackResolver::new(Box::new(RingResolver), Box::new(DiffieHellman)))
}

struct DiffieHellman;

impl CryptoResolver for DiffieHellman {
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::<X25519>::default()),
            _ => None,
        }
    }

    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        None
    }

    fn resolve_hash(&self, _: &HashChoice) -> Option<Box<dyn Hash>> {
        None
    }

    fn resolve_cipher(&self, _: &CipherChoice) -> Option<Box<dyn Cipher>> {
        None
    }
}

/// A key pair for one handshake.
#[derive(Default)]
struct X25519 {
    /// The private key; `None` after the key agreement, which consumes the key. A handshake without
    /// static keys makes exactly one key agreement.
    private: Mutex<Option<EphemeralPrivateKey>>,
    public: [u8; KEY_BYTES],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_BYTES
    }

    fn priv_len(&self) -> usize {
        KEY_BYTES
    }

    fn set(&mut self, _: &[u8]) {
        unreachable!("the pattern has no static key")
    }

    fn generate(&mut self, _: &mut dyn Random) -> Result<(), Error> {
        // ring takes random numbers only from its own generator.
        let private = EphemeralPrivateKey::generate(&agreement::X25519, &SystemRandom::new());
        let private = private.map_err(|_| Error::Rng)?;
        let public = private.compute_public_key().map_err(|_| Error::Dh)?;
        self.public.copy_from_slice(public.as_ref());
        self.private = Mutex::new(Some(private));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        unreachable!("ring does not reveal private keys")
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // ring consumes the key in the agreement. The mutex is needed because `dh` takes `&self`.
        let private = self.private.lock().map_err(|_| Error::Dh)?.take().ok_or(Error::Dh)?;
        let public = UnparsedPublicKey::new(&agreement::X25519, &public[..KEY_BYTES]);
        let agreed = agree_ephemeral(private, &public, |shared| {
            out[..KEY_BYTES].copy_from_slice(shared);
        });
        // The agreement fails for public keys of low order, because they would yield a known shared
        // secret.
        agreed.map_err(|_| Error::Dh)
    }
}
