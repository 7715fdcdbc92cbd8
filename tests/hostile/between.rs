//! A man in the middle between two tasks with a shared secret. The attacker relays the handshake
//! and then tampers with the records.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use unisono_core::TaskId;
use unisono_core::protocol::Message;
use unisono_core::wire::encode_to_vec;

use crate::peer::{TIMEOUT, hello};
use crate::support::{Folder, Process, Role, wait_until};
use crate::{FLAGS, Waiting, lines_with};

const NOTICED: &str = "a record fails authentication";

/// An attack on the records from one end. By docs/wire.md, a record is a length of two bytes and
/// then as many bytes.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Flip,
    Repeat,
    Swap,
    LeaveOut,
    Insert,
}

const ATTACKS: [Attack; 5] =
    [Attack::Flip, Attack::Repeat, Attack::Swap, Attack::LeaveOut, Attack::Insert];

/// The receiver of the tampered records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Ps,
    Worker,
}

/// One direction of the relayed connection.
struct Lane {
    from: TcpStream,
    to: TcpStream,
    /// All bytes of records that arrived in this direction.
    passed: Vec<u8>,
}

impl Lane {
    fn read(&mut self, n_bytes: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; n_bytes];
        self.from.read_exact(&mut bytes)?;
        self.passed.extend(&bytes);
        Ok(bytes)
    }

    fn record(&mut self) -> io::Result<Vec<u8>> {
        let length = self.read(2)?;
        let n_bytes = u16::from_le_bytes(length.as_slice().try_into().expect("two bytes"));
        Ok([length, self.read(n_bytes.into())?].concat())
    }

    fn pass_handshake(&mut self, n_bytes: usize) {
        let mut bytes = vec![0; n_bytes];
        self.from.read_exact(&mut bytes).expect("the handshake continues");
        self.to.write_all(&bytes).expect("the handshake continues");
    }

    fn attack(&mut self, attack: Attack) -> io::Result<()> {
        // The first two records pass, so that the receiver knows the sender.
        for _ in 0..2 {
            let record = self.record()?;
            self.to.write_all(&record)?;
        }
        let mut record = self.record()?;
        let sent = match attack {
            Attack::Flip => {
                record[2] ^= 1;
                record
            }
            Attack::Repeat => record.repeat(2),
            Attack::Swap => [self.record()?, record].concat(),
            Attack::LeaveOut => Vec::new(),
            Attack::Insert => [&record[..], &[20, 0], &[7; 20]].concat(),
        };
        self.to.write_all(&sent)
    }

    /// Relays records until an end closes the connection.
    fn pass_all(&mut self) -> io::Result<()> {
        loop {
            let record = self.record()?;
            self.to.write_all(&record)?;
        }
    }

    fn end(&self) {
        let _ = self.to.shutdown(Shutdown::Both);
        let _ = self.from.shutdown(Shutdown::Both);
    }
}

/// Relays one connection between a worker and its ps with an attack. Returns all bytes of records.
fn relay_with(worker: TcpStream, ps: &str, attack: Attack, victim: Victim) -> Vec<u8> {
    let ps = TcpStream::connect(ps).expect("the ps listens");
    for end in [&worker, &ps] {
        end.set_nodelay(true).expect("an open socket has this option");
        end.set_read_timeout(Some(TIMEOUT)).expect("an open socket has this option");
    }
    let clone = |end: &TcpStream| end.try_clone().expect("an open socket has this option");
    let mut there = Lane { from: clone(&worker), to: clone(&ps), passed: Vec::new() };
    let mut back = Lane { from: ps, to: worker, passed: Vec::new() };
    // The lengths of the handshake's messages are in docs/wire.md.
    there.pass_handshake(62);
    back.pass_handshake(49);
    thread::scope(|scope| {
        for (lane, receiver) in [(&mut there, Victim::Ps), (&mut back, Victim::Worker)] {
            scope.spawn(move || {
                // The victim closes the link when it detects the attack.
                let attacked = if receiver == victim { lane.attack(attack) } else { Ok(()) };
                let _ = attacked.and_then(|()| lane.pass_all());
                lane.end();
            });
        }
    });
    [there.passed, back.passed].concat()
}

#[test]
fn tampered_records_are_detected_and_change_no_bit() {
    let folder = Folder::new();
    let secret = folder.join("secret");
    std::fs::write(&secret, "what only we know\n").expect("a file can be written");
    let flags = format!("--secret-file {} --heartbeat-interval 0.2", secret.display());
    let waiting = Waiting::start(&folder, &flags);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let through = [listener.local_addr().expect("the listener is bound").to_string()];
    let worker = Process::start(waiting.cluster.command(Role::Worker(1), &through, ""));

    let mut passed = Vec::new();
    for (n_before, attack) in ATTACKS.into_iter().enumerate() {
        for victim in [Victim::Ps, Victim::Worker] {
            let (caller, _) = listener.accept().expect("the worker calls again");
            passed.extend(relay_with(caller, waiting.ps_address(), attack, victim));
            let process = if victim == Victim::Ps { &waiting.ps } else { &worker };
            wait_until(&format!("{victim:?} notices {attack:?}"), || {
                lines_with(&process.stderr(), NOTICED) > n_before
            });
        }
    }
    // The records contain no plain text of a hello.
    let hello = encode_to_vec(&Message::Hello(hello(TaskId::worker(1), TaskId::PS_ZERO, FLAGS)));
    let in_hello: BTreeSet<_> = hello.windows(8).collect();
    assert_eq!(passed.windows(8).find(|window| in_hello.contains(window)), None);

    worker.signal("KILL");
    drop(listener);
    waiting.finish(&folder);
}
