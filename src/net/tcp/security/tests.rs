//! Who is refused; and networks with security for the host contract in `tcp::tests`.

use crate::tcp::Security;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use unisono_config::SecurityConfig;
use unisono_core::ids::TaskId;
use unisono_core::protocol::Message;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::tcp::{NetworkConfig, TcpNetwork, bind};
use unisono_certs::{Authority, Pair, Validity};
use unisono_config::TlsFiles;
use unisono_core::host::{Network, contract};
use unisono_core::protocol::NetworkEvent;
use unisono_core::wire::Limits;

const LIMITS: Limits = Limits::with_tensor_bytes(4 * contract::MAX_VALUES);
const PS: TaskId = TaskId::PS_ZERO;
const HOUR: Duration = Duration::from_secs(3600);

#[expect(clippy::disallowed_methods, reason = "certificates are valid by the clock on the wall")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn valid() -> Validity {
    Validity { from: now() - HOUR, until: now() + HOUR }
}

fn authority() -> Authority {
    Authority::new(valid()).unwrap()
}

/// A folder with a task's files.
struct Files(TempDir);

impl Files {
    fn new(pair: &Pair, ca: &str) -> Self {
        let files = Self(TempDir::new().unwrap());
        files.write("cert", &pair.cert);
        files.write("key", &pair.key);
        files.write("ca", ca);
        files
    }

    /// Of a task of the cluster whose CA this is.
    fn of(authority: &Authority, task: TaskId) -> Self {
        Self::new(&authority.issue(&[task], valid()).unwrap(), &authority.pair().cert)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn config(&self) -> SecurityConfig {
        let [cert, key, ca] = ["cert", "key", "ca"].map(|name| self.path(name));
        SecurityConfig::Tls(TlsFiles { cert, key, ca })
    }

    fn load(&self, me: TaskId) -> Security {
        Security::load(&self.config(), me).unwrap()
    }

    fn error(&self, me: TaskId) -> String {
        let error = Security::load(&self.config(), me).unwrap_err().to_string();
        error.replace(&format!("{}/", self.0.path().display()), "").replace("\n", " ")
    }
}

fn secret(text: &str, me: TaskId) -> Security {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Security::load(&SecurityConfig::Secret(file.path().to_owned()), me).unwrap()
}

/// A network that calls, as the chief, and one that is called, as ps 0.
fn networks(caller: Security, called: Security) -> (TcpNetwork, TcpNetwork) {
    let listener = bind("127.0.0.1:0").unwrap();
    let addresses = BTreeMap::from([(PS, listener.addresses().unwrap()[0].to_string())]);
    let config =
        |addresses, security| NetworkConfig { security, ..NetworkConfig::open(addresses, LIMITS) };
    let caller = TcpNetwork::new(None, config(addresses, caller)).unwrap();
    (caller, TcpNetwork::new(Some(listener), config(BTreeMap::new(), called)).unwrap())
}

/// A network that calls, as the chief, and one that is called, as ps 0, each with its certificate.
pub(in crate::tcp) fn with_tls() -> (TcpNetwork, TcpNetwork) {
    let ca = authority();
    networks(Files::of(&ca, TaskId::CHIEF).load(TaskId::CHIEF), Files::of(&ca, PS).load(PS))
}

/// The same two with a secret.
pub(in crate::tcp) fn with_secret() -> (TcpNetwork, TcpNetwork) {
    let text = "this is between us two";
    networks(secret(text, TaskId::CHIEF), secret(text, PS))
}

/// Why a call does not come through. The node that is called must hear nothing of it.
async fn why_not(caller: Security, called: Security) -> String {
    let (mut caller, mut called) = networks(caller, called);
    caller.connect(PS);
    let why = tokio::select! {
        event = called.next() => panic!("nobody is to come in: {event:?}"),
        event = caller.next() => match event {
            NetworkEvent::ConnectFailed { why, .. } => why,
            other => panic!("a failed call was due, not {other:?}"),
        }
    };
    let (_, why) = why.split_once(": ").unwrap();
    why.to_owned()
}

/// What a caller is told that is connected, says hello as the chief, and is refused.
async fn refused(caller: Security, called: Security) -> String {
    let (mut caller, mut called) = networks(caller, called);
    caller.connect(PS);
    let NetworkEvent::Connected { link, .. } = caller.next().await else { panic!("it connects") };
    caller.send(link, contract::hello(PS));
    tokio::select! {
        event = called.next() => panic!("nobody is to come in: {event:?}"),
        event = caller.next() => match event {
            NetworkEvent::Received { message: Message::Refused { reason, older_than: None }, .. } => {
                reason
            }
            other => panic!("a refusal was due, not {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_taken_by_neither_end() {
    let (ours, theirs) = (authority(), authority());
    // A caller that has not our CA finds it out first, even before it shows its own.
    let stranger = Files::of(&theirs, TaskId::CHIEF).load(TaskId::CHIEF);
    let why = why_not(stranger, Files::of(&ours, PS).load(PS)).await;
    assert!(why.starts_with("its certificate was not signed by the CA of our --tls-ca"), "{why}");
    // One that pretends to trust it is refused by the called end.
    let pair = theirs.issue(&[TaskId::CHIEF], valid()).unwrap();
    let both = format!("{}{}", ours.pair().cert, theirs.pair().cert);
    let stranger = Files::new(&pair, &both).load(TaskId::CHIEF);
    let why = why_not(stranger, Files::of(&ours, PS).load(PS)).await;
    assert!(why.starts_with("it does not take our certificate: its --tls-ca"), "{why}");
}

#[tokio::test]
async fn a_caller_with_the_certificate_of_another_task_is_told_and_refused() {
    let ca = authority();
    let worker = Files::of(&ca, TaskId::worker(1)).load(TaskId::worker(1));
    let why = refused(worker, Files::of(&ca, PS).load(PS)).await;
    assert_eq!(
        why,
        "it says that it is worker 0, but its certificate names worker-1.unisono: give it one for \
         worker-0.unisono"
    );
    let text = "this is between us two";
    let why = refused(secret(text, TaskId::worker(1)), secret(text, PS)).await;
    assert_eq!(why, "it says that it is worker 0, but proved itself as worker 1");
}

#[tokio::test]
async fn a_called_end_with_the_certificate_of_another_task_is_not_talked_to() {
    let ca = authority();
    let other = TaskId::ps(1);
    let chief = Files::of(&ca, TaskId::CHIEF).load(TaskId::CHIEF);
    let why = why_not(chief, Files::of(&ca, other).load(other)).await;
    assert_eq!(
        why,
        "its certificate names ps-1.unisono, not ps-0.unisono: compare --ps-hosts with where the \
         tasks run"
    );
}

#[tokio::test]
async fn ends_that_are_secured_in_different_ways_say_what_is_missing() {
    let ca = authority();
    let tls = |task| Files::of(&ca, task).load(task);
    let secret = |task| secret("this is between us two", task);
    let open = Security::default;
    let why = why_not(tls(TaskId::CHIEF), open()).await;
    assert!(why.contains("give it --tls-cert, --tls-key and --tls-ca, too"), "{why}");
    let why = why_not(tls(TaskId::CHIEF), secret(PS)).await;
    assert!(why.contains("give it --tls-cert, --tls-key and --tls-ca, too"), "{why}");
    let why = why_not(secret(TaskId::CHIEF), open()).await;
    assert!(why.ends_with("give it --secret-file and this release, too"), "{why}");
    let why = why_not(secret(TaskId::CHIEF), tls(PS)).await;
    assert_eq!(why, "it does not answer as one that has a --secret-file");
    let why = refused(open(), tls(PS)).await;
    assert_eq!(why, "this cluster uses TLS: give --tls-cert, --tls-key and --tls-ca");
    let why = refused(open(), secret(PS)).await;
    assert_eq!(why, "this cluster has a shared secret: give --secret-file");
}

/// Why a link ends, for the called end of it.
async fn why_closed(
    (mut caller, mut called): (TcpNetwork, TcpNetwork),
    is_flushed: bool,
) -> String {
    caller.connect(PS);
    let NetworkEvent::Connected { link, .. } = caller.next().await else { panic!("it connects") };
    caller.send(link, contract::hello(PS));
    assert!(matches!(called.next().await, NetworkEvent::Accepted { .. }));
    assert!(matches!(called.next().await, NetworkEvent::Received { .. }));
    if is_flushed {
        caller.flush().await;
    }
    drop(caller);
    match called.next().await {
        NetworkEvent::Closed { why, .. } => why,
        other => panic!("an end was due, not {other:?}"),
    }
}

#[tokio::test]
async fn an_end_that_somebody_could_have_made_on_the_way_is_told_from_a_close() {
    for networks in [with_tls, with_secret] {
        assert_eq!(why_closed(networks(), true).await, "closed by the other end");
        assert_eq!(
            why_closed(networks(), false).await,
            "cut off: the connection ended, and the other end had not closed it"
        );
    }
}

#[test]
fn whatever_is_wrong_with_the_files_is_told_at_the_start() {
    let (ca, other) = (authority(), authority());
    let files = Files::of(&ca, PS);
    let mut told = vec![Files::of(&ca, TaskId::ps(1)).error(PS)];
    let mut spoil = |name: &str, text: &str| {
        let before = std::fs::read_to_string(files.path(name)).unwrap();
        files.write(name, text);
        told.push(files.error(PS));
        files.write(name, &before);
    };
    spoil("cert", "");
    spoil("cert", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    spoil("cert", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    spoil("key", &other.pair().key);
    spoil("key", &other.pair().cert);
    spoil("ca", &other.pair().cert);
    spoil("ca", "no PEM at all");
    std::fs::remove_file(files.path("key")).unwrap();
    told.push(files.error(PS));
    let expired = Validity { from: now() - 4 * HOUR, until: now() - 2 * HOUR };
    let mayfly = ca.issue(&[PS], expired).unwrap();
    told.push(Files::new(&mayfly, &ca.pair().cert).error(PS));
    insta::assert_snapshot!(told.join("\n"), @"
    --tls-cert cert: it names ps-1.unisono, and this is ps 0: give it a certificate for ps-0.unisono
    --tls-cert cert: there is no certificate in it: it has to be PEM, as `unisono certs` makes it
    --tls-cert cert: it is not an X.509 certificate
    --tls-cert cert: the certificate in it is cut off: copy the file again, to its last line
    --tls-key key: it is not the key of the certificate in cert: give the two that were made together
    --tls-key key: there is no private key in it, but a certificate: give the file with the key of that certificate
    --tls-cert cert: it was not signed by the CA in ca: all tasks need certificates of one CA
    --tls-ca ca: there is no certificate in it: it has to be PEM, as `unisono certs` makes it
    cannot read --tls-key key: No such file or directory (os error 2); give the path of a file that this user may read
    --tls-cert cert: it expired 120 minutes ago: make a new one
    ");
}

/// What OpenSSL made; `fixtures/tls/make` says how.
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tls").join(name))
        .unwrap()
}

/// What ps 0 reports of these files: its certificates, its key, its CA.
fn refusal(cert: &[u8], key: &[u8], ca: &[u8]) -> String {
    let files = Files(TempDir::new().unwrap());
    for (name, bytes) in [("cert", cert), ("key", key), ("ca", ca)] {
        std::fs::write(files.path(name), bytes).unwrap();
    }
    match Security::load(&files.config(), PS) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string().replace(&format!("{}/", files.0.path().display()), ""),
    }
}

#[test]
fn every_certificate_and_key_of_a_wrong_kind_is_refused_with_its_remedy() {
    let [ca, good, key] = ["ca.pem", "good.pem", "key.pem"].map(fixture);
    let refused = |cert: &str, key: &str| refusal(&fixture(cert), &fixture(key), &ca);
    let of_p521 = |cert: &str| refusal(&fixture(cert), &key, &fixture("p521-ca.pem"));
    let marked = [&b"\xef\xbb\xbf"[..], &good].concat();
    let marked_inside = [&good[..], b"\xef\xbb\xbf", &ca].concat();
    let text = String::from_utf8(good).unwrap();
    let utf_16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let told = [
        refused("good.pem", "key.pem"),
        refused("v1.pem", "key.pem"),
        refused("sha1.pem", "key.pem"),
        refused("p521.pem", "p521-key.pem"),
        refused("secp256k1.pem", "secp256k1-key.pem"),
        of_p521("of-p521-sha256.pem"),
        of_p521("of-p521-sha512.pem"),
        refused("good.pem", "encrypted-key.pem"),
        refused("good.pem", "encrypted-ec-key.pem"),
        refused("key.pem", "key.pem"),
        refused("request.pem", "key.pem"),
        refused("good.der", "key.pem"),
        refusal(&marked, &key, &ca),
        refusal(&marked_inside, &key, &ca),
        refusal(&utf_16, &key, &ca),
    ];
    insta::assert_snapshot!(told.join("\n"), @r"
    fine
    --tls-cert cert: it is of X.509 version 1, which cannot name a task: have it made with the extension subjectAltName, as with `openssl x509 -extfile`, which makes it version 3
    --tls-cert cert: it is signed with SHA-1, which can be forged: have it signed again with SHA-256, as with `openssl x509 -sha256`
    --tls-key key: it is a key on the curve P-521, which is not supported: make a key of another kind (ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more) and a certificate for it
    --tls-key key: it is damaged, or of a kind that is not supported: make a key of a supported kind (ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more) and a certificate for it
    --tls-cert cert: it is signed with a key on the curve P-521, which is not supported: make a CA with a key of another kind (ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more)
    --tls-cert cert: it is signed with ECDSA and SHA-512, as a CA on the curve P-521 does, which is not supported: make a CA with a key of another kind (ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more), and sign with SHA-256
    --tls-key key: the private key in it is encrypted, and a task cannot ask for the passphrase: decrypt it, as with `openssl pkey -in key -out key.pem`, and keep the result from other users (chmod 600)
    --tls-key key: the private key in it is encrypted, and a task cannot ask for the passphrase: decrypt it, as with `openssl pkey -in key -out key.pem`, and keep the result from other users (chmod 600)
    --tls-cert cert: there is no certificate in it, but a private key: give the file with the certificate that was made for that key
    --tls-cert cert: there is no certificate in it, but a certificate request: have the CA sign that request, and give the certificate that it makes
    --tls-cert cert: there is no certificate in it, but binary data: convert it to PEM, as with `openssl x509` or `openssl pkey` and `-inform der`, or with `openssl pkcs12 -nodes` if it is PKCS #12
    --tls-cert cert: it has a byte-order mark, and PEM is ASCII: remove the mark, as with `sed -i 's/\xef\xbb\xbf//' cert`
    --tls-cert cert: it has a byte-order mark, and PEM is ASCII: remove the mark, as with `sed -i 's/\xef\xbb\xbf//' cert`
    --tls-cert cert: it is UTF-16 text with a byte-order mark, and PEM is ASCII: convert it, as with `iconv -f UTF-16 -t ASCII cert`
    ");
}

#[test]
fn certificate_that_is_its_own_ca_is_refused_with_its_remedy() {
    let ca = authority().pair();
    let told = refusal(ca.cert.as_bytes(), ca.key.as_bytes(), ca.cert.as_bytes());
    assert_eq!(
        told,
        "--tls-cert cert: it is the certificate of a CA (CA:TRUE), which no task can show: have that \
         CA sign one for the task, as `unisono certs` does"
    );
}

#[test]
fn chain_is_taken_in_its_order_and_refused_in_another_one() {
    let ca = authority();
    let Pair { cert, key } = ca.issue(&[PS], valid()).unwrap();
    let ca = ca.pair().cert;
    let refused = |chain: String| refusal(chain.as_bytes(), key.as_bytes(), ca.as_bytes());
    assert_eq!(refused(format!("{cert}{ca}")), "fine");
    assert_eq!(
        refused(format!("{ca}{cert}")),
        "--tls-cert cert: the certificates in it are in the wrong order: put the one for \
         ps-0.unisono first, and behind it the CA that signed it, then the CA of that one"
    );
}

/// A CA that signs for names of any form, which [`Authority`] does not.
fn liberal_ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The files of a task whose certificate is for these DNS names.
fn files_for(ca: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> Files {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = CertificateParams::new(names).unwrap().signed_by(&key, ca).unwrap();
    Files::new(&Pair { cert: cert.pem(), key: key.serialize_pem() }, &ca.pem())
}

#[tokio::test]
async fn wildcard_certificate_speaks_for_every_task() {
    let ca = liberal_ca();
    let load = |names: &[&str], me| files_for(&ca, names).load(me);
    for names in [&["*.unisono"][..], &["other.example", "*.Unisono"]] {
        // At both ends: rustls checks the called one, and this project the calling one.
        let (mut caller, mut called) = networks(load(names, TaskId::CHIEF), load(names, PS));
        caller.connect(PS);
        let NetworkEvent::Connected { link, .. } = caller.next().await else { panic!("connects") };
        caller.send(link, contract::hello(PS));
        let accepted = tokio::select! {
            event = called.next() => event,
            event = caller.next() => panic!("a call was due to come in, not {event:?}"),
        };
        assert!(matches!(accepted, NetworkEvent::Accepted { .. }), "{accepted:?}");
    }
}

#[test]
fn no_other_wildcard_speaks_for_a_task() {
    let ca = liberal_ca();
    for name in ["*.unisono.example", "*.ps-0.unisono", "unisono", "*.example"] {
        let told = files_for(&ca, &[name]).error(PS);
        assert_eq!(
            told,
            format!(
                "--tls-cert cert: it names {name}, and this is ps 0: give it a certificate for \
                 ps-0.unisono"
            )
        );
    }
}
