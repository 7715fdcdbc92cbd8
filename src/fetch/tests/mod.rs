//! Downloads from a loopback server that disconnects, sends wrong bytes, hangs and redirects.

mod server;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use self::server::{Act, Server};
use super::{Fetcher, Watcher};
use crate::fetch::error::{FetchError, Fetched, Timing};
use unisono_files::sha256;
use unisono_learn::data::{Known, PublishedFile};

const NAME: &str = "train-labels-idx1-ubyte";
const PLACE: &str = "train-labels-idx1-ubyte.gz";
const PART: &str = "train-labels-idx1-ubyte.gz.part";

/// Timeouts that even a loaded machine does not reach. There is no pause between requests.
const QUICK: Timing = Timing {
    connect_timeout: Duration::from_secs(20),
    idle_timeout: Duration::from_secs(20),
    retry_delay: Duration::ZERO,
};

/// A short timeout, for servers that stop sending.
const IMPATIENT: Timing = Timing { idle_timeout: Duration::from_millis(200), ..QUICK };

/// Returns bytes that gzip compresses to a half: each has four random bits, from Knuth's generator.
fn content() -> Vec<u8> {
    let next = |state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    };
    let states = std::iter::successors(Some(1_u64), next);
    states.map(|state| (state >> 60) as u8).take(300_000).collect()
}

fn gzip(level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(&content()).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

fn published() -> Vec<u8> {
    gzip(6)
}

fn known(bytes: &[u8]) -> Known {
    let sha256 = Box::leak(sha256::of_bytes(bytes).into_boxed_str());
    Known { len: bytes.len() as u64, sha256 }
}

fn file() -> PublishedFile {
    PublishedFile { name: NAME, gzip: known(&published()), content: known(&content()) }
}

#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Watcher for Notes {
    fn bytes(&mut self, _have: u64) {}

    fn note(&mut self, what: &str) {
        self.0.push(what.to_owned());
    }
}

fn fetch(
    folder: &Path,
    mirrors: &[&Server],
    timing: Timing,
) -> (Result<Fetched, FetchError>, Vec<String>) {
    let mirrors = mirrors.iter().map(|server| server.url()).collect();
    let mut notes = Notes::default();
    let fetched = Fetcher { folder, mirrors, timing }.fetch(&file(), &mut notes);
    (fetched, notes.0)
}

/// Fetches the file from these servers into an empty folder, and asserts that it is at its final
/// path.
fn fetched(mirrors: &[&Server]) -> TempDir {
    let folder = folder();
    let (fetched, notes) = fetch(folder.path(), mirrors, QUICK);
    assert!(matches!(fetched, Ok(Fetched::From(_))), "{fetched:?} {notes:?}");
    assert_in_place(folder.path(), &published());
    folder
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

fn assert_in_place(folder: &Path, bytes: &[u8]) {
    let found = fs::read(folder.join(PLACE)).expect("the file is in its place");
    assert!(found == bytes, "the file has different bytes");
    let entries = fs::read_dir(folder).expect("the folder can be listed").count();
    assert_eq!(entries, 1, "no other file is left");
}

/// Returns the text of the error. The URL of each mirror is replaced by a name.
fn error_of(fetched: Result<Fetched, FetchError>, mirrors: &[&Server]) -> String {
    let mut error = fetched.expect_err("no mirror has the file").to_string();
    for (mirror, name) in mirrors.iter().zip(["FIRST", "SECOND"]) {
        error = error.replace(&mirror.url(), name);
    }
    error
}

const LATER: &str = "run the same command later to resume the download, or give --mirror URL of \
                     another server";

#[test]
fn file_is_downloaded_to_its_place() {
    let server = Server::start([Act::Serve(published())]);
    fetched(&[&server]);
    assert_eq!(server.seen(), [format!("/set/{PLACE}")]);
}

#[test]
fn interrupted_download_is_resumed_at_the_same_byte() {
    let server = Server::start([
        Act::BreakOff { file: published(), after: 70_000 },
        Act::BreakOff { file: published(), after: 20_000 },
        Act::Serve(published()),
    ]);
    fetched(&[&server]);
    let path = format!("/set/{PLACE}");
    assert_eq!(
        server.seen(),
        [path.clone(), format!("{path} from 70000"), format!("{path} from 90000")]
    );
}

#[test]
fn bytes_of_an_earlier_run_are_not_downloaded_again() {
    let folder = folder();
    fs::write(folder.path().join(PART), &published()[..1234]).expect("a file can be written");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_in_place(folder.path(), &published());
    assert_eq!(server.seen(), [format!("/set/{PLACE} from 1234")]);
}

#[test]
fn whole_partial_file_is_moved_to_its_place() {
    let folder = folder();
    fs::write(folder.path().join(PART), published()).expect("a file can be written");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_in_place(folder.path(), &published());
}

#[test]
fn partial_file_with_wrong_bytes_is_downloaded_again_from_the_start() {
    let folder = folder();
    fs::write(folder.path().join(PART), [9; 1234]).expect("a file can be written");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, notes) = fetch(folder.path(), &[&server], QUICK);
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_in_place(folder.path(), &published());
    assert_eq!(notes, ["the partial download does not match the published file; starting again"]);
    let path = format!("/set/{PLACE}");
    assert_eq!(server.seen(), [format!("{path} from 1234"), path]);
}

#[test]
fn server_without_range_support_sends_the_whole_file_again() {
    let server = Server::start([
        Act::BreakOff { file: published(), after: 70_000 },
        Act::IgnoreRange(published()),
    ]);
    fetched(&[&server]);
}

#[test]
fn server_that_sends_a_different_range_is_given_up() {
    let first = Server::start([
        Act::BreakOff { file: published(), after: 70_000 },
        Act::OtherPart { file: published(), from: 60_000 },
    ]);
    let second = Server::start([Act::Serve(published())]);
    fetched(&[&first, &second]);
    assert_eq!(second.seen(), [format!("/set/{PLACE} from 70000")], "received bytes are kept");
}

#[test]
fn next_mirror_is_tried_if_one_does_not_have_the_file() {
    for status in [403, 404, 410] {
        let first = Server::start([Act::Status(status)]);
        let second = Server::start([Act::Serve(published())]);
        fetched(&[&first, &second]);
        assert_eq!(first.seen().len(), 1, "{status} is not retried");
    }
}

#[test]
fn request_is_retried_up_to_three_times_after_a_server_error() {
    for status in [500, 503, 429] {
        let server = Server::start([Act::Status(status), Act::Serve(published())]);
        fetched(&[&server]);
        assert_eq!(server.seen().len(), 2);
    }
    let first = Server::start([Act::Status(500)]);
    let second = Server::start([Act::Serve(published())]);
    fetched(&[&first, &second]);
    assert_eq!(first.seen().len(), 3, "the number of retries is limited");
}

#[test]
fn redirect_is_followed_with_the_requested_range() {
    let target = Server::start([Act::Serve(published())]);
    let url = format!("{}{PLACE}", target.url());
    let server =
        Server::start([Act::BreakOff { file: published(), after: 70_000 }, Act::Redirect(url)]);
    fetched(&[&server]);
    assert_eq!(target.seen(), [format!("/set/{PLACE} from 70000")]);
}

#[test]
fn server_that_redirects_to_itself_is_given_up() {
    let first = Server::start([Act::Redirect(format!("/set/{PLACE}"))]);
    let folder = folder();
    let (fetched, _) = fetch(folder.path(), &[&first], QUICK);
    let expected = format!("{PLACE} could not be fetched: FIRST redirects too many times; {LATER}");
    assert_eq!(error_of(fetched, &[&first]), expected);
    assert_eq!(fs::read_dir(folder.path()).expect("the folder can be listed").count(), 0);
}

#[test]
fn file_with_wrong_bytes_is_never_placed() {
    let mut wrong = published();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    let page = b"<html>Please log in to this network</html>".to_vec();
    let short = published()[..published().len() - 1].to_vec();
    let long = [published(), vec![0]].concat();
    for bytes in [wrong, page, short, long, Vec::new()] {
        let first = Server::start([Act::Serve(bytes.clone())]);
        let folder = folder();
        let (refused, _) = fetch(folder.path(), &[&first], QUICK);
        let why = "FIRST sent a different file than the published one";
        assert_eq!(
            error_of(refused, &[&first]),
            format!("{PLACE} could not be fetched: {why}; {LATER}")
        );
        assert_eq!(fs::read_dir(folder.path()).expect("the folder can be listed").count(), 0);
        // The next mirror is asked for the file from byte 0 on.
        let second = Server::start([Act::Serve(published())]);
        fetched(&[&Server::start([Act::Serve(bytes)]), &second]);
        assert_eq!(second.seen(), [format!("/set/{PLACE}")]);
    }
}

#[test]
fn same_content_in_another_compression_or_in_plain_form_is_accepted() {
    assert_ne!(gzip(1), published());
    for bytes in [gzip(1), content()] {
        let folder = folder();
        let server = Server::start([Act::Serve(bytes.clone())]);
        let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
        assert!(fetched.is_ok(), "{fetched:?}");
        assert_in_place(folder.path(), &bytes);
    }
}

#[test]
fn wrong_announced_length_is_detected() {
    // The announced length is too large: the client requests the rest, and the server answers that
    // there is none.
    let file = published();
    let len = file.len() as u64 + 1000;
    let server =
        Server::start([Act::Announce { file: file.clone(), len }, Act::Serve(file.clone())]);
    fetched(&[&server]);
    // The announced length is too small: the received bytes are not the complete file.
    let first = Server::start([Act::Announce { file: file.clone(), len: 1000 }]);
    let second = Server::start([Act::Serve(file.clone())]);
    fetched(&[&first, &second]);
    // The announced length is far too large: the client reads no byte.
    let first = Server::start([Act::Announce { file, len: 1 << 40 }]);
    let folder = folder();
    let (refused, _) = fetch(folder.path(), &[&first], QUICK);
    let why = "FIRST announces 1099511627776 bytes, far more than the file has";
    let expected = format!("{PLACE} could not be fetched: {why}; {LATER}");
    assert_eq!(error_of(refused, &[&first]), expected);
}

#[test]
fn endless_response_is_cut_off() {
    let first = Server::start([Act::Flood]);
    let folder = folder();
    let (fetched, _) = fetch(folder.path(), &[&first], QUICK);
    let why = "FIRST sends far more bytes than the file has";
    let expected = format!("{PLACE} could not be fetched: {why}; {LATER}");
    assert_eq!(error_of(fetched, &[&first]), expected);
    assert_eq!(fs::read_dir(folder.path()).expect("the folder can be listed").count(), 0);
}

#[test]
fn server_that_stops_sending_is_given_up_and_its_bytes_are_kept() {
    let silent = Server::start([
        Act::FallSilent { file: published(), after: 70_000 },
        Act::FallSilent { file: published(), after: 0 },
    ]);
    let folder = folder();
    let (fetched, _) = fetch(folder.path(), &[&silent], IMPATIENT);
    let expected = format!("{PLACE} could not be fetched: FIRST stopped sending; {LATER}");
    assert_eq!(error_of(fetched, &[&silent]), expected);
    let kept = fs::read(folder.path().join(PART)).expect("the partial file is kept");
    assert_eq!(kept, published()[..70_000]);

    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_in_place(folder.path(), &published());
}

#[test]
fn server_that_never_answers_is_given_up_after_three_requests() {
    let hanging = Server::start([Act::Hang]);
    let (fetched, _) = fetch(folder().path(), &[&hanging], IMPATIENT);
    let expected = format!("{PLACE} could not be fetched: FIRST does not answer in time; {LATER}");
    assert_eq!(error_of(fetched, &[&hanging]), expected);
    assert_eq!(hanging.seen().len(), 3);
}

#[test]
fn offline_error_explains_how_to_work_without_a_network() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.local_addr().expect("the listener is bound")
    };
    let folder = folder();
    let mirrors = vec![format!("http://{closed}/"), "http://no-such-host.invalid/".to_owned()];
    let fetcher = Fetcher { folder: folder.path(), mirrors, timing: QUICK };
    let error = fetcher.fetch(&file(), &mut Notes::default()).expect_err("no mirror is reachable");
    let error = error.to_string();
    assert!(error.contains("seems to be offline: fetch the files on another machine"), "{error}");
    assert!(error.contains("http://no-such-host.invalid/ has no address"), "{error}");
    assert!(error.contains("cannot be reached"), "{error}");
}

#[test]
fn existing_file_is_verified_and_never_replaced() {
    for (name, bytes) in [(PLACE, published()), (PLACE, gzip(1)), (NAME, content())] {
        let folder = folder();
        fs::write(folder.path().join(name), &bytes).expect("a file can be written");
        let (fetched, _) = fetch(folder.path(), &[], QUICK);
        assert_eq!(fetched.expect("the file exists"), Fetched::Present(folder.path().join(name)));
    }
    for name in [PLACE, NAME] {
        let folder = folder();
        fs::write(folder.path().join(name), b"mine").expect("a file can be written");
        let server = Server::start([Act::Serve(published())]);
        let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
        assert!(matches!(&fetched, Err(FetchError::Occupied(path)) if path.ends_with(name)));
        assert_eq!(fs::read(folder.path().join(name)).expect("the file exists"), b"mine");
        assert!(server.seen().is_empty());
    }
}

#[test]
fn second_download_of_a_file_into_the_same_folder_is_refused() {
    let folder = folder();
    let other = super::part::Part::open(folder.path(), NAME).expect("the file is not locked yet");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
    assert!(matches!(fetched, Err(FetchError::InUse(_))), "{fetched:?}");
    drop(other);
    assert!(fetch(folder.path(), &[&server], QUICK).0.is_ok());
}

#[test]
fn error_for_a_missing_folder_names_the_folder() {
    let folder = folder();
    let gone = folder.path().join("gone");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(&gone, &[&server], QUICK);
    let error = fetched.expect_err("the folder does not exist").to_string();
    assert!(error.starts_with("cannot open ") && error.contains("gone"), "{error}");
}
