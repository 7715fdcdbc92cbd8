//! Peers that cannot prove their identity: wrong secrets, replayed handshakes, and certificates
//! that are expired, of another task or of another CA.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use unisono_certs::{Authority, Pair, Validity};
use unisono_core::TaskId;
use unisono_core::protocol::Message;
use unisono_core::wire::{Limits, decode, encode_to_vec};

use crate::peer::{Peer, hello};
use crate::support::{Bits, Folder, HandStarted, Process, Role, hand_over, unisono};
use crate::{FLAGS, Waiting};

const WORKER: TaskId = TaskId::worker(1);
const HOUR: Duration = Duration::from_secs(3600);

fn write(folder: &Folder, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file can be written");
    path.display().to_string()
}

#[test]
fn wrong_secret_and_replayed_handshake_are_refused() {
    let folder = Folder::new();
    let ours = write(&folder, "secret", "what only we know\n");
    let theirs = write(&folder, "other", "what others know\n");
    let mut waiting = Waiting::start(&folder, &format!("--secret-file {ours}"));
    let cluster = &waiting.cluster;
    let address = waiting.ps_address().to_owned();

    let mut wrong = cluster.start_with(Role::Worker(1), &format!("--secret-file {theirs}"));
    let why = "the secrets of worker 1 and ps 0 differ: compare --secret-file of both";
    wrong.wait_for_stderr(&format!("ps 0 at {address}: it refused this task: {why}"));
    waiting.ps.wait_for_stderr(why);
    wrong.signal("KILL");

    let mut open = Peer::call(&address);
    open.send(&Message::Hello(hello(WORKER, TaskId::PS_ZERO, FLAGS)));
    let Message::Refused { reason, older_than: None } = open.receive() else { panic!("a refusal") };
    assert_eq!(reason, "this cluster has a shared secret: give --secret-file");
    waiting.ps.wait_for_stderr("it has no --secret-file");

    // An eavesdropper records the connection of a real worker and replays its bytes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let through = [listener.local_addr().unwrap().to_string()];
    let caller = Process::start(cluster.command(Role::Worker(1), &through, ""));
    let said = pass_on_a_handshake(&listener.accept().unwrap().0, &address);
    caller.signal("KILL");
    drop(listener);
    let mut replay = Peer::call(&address);
    replay.say(&said).unwrap();
    replay.wait_for_the_end();
    waiting.ps.wait_for_stderr("refused a caller at 127.0.0.1: a record fails authentication");
    waiting.finish(&folder);
}

/// Relays a handshake and the record after it. Returns the bytes of the caller.
fn pass_on_a_handshake(caller: &TcpStream, address: &str) -> Vec<u8> {
    let called = TcpStream::connect(address).expect("the ps listens");
    let mut said = Vec::new();
    let pass = |mut from: &TcpStream, mut to: &TcpStream, n_bytes: usize| {
        let mut bytes = vec![0; n_bytes];
        from.read_exact(&mut bytes).expect("the handshake continues");
        to.write_all(&bytes).expect("the handshake continues");
        bytes
    };
    // By docs/wire.md: one message from each end, and the caller's first record with its length.
    said.extend(pass(caller, &called, 62));
    pass(&called, caller, 49);
    let length = pass(caller, &called, 2);
    let n_bytes = u16::from_le_bytes([length[0], length[1]]);
    said.extend(length);
    said.extend(pass(caller, &called, n_bytes.into()));
    said
}

/// Connects with this certificate, trusting this CA, and sends a hello as the task `from`. Returns
/// the response.
fn say_hello(address: &str, pair: &Pair, ca: &str, from: TaskId) -> Result<Message, String> {
    let certificate =
        |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("valid PEM");
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca)).expect("valid PEM");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("valid PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(&pair.cert)], key)
        .expect("the key is the certificate's");
    let name = ServerName::try_from("ps-0.unisono").expect("a valid name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a valid configuration");
    let stream = TcpStream::connect(address).expect("the ps listens");
    let mut tls = StreamOwned::new(connection, stream);
    let read_exact = |tls: &mut StreamOwned<_, TcpStream>, bytes: &mut [u8]| {
        tls.read_exact(bytes).map_err(|error| error.to_string())
    };
    read_exact(&mut tls, &mut [0])?;
    let hello = encode_to_vec(&Message::Hello(hello(from, TaskId::PS_ZERO, FLAGS)));
    tls.write_all(&hello).expect("the ps still reads");
    let mut frame = Vec::new();
    // The ps sends one message and then closes the link.
    let _ = tls.read_to_end(&mut frame);
    decode(&frame, &Limits::with_tensor_bytes(0)).map_err(|error| error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "certificates are valid by the wall clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn tls_flags(folder: &Path, name: &str) -> String {
    let file = |name: String| folder.join(name).display().to_string();
    let [cert, key, ca] = [format!("{name}.pem"), format!("{name}-key.pem"), "ca.pem".into()];
    format!("--tls-cert {} --tls-key {} --tls-ca {}", file(cert), file(key), file(ca))
}

#[test]
fn peer_without_its_own_certificate_of_the_right_ca_is_refused() {
    let folder = Folder::new();
    // Not made by `unisono certs`, because one of the certificates has to be expired.
    let valid = Validity { from: now() - HOUR, until: now() + HOUR };
    let expired = Validity { from: now() - 4 * HOUR, until: now() - 2 * HOUR };
    let ours = Authority::new(valid).unwrap();
    let theirs = Authority::new(valid).unwrap();
    let ca = ours.pair().cert;
    write(&folder, "ca.pem", &ca);
    write(&folder, "other-ca.pem", &theirs.pair().cert);
    let keep = |name: &str, pair: Pair| {
        write(&folder, &format!("{name}.pem"), &pair.cert);
        write(&folder, &format!("{name}-key.pem"), &pair.key);
    };
    for (name, task) in
        [("ps-0", TaskId::PS_ZERO), ("worker-0", TaskId::CHIEF), ("worker-1", WORKER)]
    {
        keep(name, ours.issue(&[task], valid).unwrap());
    }
    keep("stranger", theirs.issue(&[WORKER], valid).unwrap());

    let cluster = HandStarted::new(1, 2, FLAGS, folder.logdir());
    let flags = |name| tls_flags(folder.path(), name);
    let mut ps = cluster.start_with(Role::Ps(0), &flags("ps-0"));
    let address = cluster.ps_hosts()[0].clone();

    // A process with a certificate of another CA: neither end accepts the other's certificate.
    let flags_of_stranger = flags("stranger").replace("ca.pem", "other-ca.pem");
    let mut stranger = cluster.start_with(Role::Worker(1), &flags_of_stranger);
    stranger.wait_for_stderr(&format!(
        "ps 0 at {address}: its certificate was not signed by the CA of our --tls-ca"
    ));
    ps.wait_for_stderr("it does not accept our certificate: its --tls-ca is not the CA");
    stranger.signal("KILL");

    // Clients of this test, which verify less than a task does.
    let stranger = theirs.issue(&[WORKER], valid).unwrap();
    let refused = say_hello(&address, &stranger, &ca, WORKER).unwrap_err();
    assert!(refused.contains("UnknownCA"), "{refused}");
    ps.wait_for_stderr("its certificate was not signed by the CA of our --tls-ca");

    let mayfly = ours.issue(&[WORKER], expired).unwrap();
    let refused = say_hello(&address, &mayfly, &ca, WORKER).unwrap_err();
    assert!(refused.contains("CertificateExpired"), "{refused}");
    ps.wait_for_stderr("its certificate expired 120 minutes ago: make a new certificate");

    let other = ours.issue(&[TaskId::worker(2)], valid).unwrap();
    let why = "it claims to be worker 1, but its certificate names worker-2.unisono: give it a \
               certificate for worker-1.unisono";
    let refused = say_hello(&address, &other, &ca, WORKER);
    assert_eq!(refused, Ok(Message::Refused { reason: why.to_owned(), older_than: None }));
    ps.wait_for_stderr(why);

    // Tasks with the right certificates train.
    let chief = cluster.start_with(Role::Worker(0), &flags("worker-0"));
    let worker = cluster.start_with(Role::Worker(1), &flags("worker-1"));
    for task in [worker, chief, ps] {
        task.wait().expect_code(0);
    }
    let calm = crate::support::bits_of(&format!("reference {FLAGS}"));
    Bits::read(&folder.logdir()).assert_same(&calm, "over TLS");
}

#[test]
fn local_trains_with_generated_certificates_and_certs_overwrites_nothing() {
    let folder = Folder::new();
    let certs = folder.join("certs");
    let make = || Process::start(unisono(&format!("certs {} --ps 1", certs.display()))).wait();
    make().expect_code(0);
    let before = crate::support::Listing::of(&certs);
    make().expect_error(1, &["ca.pem already exists, so nothing was written"]);
    before.assert_unchanged(&certs);
    for entry in std::fs::read_dir(&certs).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let entry = entry.unwrap();
        let is_key = entry.file_name().to_string_lossy().ends_with("-key.pem");
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077 == 0, is_key, "{:?} has mode {mode:o}", entry.path());
    }
    let calm = crate::support::bits_of(&format!("reference {FLAGS}"));
    let local = format!("local --ps 1 {FLAGS} {}", tls_flags(&certs, "local"));
    folder.bits_of(&local).assert_same(&calm, "over TLS");
    let wrong = format!("local --ps 1 {FLAGS} {}", tls_flags(&certs, "worker-1"));
    let names = "it names worker-1.unisono, but this task is ps 0";
    folder.run(&wrong).expect_error(1, &["worker-1.pem", names]);
}

#[test]
fn certs_adds_tasks_to_the_existing_ca_of_a_folder() {
    let folder = Folder::new();
    let certs = folder.join("certs");
    let make =
        |size: &str| Process::start(unisono(&format!("certs {} {size}", certs.display()))).wait();
    let read = |name: &str| std::fs::read(certs.join(name)).expect("the file was made");
    make("--ps 1 --workers 1").expect_code(0);
    let kept = ["ca.pem", "ca-key.pem", "ps-0.pem", "worker-0.pem", "local.pem"].map(read);

    let added = make("--ps 1 --workers 3");
    let stdout = &added.expect_code(0).stdout;
    assert!(stdout.contains("for each of worker-1, worker-2, valid"), "{stdout}");
    assert!(stdout.contains("local.pem lacks the new tasks"), "{stdout}");
    assert_eq!(["ca.pem", "ca-key.pem", "ps-0.pem", "worker-0.pem", "local.pem"].map(read), kept);

    // After its removal, the same command makes `local.pem` again, for all tasks.
    for name in ["local.pem", "local-key.pem"] {
        std::fs::remove_file(certs.join(name)).unwrap();
    }
    make("--ps 1 --workers 3").expect_code(0);
    let flags = "--hidden 8 --training-steps 5 --progress none --workers 3";
    let calm = crate::support::bits_of(&format!("reference {flags}"));
    let local = format!("local --ps 1 {flags} {}", tls_flags(&certs, "local"));
    folder.bits_of(&local).assert_same(&calm, "over TLS");

    let other = folder.join("other");
    Process::start(unisono(&format!("certs {}", other.display()))).wait().expect_code(0);
    std::fs::copy(other.join("ca-key.pem"), certs.join("ca-key.pem")).unwrap();
    make("--ps 2 --workers 3").expect_error(1, &["the private key does not belong to the CA's"]);
    std::fs::remove_file(certs.join("ca-key.pem")).unwrap();
    make("--ps 2 --workers 3").expect_error(1, &["ca.pem exists, but ", "ca-key.pem does not"]);
    assert!(!certs.join("ps-1.pem").exists());
}

#[test]
fn listening_on_all_addresses_without_security_is_warned_about_once() {
    let folder = Folder::new();
    let secret = format!("--secret-file {}", write(&folder, "secret", "what only we know\n"));
    for (host, flags, n_warnings) in
        [("0.0.0.0", "", 1), ("127.0.0.1", "", 0), ("0.0.0.0", &*secret, 0)]
    {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut command = unisono(&format!("ps {flags} {FLAGS}"));
        command.arg("--logdir").arg(folder.logdir());
        hand_over(&mut command, listener);
        let mut ps = Process::start(command);
        // A refused connection proves that the ps has started.
        let mut stranger = Peer::call(&format!("127.0.0.1:{port}"));
        stranger.say(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        ps.wait_for_stderr("refused a caller");
        let log = ps.stderr();
        assert_eq!(crate::lines_with(&log, "every caller can join"), n_warnings, "{log}");
    }
}
