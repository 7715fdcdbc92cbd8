//! One end of a connection, which sends whatever the test wants.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use unisono::Workload;
use unisono::program::Action;
use unisono::program::args::parse;
use unisono::program::argv::CommandLine;
use unisono_config::Environment;
use unisono_core::protocol::{Hello, Message, PROTOCOL_VERSION, Recorded, Want};
use unisono_core::wire::{HEADER_BYTES, Header, Kind, Limits, encode_to_vec};
use unisono_core::{Cut, Generation, Incarnation, Slot, Step, TaskId};

/// Time within which a task must answer, even on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Peer(TcpStream);

impl Peer {
    pub(crate) fn call(address: &str) -> Self {
        Self::of(TcpStream::connect(address).expect("the task listens"))
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(TIMEOUT)).expect("an open socket has this option");
        stream.set_write_timeout(Some(TIMEOUT)).expect("an open socket has this option");
        stream.set_nodelay(true).expect("an open socket has this option");
        Self(stream)
    }

    /// Sends bytes. Fails if the other end closes the connection.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(crate) fn send(&mut self, message: &Message) {
        self.say(&encode_to_vec(message)).expect("the other end still reads");
    }

    pub(crate) fn say_no_more(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Receives the next message, and ignores notes about shared memory.
    pub(crate) fn receive(&mut self) -> Message {
        let limits = Limits::with_tensor_bytes(1 << 30);
        let mut frame = vec![0; HEADER_BYTES];
        self.0.read_exact(&mut frame).expect("a message arrives");
        let header = Header::parse(frame.first_chunk().expect("20 bytes"), &limits);
        let header = header.expect("a valid header");
        let mut body = vec![0; header.body_bytes()];
        self.0.read_exact(&mut body).expect("the body arrives");
        if header.kind() == Kind::Note {
            // A task may offer a buffer in shared memory. The peer does not take it.
            return self.receive();
        }
        let head = header.parse_body(&body, &limits).expect("a valid body");
        let lengths: Vec<_> = head.tensor_lengths().collect();
        let tensor = |n_values: usize| {
            let mut bytes = vec![0; 4 * n_values];
            self.0.read_exact(&mut bytes).expect("the tensors arrive");
            let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
            bytes.chunks_exact(4).map(value).collect::<Vec<_>>().into()
        };
        let tensors = lengths.into_iter().map(tensor).collect();
        head.finish(tensors).expect("a whole message")
    }

    /// Reads until the other end closes the connection. Fails if it does not.
    pub(crate) fn wait_for_the_end(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the other end did not close the connection: {error}"),
            }
        }
    }

    /// Returns whether the other end closes the connection or sends something within this time.
    pub(crate) fn is_answered_within(&self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).expect("an open socket has this option");
        let peeked = self.0.peek(&mut [0]);
        self.0.set_read_timeout(Some(TIMEOUT)).expect("an open socket has this option");
        match peeked {
            Ok(_) => true,
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
            }
        }
    }
}

/// Returns the hello of a task in a cluster of 1 ps and 2 workers with these flags.
pub(crate) fn hello(from: TaskId, to: TaskId, flags: &str) -> Hello {
    let words = format!("unisono local --ps 1 {flags}");
    let Ok(Action::Local(local)) = parse(
        &CommandLine::read(words.split_whitespace()),
        &Environment::default(),
        &Workload::built_in(),
    ) else {
        panic!("{words}")
    };
    Hello {
        version: PROTOCOL_VERSION,
        from,
        incarnation: Incarnation(1),
        to,
        settings: local.run.settings(),
        data: None,
    }
}

pub(crate) fn pull() -> Message {
    Message::Pull { want: Want::AtLeast(Cut::default()), recorded: Recorded::default() }
}

pub(crate) fn push(generation: Generation, step: Step, n_values: usize) -> Message {
    Message::Push {
        cut: Cut { generation, step },
        slot: Slot(1),
        loss: 0.5,
        recorded: Recorded::default(),
        gradient: vec![0.25; n_values].into(),
    }
}
