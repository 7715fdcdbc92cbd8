//! Tests of refused peers and unusable files. Also provides networks with security for
//! `tcp::tests`.

use crate::tcp::{NetworkConfig, Security, TcpNetwork, bind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use unisono_config::{SecurityConfig, TlsFiles};
use unisono_core::ids::TaskId;
use unisono_core::protocol::{Message, NetworkEvent};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use unisono_certs::{Authority, Pair, Validity};
use unisono_core::host::{Network, contract};
use unisono_core::wire::Limits;

const LIMITS: Limits = Limits::with_tensor_bytes(4 * contract::MAX_VALUES);
const PS: TaskId = TaskId::PS_ZERO;
const HOUR: Duration = Duration::from_secs(3600);

#[expect(clippy::disallowed_methods, reason = "certificates are valid by the wall clock")]
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

    /// Returns the files of `task` in the cluster of this CA.
    fn issued(authority: &Authority, task: TaskId) -> Self {
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

/// Returns two networks: that of the chief, which calls, and that of ps 0, which is called.
fn networks(caller: Security, called: Security) -> (TcpNetwork, TcpNetwork) {
    let listener = bind("127.0.0.1:0").unwrap();
    let addresses = BTreeMap::from([(PS, listener.addresses().unwrap()[0].to_string())]);
    let config = |addresses, security: Security| {
        let security = security.into();
        NetworkConfig { security, ..NetworkConfig::open(addresses, LIMITS) }
    };
    let caller = TcpNetwork::new(None, config(addresses, caller)).unwrap();
    (caller, TcpNetwork::new(Some(listener), config(BTreeMap::new(), called)).unwrap())
}

/// Returns two networks with TLS: that of the chief, which calls, and that of ps 0, which is
/// called.
pub(in crate::tcp) fn with_tls() -> (TcpNetwork, TcpNetwork) {
    let ca = authority();
    networks(Files::issued(&ca, TaskId::CHIEF).load(TaskId::CHIEF), Files::issued(&ca, PS).load(PS))
}

/// Returns two networks with a shared secret: that of the chief, which calls, and that of ps 0,
/// which is called.
pub(in crate::tcp) fn with_secret() -> (TcpNetwork, TcpNetwork) {
    let text = "this is between us two";
    networks(secret(text, TaskId::CHIEF), secret(text, PS))
}

/// Makes a call that fails, and returns the reason. The called network must report no event.
async fn call_failure(caller: Security, called: Security) -> String {
    let (mut caller, mut called) = networks(caller, called);
    caller.connect(PS);
    let why = tokio::select! {
        event = called.next() => panic!("the called network accepted a caller: {event:?}"),
        event = caller.next() => match event {
            NetworkEvent::ConnectFailed { why, .. } => why,
            other => panic!("expected a failed call, not {other:?}"),
        }
    };
    let (_, why) = why.split_once(": ").unwrap();
    why.to_owned()
}

/// Makes a call, sends a hello as the chief, and returns the reason of the refusal.
async fn hello_refusal(caller: Security, called: Security) -> String {
    let (mut caller, mut called) = networks(caller, called);
    caller.connect(PS);
    let NetworkEvent::Connected { link, .. } = caller.next().await else { panic!("no connection") };
    caller.send(link, contract::hello(PS));
    tokio::select! {
        event = called.next() => panic!("the called network accepted a caller: {event:?}"),
        event = caller.next() => match event {
            NetworkEvent::Received { message: Message::Refused { reason, older_than: None }, .. } => {
                reason
            }
            other => panic!("expected a refusal, not {other:?}"),
        }
    }
}

#[tokio::test]
async fn both_ends_refuse_a_certificate_of_another_ca() {
    let (ours, theirs) = (authority(), authority());
    // If a caller does not trust our CA, it refuses the called end before it presents its own
    // certificate.
    let stranger = Files::issued(&theirs, TaskId::CHIEF).load(TaskId::CHIEF);
    let why = call_failure(stranger, Files::issued(&ours, PS).load(PS)).await;
    assert!(why.starts_with("its certificate was not signed by the CA of our --tls-ca"), "{why}");
    // The caller trusts both CAs, so the called end is the one that refuses.
    let pair = theirs.issue(&[TaskId::CHIEF], valid()).unwrap();
    let both = format!("{}{}", ours.pair().cert, theirs.pair().cert);
    let stranger = Files::new(&pair, &both).load(TaskId::CHIEF);
    let why = call_failure(stranger, Files::issued(&ours, PS).load(PS)).await;
    assert!(why.starts_with("it does not accept our certificate: its --tls-ca"), "{why}");
}

#[tokio::test]
async fn caller_that_claims_to_be_another_task_is_refused_with_a_reason() {
    let ca = authority();
    let worker = Files::issued(&ca, TaskId::worker(1)).load(TaskId::worker(1));
    let why = hello_refusal(worker, Files::issued(&ca, PS).load(PS)).await;
    assert_eq!(
        why,
        "it claims to be worker 0, but its certificate names worker-1.unisono: give it a \
         certificate for worker-0.unisono"
    );
    let text = "this is between us two";
    let why = hello_refusal(secret(text, TaskId::worker(1)), secret(text, PS)).await;
    assert_eq!(why, "it claims to be worker 0, but authenticated as worker 1");
}

#[tokio::test]
async fn caller_refuses_a_called_end_with_the_certificate_of_another_task() {
    let ca = authority();
    let other = TaskId::ps(1);
    let chief = Files::issued(&ca, TaskId::CHIEF).load(TaskId::CHIEF);
    let why = call_failure(chief, Files::issued(&ca, other).load(other)).await;
    assert_eq!(
        why,
        "its certificate names ps-1.unisono, not ps-0.unisono: compare --ps-hosts with where the \
         tasks run"
    );
}

#[tokio::test]
async fn peers_with_different_security_methods_get_errors_that_name_the_missing_flags() {
    let ca = authority();
    let tls = |task| Files::issued(&ca, task).load(task);
    let secret = |task| secret("this is between us two", task);
    let open = Security::default;
    let why = call_failure(tls(TaskId::CHIEF), open()).await;
    assert!(why.contains("give it --tls-cert, --tls-key and --tls-ca, too"), "{why}");
    let why = call_failure(tls(TaskId::CHIEF), secret(PS)).await;
    assert!(why.contains("give it --tls-cert, --tls-key and --tls-ca, too"), "{why}");
    let why = call_failure(secret(TaskId::CHIEF), open()).await;
    assert!(why.ends_with("give it a --secret-file and this release, too"), "{why}");
    let why = call_failure(secret(TaskId::CHIEF), tls(PS)).await;
    assert_eq!(why, "it does not answer like a task with a --secret-file");
    let why = hello_refusal(open(), tls(PS)).await;
    assert_eq!(why, "this cluster uses TLS: give --tls-cert, --tls-key and --tls-ca");
    let why = hello_refusal(open(), secret(PS)).await;
    assert_eq!(why, "this cluster has a shared secret: give --secret-file");
}

/// Opens a link, ends it at the caller, and returns the reason that the called end reports.
async fn why_closed(
    (mut caller, mut called): (TcpNetwork, TcpNetwork),
    is_flushed: bool,
) -> String {
    caller.connect(PS);
    let NetworkEvent::Connected { link, .. } = caller.next().await else { panic!("no connection") };
    caller.send(link, contract::hello(PS));
    assert!(matches!(called.next().await, NetworkEvent::Accepted { .. }));
    assert!(matches!(called.next().await, NetworkEvent::Received { .. }));
    if is_flushed {
        caller.flush().await;
    }
    drop(caller);
    match called.next().await {
        NetworkEvent::Closed { why, .. } => why,
        other => panic!("expected the end of the link, not {other:?}"),
    }
}

#[tokio::test]
async fn stream_without_a_close_record_is_reported_as_cut_off() {
    for networks in [with_tls, with_secret] {
        assert_eq!(why_closed(networks(), true).await, "closed by the other end");
        assert_eq!(
            why_closed(networks(), false).await,
            "cut off: the connection ended without a close by the other end"
        );
    }
}

#[test]
fn unusable_files_are_reported_when_they_are_loaded() {
    let (ca, other) = (authority(), authority());
    let files = Files::issued(&ca, PS);
    let mut errors = vec![Files::issued(&ca, TaskId::ps(1)).error(PS)];
    let mut spoil = |name: &str, text: &str| {
        let before = std::fs::read_to_string(files.path(name)).unwrap();
        files.write(name, text);
        errors.push(files.error(PS));
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
    errors.push(files.error(PS));
    let expired = Validity { from: now() - 4 * HOUR, until: now() - 2 * HOUR };
    let expired = ca.issue(&[PS], expired).unwrap();
    errors.push(Files::new(&expired, &ca.pair().cert).error(PS));
    insta::assert_snapshot!(errors.join("\n"), @"
    --tls-cert cert: it names ps-1.unisono, but this task is ps 0: give a certificate for ps-0.unisono
    --tls-cert cert: there is no certificate in it: it has to be PEM, as `unisono certs` makes it
    --tls-cert cert: it is not an X.509 certificate
    --tls-cert cert: the certificate in it is cut off: copy the file again, to its last line
    --tls-key key: it is not the key of the certificate in cert: give a key and a certificate that were made together
    --tls-key key: there is no private key in it, but a certificate: give the file with the key of that certificate
    --tls-cert cert: it was not signed by the CA in ca: all tasks need certificates of one CA
    --tls-ca ca: there is no certificate in it: it has to be PEM, as `unisono certs` makes it
    cannot read --tls-key key: No such file or directory (os error 2); give the path of a file that this user may read
    --tls-cert cert: it expired 120 minutes ago: make a new certificate
    ");
}

/// Reads a file that the script `fixtures/tls/make` made with OpenSSL.
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tls").join(name))
        .unwrap()
}

/// Loads these files as the certificates, the key and the CA of ps 0. Returns the error, or "fine".
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
fn each_wrong_kind_of_certificate_or_key_is_refused_with_its_own_remedy() {
    let [ca, good, key] = ["ca.pem", "good.pem", "key.pem"].map(fixture);
    let refused = |cert: &str, key: &str| refusal(&fixture(cert), &fixture(key), &ca);
    let of_p521 = |cert: &str| refusal(&fixture(cert), &key, &fixture("p521-ca.pem"));
    let marked = [&b"\xef\xbb\xbf"[..], &good].concat();
    let marked_inside = [&good[..], b"\xef\xbb\xbf", &ca].concat();
    let text = String::from_utf8(good).unwrap();
    let utf_16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let errors = [
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
    insta::assert_snapshot!(errors.join("\n"), @r"
    fine
    --tls-cert cert: it has X.509 version 1, which cannot name a task: make it with the extension subjectAltName, as with `openssl x509 -extfile`, which makes version 3
    --tls-cert cert: it is signed with SHA-1, which can be forged: sign it again with SHA-256, as with `openssl x509 -sha256`
    --tls-key key: it is a key on the curve P-521, which is not supported: make a key of another kind (ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more) and a certificate for that key
    --tls-key key: it is damaged, or of an unsupported kind: make a key of a supported kind (ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more) and a certificate for that key
    --tls-cert cert: it is signed with a key on the curve P-521, which is not supported: make a CA with a key of another kind (ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more)
    --tls-cert cert: it is signed with ECDSA and SHA-512 (the default of a CA on the curve P-521), which is not supported: make a CA with a key of another kind (ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 bits or more), and sign with SHA-256
    --tls-key key: the private key in it is encrypted, but a task cannot ask for the passphrase: decrypt it, as with `openssl pkey -in key -out key.pem`, and keep the result from other users (chmod 600)
    --tls-key key: the private key in it is encrypted, but a task cannot ask for the passphrase: decrypt it, as with `openssl pkey -in key -out key.pem`, and keep the result from other users (chmod 600)
    --tls-cert cert: there is no certificate in it, but a private key: give the file with the certificate that was made for that key
    --tls-cert cert: there is no certificate in it, but a certificate request: have the CA sign that request, and give the certificate that it makes
    --tls-cert cert: there is no certificate in it, but binary data: convert it to PEM, as with `openssl x509` or `openssl pkey` and `-inform der`, or with `openssl pkcs12 -nodes` if it is PKCS #12
    --tls-cert cert: it has a byte-order mark, but PEM is ASCII: remove the mark, as with `sed -i 's/\xef\xbb\xbf//' cert`
    --tls-cert cert: it has a byte-order mark, but PEM is ASCII: remove the mark, as with `sed -i 's/\xef\xbb\xbf//' cert`
    --tls-cert cert: it is UTF-16 text with a byte-order mark, but PEM is ASCII: convert it, as with `iconv -f UTF-16 -t ASCII cert`
    ");
}

#[test]
fn ca_certificate_of_a_task_is_refused_with_its_remedy() {
    let ca = authority().pair();
    let error = refusal(ca.cert.as_bytes(), ca.key.as_bytes(), ca.cert.as_bytes());
    assert_eq!(
        error,
        "--tls-cert cert: it is the certificate of a CA (CA:TRUE), which no task can present: let \
         that CA sign a certificate for the task, as `unisono certs` does"
    );
}

#[test]
fn chain_in_the_wrong_order_is_refused() {
    let ca = authority();
    let Pair { cert, key } = ca.issue(&[PS], valid()).unwrap();
    let ca = ca.pair().cert;
    let refused = |chain: String| refusal(chain.as_bytes(), key.as_bytes(), ca.as_bytes());
    assert_eq!(refused(format!("{cert}{ca}")), "fine");
    assert_eq!(
        refused(format!("{ca}{cert}")),
        "--tls-cert cert: its certificates are in the wrong order: put the certificate for \
         ps-0.unisono first, then the CA that signed it, then the CA that signed that CA"
    );
}

/// Returns a CA that signs names of any form, unlike [`Authority`].
fn liberal_ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns the files of a task whose certificate has these DNS names.
fn files_for(ca: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> Files {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = CertificateParams::new(names).unwrap().signed_by(&key, ca).unwrap();
    Files::new(&Pair { cert: cert.pem(), key: key.serialize_pem() }, &ca.pem())
}

#[tokio::test]
async fn wildcard_certificate_is_accepted_for_every_task_at_both_ends() {
    let ca = liberal_ca();
    let load = |names: &[&str], me| files_for(&ca, names).load(me);
    for names in [&["*.unisono"][..], &["other.example", "*.Unisono"]] {
        let (mut caller, mut called) = networks(load(names, TaskId::CHIEF), load(names, PS));
        caller.connect(PS);
        let NetworkEvent::Connected { link, .. } = caller.next().await else {
            panic!("no connection")
        };
        caller.send(link, contract::hello(PS));
        let accepted = tokio::select! {
            event = called.next() => event,
            event = caller.next() => panic!("expected an accepted call, not {event:?}"),
        };
        assert!(matches!(accepted, NetworkEvent::Accepted { .. }), "{accepted:?}");
    }
}

#[test]
fn wildcard_certificate_for_other_names_is_refused() {
    let ca = liberal_ca();
    for name in ["*.unisono.example", "*.ps-0.unisono", "unisono", "*.example"] {
        let error = files_for(&ca, &[name]).error(PS);
        assert_eq!(
            error,
            format!(
                "--tls-cert cert: it names {name}, but this task is ps 0: give a certificate for \
                 ps-0.unisono"
            )
        );
    }
}
