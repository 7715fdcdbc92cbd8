//! One end of a connection that says whatever the test wants.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use unisono::program::Action;
use unisono::program::args::parse;
use unisono::program::argv::CommandLine;
use unisono_config::Environment;
use unisono_core::protocol::{Hello, Message, PROTOCOL_VERSION, Recorded, Want};
use unisono_core::wire::{HEADER_BYTES, Header, Kind, Limits, encode_to_vec};
use unisono_core::{Cut, Generation, Incarnation, Slot, Step, TaskId};

/// Longer than anything that a task has to answer takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Peer(TcpStream);

impl Peer {
    pub(crate) fn call(address: &str) -> Self {
        Self::of(TcpStream::connect(address).expect("somebody listens"))
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("it is a socket");
        stream.set_nodelay(true).expect("it is a socket");
        Self(stream)
    }

    /// Says bytes; the other end may have closed before it has heard all of them.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(crate) fn send(&mut self, message: &Message) {
        self.say(&encode_to_vec(message)).expect("the other end still reads");
    }

    pub(crate) fn say_no_more(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> Message {
        let limits = Limits::with_tensor_bytes(1 << 30);
        let mut frame = vec![0; HEADER_BYTES];
        self.0.read_exact(&mut frame).expect("a message comes");
        let header = Header::parse(frame.first_chunk().expect("20 bytes"), &limits);
        let header = header.expect("it is a header");
        let mut body = vec![0; header.body_bytes()];
        self.0.read_exact(&mut body).expect("the rest of it comes");
        if header.kind() == Kind::Note {
            // An offer of memory, which is not taken.
            return self.receive();
        }
        let head = header.parse_body(&body, &limits).expect("it is whole");
        let lengths: Vec<_> = head.tensor_lengths().collect();
        let tensor = |n_values: usize| {
            let mut bytes = vec![0; 4 * n_values];
            self.0.read_exact(&mut bytes).expect("its tensors come");
            let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
            bytes.chunks_exact(4).map(value).collect::<Vec<_>>().into()
        };
        let tensors = lengths.into_iter().map(tensor).collect();
        head.finish(tensors).expect("it is whole")
    }

    /// Reads until the other end has closed. It must do so by itself.
    pub(crate) fn wait_for_the_end(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("it was not closed: {error}"),
            }
        }
    }

    /// Whether the other end closes, or says something, within this time.
    pub(crate) fn is_answered_within(&self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).expect("it is a socket");
        let peeked = self.0.peek(&mut [0]);
        self.0.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        match peeked {
            Ok(_) => true,
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
            }
        }
    }
}

/// What a task of a cluster of 1 ps and 2 workers says first, whose flags are these.
pub(crate) fn hello(from: TaskId, to: TaskId, flags: &str) -> Hello {
    let words = format!("unisono local --ps 1 {flags}");
    let Ok(Action::Local(local)) =
        parse(&CommandLine::read(words.split_whitespace()), &Environment::default())
    else {
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
