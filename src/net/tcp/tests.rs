//! Tests of the host contract over real sockets, and of cases that exist only with TCP: strangers,
//! silent callers and slow readers.

use crate::tcp::timeouts::GREETING_TIMEOUT;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use unisono_core::ids::{Cut, Generation, LinkId, Slot, Step, TaskId};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use super::security::tests::{with_secret, with_tls};
use super::*;
use unisono_core::floats::{Floats, Pool};
use unisono_core::host::{Network, contract};
use unisono_core::protocol::{Message, NetworkEvent, Recorded};
use unisono_core::wire::{self, Limits};

const PS: TaskId = TaskId::PS_ZERO;
const NOBODY: TaskId = TaskId::ps(1);
const LIMITS: Limits = Limits::with_tensor_bytes(4 * contract::MAX_VALUES);

/// Time limit after which a test counts as hanging.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs a test on both kinds of runtime.
fn on_both_runtimes<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(TEST_TIMEOUT, test()).await.expect("the test hangs")
        });
    }
}

/// Returns a network that listens, and its address.
fn listening() -> (TcpNetwork, SocketAddr) {
    listening_as(NetworkConfig::open(BTreeMap::new(), LIMITS))
}

fn listening_as(config: NetworkConfig) -> (TcpNetwork, SocketAddr) {
    let listener = bind("127.0.0.1:0").unwrap();
    let address = listener.addresses().unwrap()[0];
    (TcpNetwork::new(Some(listener), config).unwrap(), address)
}

/// Returns a calling network and a called network. The called network does not use shared memory.
fn with_sockets_only() -> (TcpNetwork, TcpNetwork) {
    let config = NetworkConfig::open(BTreeMap::new(), LIMITS);
    let (called, address) = listening_as(NetworkConfig { shared_memory: false, ..config });
    (calling(address), called)
}

/// Returns a network that does not listen. It calls the ps at `address`.
fn calling(address: impl ToString) -> TcpNetwork {
    let nobody = free_address();
    let addresses = [(PS, address.to_string()), (NOBODY, nobody.to_string())];
    TcpNetwork::new(None, NetworkConfig::open(addresses.into(), LIMITS)).unwrap()
}

/// Returns an address at which no process listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

macro_rules! contract_tests {
    ($($test:ident),* $(,)?) => {$(
        #[test]
        fn $test() {
            on_both_runtimes(|| async {
                let (called, address) = listening();
                let open = (calling(address), called);
                for (mut caller, mut called) in [open, with_sockets_only(), with_tls(), with_secret()] {
                    contract::$test(&mut caller, &mut called, PS).await;
                }
            });
        }
    )*};
}

contract_tests!(
    network_keeps_order_and_content,
    links_are_told_apart,
    close_delivers_what_was_sent_before,
    closed_is_told_once_to_the_other_end,
    who_closes_a_link_hears_no_more_of_it,
    link_numbers_are_never_used_again,
    network_next_is_cancel_safe,
    flush_delivers_everything,
);

#[test]
fn call_to_an_absent_task_fails_with_a_reason() {
    on_both_runtimes(|| async {
        contract::connect_to_nobody_fails_with_a_reason(&mut calling(free_address()), NOBODY).await;
    });
}

#[test]
fn real_clock_fulfils_the_contract() {
    on_both_runtimes(|| async {
        let clock = RealClock::start();
        contract::clock_never_goes_back(&clock).await;
        contract::any_moment_can_be_waited_for(&clock).await;
    });
}

#[test]
fn compute_thread_and_inline_compute_fulfil_the_contract() {
    on_both_runtimes(|| async {
        let mut thread = ComputeThread::start(Box::new(contract::echo)).unwrap();
        contract::compute_keeps_order(&mut thread).await;
        contract::compute_next_is_cancel_safe(&mut thread).await;
        let mut inline = InlineCompute::new(Box::new(contract::echo));
        contract::compute_keeps_order(&mut inline).await;
        contract::compute_next_is_cancel_safe(&mut inline).await;
    });
}

#[tokio::test]
#[should_panic(expected = "the batch is empty")]
async fn panic_of_the_compute_thread_is_raised_again_by_next() {
    use unisono_core::host::Compute;
    let mut thread = ComputeThread::start(Box::new(|_| panic!("the batch is empty"))).unwrap();
    thread.start(unisono_core::protocol::Job::Gradient {
        cut: Cut { generation: Generation::default(), step: Step(0) },
        slot: Slot(0),
        parameters: Vec::new(),
    });
    thread.next().await;
}

/// Connects a caller that sends `first`. Returns the caller's socket and its link.
async fn caller_sending(
    first: &Message,
    network: &mut TcpNetwork,
    address: SocketAddr,
) -> (TcpStream, LinkId) {
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(&wire::encode_to_vec(first)).await.unwrap();
    let link = match network.next().await {
        NetworkEvent::Accepted { link } => link,
        other => panic!("expected an accepted link, not {other:?}"),
    };
    let message = first.clone();
    assert_eq!(network.next().await, NetworkEvent::Received { link, message });
    (caller, link)
}

/// Connects a caller that sends a hello as the chief, so that the full limits apply to its frames.
/// Returns the caller's socket and its link.
async fn greeted(network: &mut TcpNetwork, address: SocketAddr) -> (TcpStream, LinkId) {
    caller_sending(&contract::hello(PS), network, address).await
}

/// Waits for the end of a link. Returns the reason.
async fn why_closed(network: &mut TcpNetwork, which: LinkId) -> String {
    match network.next().await {
        NetworkEvent::Closed { link, why } if link == which => why,
        other => panic!("expected the end of {which:?}, not {other:?}"),
    }
}

/// Calls a task that cannot be reached. Returns the reason.
async fn why_failed(network: &mut TcpNetwork, to: TaskId) -> String {
    network.connect(to);
    match network.next().await {
        NetworkEvent::ConnectFailed { why, .. } => why,
        other => panic!("expected a failed call, not {other:?}"),
    }
}

fn with_gradient(mut message: Message, values: impl Into<Floats>) -> Message {
    message.attach(vec![values.into()]).unwrap();
    message
}

fn push(n_values: usize) -> Message {
    Message::Push {
        cut: Cut { generation: Generation::default(), step: Step(1) },
        slot: Slot(0),
        loss: 0.5,
        recorded: Recorded::default(),
        gradient: vec![1.5; n_values].into(),
    }
}

#[tokio::test]
async fn error_of_a_refused_call_names_task_address_and_reason() {
    let address = free_address();
    assert_eq!(
        why_failed(&mut calling(address), PS).await,
        format!("ps 0 at {address}: connection refused")
    );
    assert_eq!(
        why_failed(&mut calling(address), TaskId::ps(7)).await,
        "ps 7 has no address in the cluster"
    );
}

#[tokio::test]
async fn call_tries_every_address_of_a_name() {
    // The first address of `localhost` may be ::1, but the ps listens only on 127.0.0.1.
    let (mut called, address) = listening();
    let mut caller = calling(format!("localhost:{}", address.port()));
    contract::link_numbers_are_never_used_again(&mut caller, &mut called, PS).await;
}

#[tokio::test]
async fn ipv6_literal_can_be_called() {
    let Ok(listener) = bind("[::1]:0") else { return };
    let port = listener.addresses().unwrap()[0].port();
    let mut called =
        TcpNetwork::new(Some(listener), NetworkConfig::open(BTreeMap::new(), LIMITS)).unwrap();
    let mut caller = calling(format!("[::1]:{port}"));
    contract::links_are_told_apart(&mut caller, &mut called, PS).await;
}

#[tokio::test]
async fn tensor_over_the_limit_closes_the_link_before_it_is_read() {
    let (mut called, address) = listening();
    let (mut caller, link) = greeted(&mut called, address).await;
    let too_long = wire::encode_to_vec(&push(contract::MAX_VALUES + 1));
    let head = &too_long[..too_long.len() - 4 * (contract::MAX_VALUES + 1)];
    caller.write_all(head).await.unwrap();
    assert_eq!(
        why_closed(&mut called, link).await,
        "too large: 1600004 bytes of tensors, the limit is 1600000"
    );
}

#[tokio::test]
async fn worker_may_send_tensors_no_longer_than_it_was_sent() {
    let (mut called, address) = listening();
    let Message::Hello(hello) = contract::hello(PS) else { panic!("expected a hello") };
    let hello = Message::Hello(unisono_core::protocol::Hello { from: TaskId::worker(1), ..hello });
    let (mut early, link) = caller_sending(&hello, &mut called, address).await;
    early.write_all(&wire::encode_to_vec(&push(10))).await.unwrap();
    let why = why_closed(&mut called, link).await;
    assert_eq!(why, "too large: 40 bytes of tensors, the limit is 0");

    let (mut caller, link) = caller_sending(&hello, &mut called, address).await;
    called.send(link, push(10));
    // By now, the reader of the called end waits for the answer. It must still apply the new limit.
    caller.read_exact(&mut vec![0; wire::encode_to_vec(&push(10)).len()]).await.unwrap();
    caller.write_all(&wire::encode_to_vec(&push(10))).await.unwrap();
    assert_eq!(called.next().await, NetworkEvent::Received { link, message: push(10) });
    caller.write_all(&wire::encode_to_vec(&push(11))).await.unwrap();
    let why = why_closed(&mut called, link).await;
    assert_eq!(why, "too large: 44 bytes of tensors, the limit is 40");
}

#[tokio::test]
async fn message_that_fails_the_check_closes_its_link() {
    let check: network::Check = Box::new(|from, message| match message {
        Message::Goodbye => Err(format!("{from:?} leaves")),
        _ => Ok(()),
    });
    let (mut called, address) =
        listening_as(NetworkConfig { check, ..NetworkConfig::open(BTreeMap::new(), LIMITS) });
    let (mut caller, link) = greeted(&mut called, address).await;
    for message in [Message::Heartbeat, Message::Goodbye] {
        caller.write_all(&wire::encode_to_vec(&message)).await.unwrap();
    }
    let message = Message::Heartbeat;
    assert_eq!(called.next().await, NetworkEvent::Received { link, message });
    let why = format!("{:?} leaves", Some(TaskId::CHIEF));
    assert_eq!(called.next().await, NetworkEvent::Closed { link, why });
    assert_eq!(caller.read(&mut [0; 1]).await.unwrap(), 0);
}

/// Sends large messages in both directions. Returns the bytes that went through sockets.
async fn bytes_through_sockets(shared_memory: bool, n_messages: usize) -> usize {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let config = NetworkConfig::open(BTreeMap::new(), LIMITS);
    let (mut called, address) = listening_as(NetworkConfig { shared_memory, ..config });
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut caller = calling(proxy.local_addr().unwrap());
    let n_bytes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_bytes);
    let forwarding = tokio::spawn(async move {
        let (mut here, _) = proxy.accept().await.unwrap();
        let mut there = TcpStream::connect(address).await.unwrap();
        let (mut here, mut there) = (here.split(), there.split());
        tokio::join!(
            forward(&mut here.0, &mut there.1, &counted),
            forward(&mut there.0, &mut here.1, &counted)
        );
    });
    caller.connect(PS);
    let NetworkEvent::Connected { link, .. } = caller.next().await else { panic!("no connection") };
    caller.send(link, contract::hello(PS));
    let NetworkEvent::Accepted { link: back } = called.next().await else { panic!("no caller") };
    called.next().await;
    let mut pool = Pool::new(4);
    pool.make_buffers(shareable);
    for number in 0..n_messages {
        let mut values = pool.take(contract::MAX_VALUES);
        values.fill(0.25);
        values[number] = number as f32;
        let message = with_gradient(push(0), pool.lend(values));
        called.send(back, message.clone());
        assert_eq!(caller.next().await, NetworkEvent::Received { link, message: message.clone() });
        caller.send(link, message.clone());
        assert_eq!(called.next().await, NetworkEvent::Received { link: back, message });
    }
    forwarding.abort();
    n_bytes.load(Ordering::Relaxed)
}

/// Copies bytes from one socket to another and counts them.
async fn forward(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    counted: &std::sync::atomic::AtomicUsize,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n_read @ 1..) = from.read(&mut bytes).await {
        counted.fetch_add(n_read, std::sync::atomic::Ordering::Relaxed);
        to.write_all(&bytes[..n_read]).await.unwrap();
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn tensors_bypass_the_sockets_once_both_ends_have_opened_the_buffers() {
    const N_MESSAGES: usize = 20;
    let n_bytes = 4 * contract::MAX_VALUES;
    assert!(bytes_through_sockets(false, N_MESSAGES).await > 2 * N_MESSAGES * n_bytes);
    let shared = bytes_through_sockets(true, N_MESSAGES).await;
    // The first tensor in each buffer goes through the socket. Each direction has a few buffers.
    assert!(shared < 8 * n_bytes, "{shared} bytes for {N_MESSAGES} messages of {n_bytes} each way");
}

#[tokio::test]
async fn peer_that_places_a_tensor_without_shared_memory_is_disconnected() {
    let message = push(5000);
    let placed = wire::Frame::new(&message).placed_head(&[0]);
    let (mut called, address) = listening();
    let (mut caller, link) = greeted(&mut called, address).await;
    caller.write_all(&placed).await.unwrap();
    assert_eq!(
        why_closed(&mut called, link).await,
        "it placed a tensor in a buffer that was not offered or not taken"
    );
    let config = NetworkConfig::open(BTreeMap::new(), LIMITS);
    let (mut called, address) = listening_as(NetworkConfig { shared_memory: false, ..config });
    let (mut caller, link) = greeted(&mut called, address).await;
    // A network without shared memory ignores notes.
    for bytes in [wire::Note::Taken(vec![0]).to_frame(), wire::encode_to_vec(&push(1)), placed] {
        caller.write_all(&bytes).await.unwrap();
    }
    assert_eq!(called.next().await, NetworkEvent::Received { link, message: push(1) });
    assert_eq!(
        why_closed(&mut called, link).await,
        "the frame uses shared memory, but the link has none"
    );
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn peer_whose_tensor_is_longer_than_its_buffer_is_disconnected() {
    use unisono_memory::{Buffer, Offer};
    let (mut called, address) = listening();
    let memory = Buffer::new(16, [3; 16]).unwrap();
    let Offer { process, file, token } = memory.offer();
    let (mut caller, link) = greeted(&mut called, address).await;
    let offer = wire::Note::Offer { buffer: 7, process, file, token };
    caller.write_all(&offer.to_frame()).await.unwrap();
    // The first tensor fits in the buffer.
    caller.write_all(&wire::Frame::new(&push(4)).placed_head(&[7])).await.unwrap();
    let message = with_gradient(push(0), vec![0.0; 4]);
    assert_eq!(called.next().await, NetworkEvent::Received { link, message });
    caller.write_all(&wire::Frame::new(&push(5)).placed_head(&[7])).await.unwrap();
    assert_eq!(
        why_closed(&mut called, link).await,
        "it placed a tensor of 5 values in a buffer of 16 bytes"
    );
}

#[tokio::test]
async fn damaged_frame_closes_the_link() {
    let (mut called, address) = listening();
    let (mut caller, link) = greeted(&mut called, address).await;
    let mut damaged = wire::encode_to_vec(&push(1000));
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    caller.write_all(&damaged).await.unwrap();
    assert_eq!(why_closed(&mut called, link).await, "damaged: tensor 0 does not fit its checksum");
}

#[tokio::test]
async fn end_in_the_middle_of_a_message_is_reported_as_such() {
    let (mut called, address) = listening();
    for n_bytes in [1, wire::HEADER_BYTES, wire::HEADER_BYTES + 1] {
        let (mut caller, link) = greeted(&mut called, address).await;
        let whole = wire::encode_to_vec(&push(1));
        caller.write_all(&whole[..n_bytes]).await.unwrap();
        drop(caller);
        assert_eq!(
            why_closed(&mut called, link).await,
            "closed by the other end in the middle of a message"
        );
    }
}

#[tokio::test]
async fn messages_that_arrive_byte_by_byte_are_assembled() {
    let (mut called, address) = listening();
    let (mut caller, link) = greeted(&mut called, address).await;
    caller.set_nodelay(true).unwrap();
    let messages = [Message::Heartbeat, push(3), push(0), Message::Goodbye];
    let bytes = messages.iter().flat_map(wire::encode_to_vec).collect::<Vec<_>>();
    let write = async {
        for byte in bytes {
            caller.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        for message in messages {
            assert_eq!(called.next().await, NetworkEvent::Received { link, message });
        }
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn messages_that_arrive_all_at_once_are_separated() {
    let (mut called, address) = listening();
    let mut caller = TcpStream::connect(address).await.unwrap();
    let long = Message::Refused { reason: "x".repeat(100_000), older_than: None };
    let messages =
        [contract::hello(PS), long.clone(), push(5000), Message::Heartbeat, push(1), long, push(0)];
    let bytes = messages.iter().flat_map(wire::encode_to_vec).collect::<Vec<_>>();
    caller.write_all(&bytes).await.unwrap();
    let NetworkEvent::Accepted { link } = called.next().await else { panic!("no caller") };
    for message in messages {
        assert_eq!(called.next().await, NetworkEvent::Received { link, message });
    }
}

#[tokio::test(start_paused = true)]
async fn silent_caller_is_closed_after_the_timeout_without_an_event() {
    let (mut called, address) = listening();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let clock = RealClock::start();
    tokio::select! {
        event = called.next() => panic!("no caller has greeted: {event:?}"),
        n_read = silent.read_u8() => assert!(n_read.is_err()),
    }
    let waited = unisono_core::host::Clock::now(&clock).since_origin();
    let due = GREETING_TIMEOUT;
    assert!(waited >= due && waited <= due + Duration::from_millis(10), "{waited:?}");
}

#[tokio::test]
async fn idle_callers_do_not_keep_tasks_out() {
    let (mut called, address) = listening();
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    contract::links_are_told_apart(&mut calling(address), &mut called, PS).await;
}

#[tokio::test(start_paused = true)]
async fn greeted_link_may_be_silent() {
    let (mut called, address) = listening();
    let (_caller, link) = greeted(&mut called, address).await;
    let silence = tokio::time::timeout(10 * GREETING_TIMEOUT, called.next()).await;
    assert!(silence.is_err(), "{link:?}: {silence:?}");
}

#[tokio::test(start_paused = true)]
async fn progress_is_reported_once_a_second_while_a_long_message_arrives() {
    let (mut called, address) = listening();
    let (mut caller, link) = greeted(&mut called, address).await;
    let message = push(contract::MAX_VALUES);
    let bytes = wire::encode_to_vec(&message);
    let mut chunks = bytes.chunks(bytes.len() / 8);
    for (half_seconds, chunk) in chunks.by_ref().take(6).enumerate() {
        caller.write_all(chunk).await.unwrap();
        // Half a second passes on the paused clock. This clock advances only while all tasks are
        // idle.
        let event = tokio::time::timeout(Duration::from_millis(500), called.next()).await.ok();
        let due = half_seconds >= 2 && half_seconds % 2 == 0;
        assert_eq!(event, due.then_some(NetworkEvent::Progress { link }), "{half_seconds}");
        if due {
            tokio::time::advance(Duration::from_millis(500)).await;
        }
    }
    for chunk in chunks {
        caller.write_all(chunk).await.unwrap();
    }
    let mut event = called.next().await;
    if event == (NetworkEvent::Progress { link }) {
        event = called.next().await;
    }
    assert_eq!(event, NetworkEvent::Received { link, message });
}

#[tokio::test]
async fn peer_that_does_not_read_is_disconnected_and_others_are_served() {
    let (mut called, address) = listening();
    let (mut deaf, to_deaf) = greeted(&mut called, address).await;
    let mut caller = calling(address);
    caller.connect(PS);
    let NetworkEvent::Connected { link, .. } = caller.next().await else { panic!("no connection") };
    caller.send(link, Message::Heartbeat);
    let NetworkEvent::Accepted { link: to_caller } = called.next().await else {
        panic!("no caller")
    };
    called.next().await;

    let version = push(contract::MAX_VALUES);
    let why = loop {
        called.send(to_deaf, version.clone());
        called.send(to_caller, version.clone());
        match caller.next().await {
            NetworkEvent::Received { message, .. } => assert_eq!(message, version),
            other => panic!("expected a message, not {other:?}"),
        }
        let event = tokio::time::timeout(Duration::ZERO, called.next()).await;
        match event {
            Ok(NetworkEvent::Closed { link, why }) if link == to_deaf => break why,
            Ok(other) => panic!("expected the end of the deaf link, not {other:?}"),
            Err(_) => {}
        }
    };
    assert!(why.starts_with("the other end does not read: "), "{why}");
    // The end is reported once, and messages to a closed link are dropped.
    called.send(to_deaf, version.clone());
    called.send(to_caller, Message::Goodbye);
    assert!(matches!(
        caller.next().await,
        NetworkEvent::Received { message: Message::Goodbye, .. }
    ));
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest).await;
    caller.flush().await;
    assert_eq!(why_closed(&mut called, to_caller).await, "closed by the other end");
}

#[tokio::test]
async fn node_gets_no_event_of_a_link_that_it_has_closed() {
    let (mut called, address) = listening();
    let (deaf, link) = greeted(&mut called, address).await;
    let version = push(contract::MAX_VALUES);
    for _ in 0..10 {
        called.send(link, version.clone());
    }
    called.close(link);
    let event = tokio::time::timeout(Duration::ZERO, called.next()).await;
    assert!(event.is_err(), "{event:?}");
    drop(deaf);
}

#[tokio::test(start_paused = true)]
async fn flush_ends_although_the_peer_does_not_read() {
    let (mut called, address) = listening();
    let (deaf, link) = greeted(&mut called, address).await;
    for _ in 0..3 {
        called.send(link, push(contract::MAX_VALUES));
    }
    let clock = RealClock::start();
    called.flush().await;
    let took = unisono_core::host::Clock::now(&clock).since_origin();
    assert!(took <= Duration::from_millis(2010), "{took:?}");
    drop(deaf);
}

#[tokio::test]
async fn port_is_free_after_a_flush() {
    let (mut called, address) = listening();
    called.flush().await;
    bind(&address.to_string()).unwrap();
}

#[tokio::test]
async fn dropped_network_closes_its_links_and_its_port() {
    let (mut called, address) = listening();
    let (mut caller, _) = greeted(&mut called, address).await;
    drop(called);
    assert!(matches!(caller.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(address).await.is_err());
}
