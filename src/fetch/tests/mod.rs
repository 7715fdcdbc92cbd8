//! Against a server on loopback that breaks off, lies, hangs and sends people elsewhere.

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
use crate::fetch::error::{FetchError, Fetched, Patience};
use unisono_files::sha256;
use unisono_learn::data::{Known, PublishedFile};

const NAME: &str = "train-labels-idx1-ubyte";
const PLACE: &str = "train-labels-idx1-ubyte.gz";
const PART: &str = "train-labels-idx1-ubyte.gz.part";

/// Not so long that a test takes long, and long enough for a loaded machine to answer in.
const QUICK: Patience = Patience {
    connect: Duration::from_secs(20),
    silence: Duration::from_secs(20),
    pause: Duration::ZERO,
};

/// For servers of whom silence is expected.
const IMPATIENT: Patience = Patience { silence: Duration::from_millis(200), ..QUICK };

/// Bytes of four random bits (Knuth's generator), so that gzip leaves half of them.
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
    patience: Patience,
) -> (Result<Fetched, FetchError>, Vec<String>) {
    let mirrors = mirrors.iter().map(|server| server.url()).collect();
    let mut notes = Notes::default();
    let fetched = Fetcher { folder, mirrors, patience }.fetch(&file(), &mut notes);
    (fetched, notes.0)
}

/// From these servers into an empty folder.
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
    assert!(fs::read(folder.join(PLACE)).expect("it is there") == bytes, "other bytes");
    let entries = fs::read_dir(folder).expect("a folder can be listed").count();
    assert_eq!(entries, 1, "nothing else is left");
}

fn told(fetched: Result<Fetched, FetchError>, mirrors: &[&Server]) -> String {
    let mut told = fetched.expect_err("nothing can be had").to_string();
    for (mirror, name) in mirrors.iter().zip(["FIRST", "SECOND"]) {
        told = told.replace(&mirror.url(), name);
    }
    told
}

const LATER: &str = "try again later, which goes on from what has come, or give --mirror URL of \
                     another server";

#[test]
fn a_file_comes_into_its_place_whole() {
    let server = Server::start([Act::Serve(published())]);
    fetched(&[&server]);
    assert_eq!(server.seen(), [format!("/set/{PLACE}")]);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
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
fn what_an_earlier_run_left_is_not_fetched_again() {
    let folder = folder();
    fs::write(folder.path().join(PART), &published()[..1234]).expect("a file can be written");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_in_place(folder.path(), &published());
    assert_eq!(server.seen(), [format!("/set/{PLACE} from 1234")]);
}

#[test]
fn a_whole_file_that_was_never_put_in_its_place_is() {
    let folder = folder();
    fs::write(folder.path().join(PART), published()).expect("a file can be written");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_in_place(folder.path(), &published());
}

#[test]
fn what_an_earlier_run_left_of_something_else_is_begun_again() {
    let folder = folder();
    fs::write(folder.path().join(PART), [9; 1234]).expect("a file can be written");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, notes) = fetch(folder.path(), &[&server], QUICK);
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_in_place(folder.path(), &published());
    assert_eq!(notes, ["what came earlier was not of this file: it is begun again"]);
    let path = format!("/set/{PLACE}");
    assert_eq!(server.seen(), [format!("{path} from 1234"), path]);
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_of_it_again() {
    let server = Server::start([
        Act::BreakOff { file: published(), after: 70_000 },
        Act::IgnoreRange(published()),
    ]);
    fetched(&[&server]);
}

#[test]
fn a_server_that_sends_another_part_is_left() {
    let first = Server::start([
        Act::BreakOff { file: published(), after: 70_000 },
        Act::OtherPart { file: published(), from: 60_000 },
    ]);
    let second = Server::start([Act::Serve(published())]);
    fetched(&[&first, &second]);
    assert_eq!(second.seen(), [format!("/set/{PLACE} from 70000")], "what came is kept");
}

#[test]
fn the_next_mirror_is_asked_when_one_has_not_got_it() {
    for status in [403, 404, 410] {
        let first = Server::start([Act::Status(status)]);
        let second = Server::start([Act::Serve(published())]);
        fetched(&[&first, &second]);
        assert_eq!(first.seen().len(), 1, "{status}: asking again is no use");
    }
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    for status in [500, 503, 429] {
        let server = Server::start([Act::Status(status), Act::Serve(published())]);
        fetched(&[&server]);
        assert_eq!(server.seen().len(), 2);
    }
    let first = Server::start([Act::Status(500)]);
    let second = Server::start([Act::Serve(published())]);
    fetched(&[&first, &second]);
    assert_eq!(first.seen().len(), 3, "but not for ever");
}

#[test]
fn a_redirect_is_followed_with_what_was_asked_for() {
    let target = Server::start([Act::Serve(published())]);
    let url = format!("{}{PLACE}", target.url());
    let server =
        Server::start([Act::BreakOff { file: published(), after: 70_000 }, Act::Redirect(url)]);
    fetched(&[&server]);
    assert_eq!(target.seen(), [format!("/set/{PLACE} from 70000")]);
}

#[test]
fn a_server_that_redirects_to_itself_is_left() {
    let first = Server::start([Act::Redirect(format!("/set/{PLACE}"))]);
    let folder = folder();
    let (fetched, _) = fetch(folder.path(), &[&first], QUICK);
    let expected = format!("{PLACE} could not be fetched: FIRST redirects without end; {LATER}");
    assert_eq!(told(fetched, &[&first]), expected);
    assert_eq!(fs::read_dir(folder.path()).expect("it can be listed").count(), 0);
}

#[test]
fn wrong_bytes_never_come_into_the_place() {
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
        let why = "FIRST sent other bytes than the published ones";
        assert_eq!(
            told(refused, &[&first]),
            format!("{PLACE} could not be fetched: {why}; {LATER}")
        );
        assert_eq!(fs::read_dir(folder.path()).expect("it can be listed").count(), 0);
        // And the next mirror begins anew.
        let second = Server::start([Act::Serve(published())]);
        fetched(&[&Server::start([Act::Serve(bytes)]), &second]);
        assert_eq!(second.seen(), [format!("/set/{PLACE}")]);
    }
}

#[test]
fn the_same_content_compressed_in_another_way_or_not_at_all_is_as_good() {
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
fn a_length_that_is_a_lie_is_found_out() {
    // Too long: the rest never comes, so it is asked for, and there is none.
    let file = published();
    let len = file.len() as u64 + 1000;
    let server =
        Server::start([Act::Announce { file: file.clone(), len }, Act::Serve(file.clone())]);
    fetched(&[&server]);
    // Too short: what came is not the file.
    let first = Server::start([Act::Announce { file: file.clone(), len: 1000 }]);
    let second = Server::start([Act::Serve(file.clone())]);
    fetched(&[&first, &second]);
    // Absurd: not a byte is taken.
    let first = Server::start([Act::Announce { file, len: 1 << 40 }]);
    let folder = folder();
    let (refused, _) = fetch(folder.path(), &[&first], QUICK);
    let why = "FIRST announces 1099511627776 bytes, far more than the file has";
    let expected = format!("{PLACE} could not be fetched: {why}; {LATER}");
    assert_eq!(told(refused, &[&first]), expected);
}

#[test]
fn bytes_without_end_are_cut_off() {
    let first = Server::start([Act::Flood]);
    let folder = folder();
    let (fetched, _) = fetch(folder.path(), &[&first], QUICK);
    let why = "FIRST sends far more bytes than the file has";
    let expected = format!("{PLACE} could not be fetched: {why}; {LATER}");
    assert_eq!(told(fetched, &[&first]), expected);
    assert_eq!(fs::read_dir(folder.path()).expect("it can be listed").count(), 0);
}

#[test]
fn a_server_that_falls_silent_is_left_and_what_it_sent_is_kept() {
    let silent = Server::start([
        Act::FallSilent { file: published(), after: 70_000 },
        Act::FallSilent { file: published(), after: 0 },
    ]);
    let folder = folder();
    let (fetched, _) = fetch(folder.path(), &[&silent], IMPATIENT);
    let expected = format!("{PLACE} could not be fetched: FIRST fell silent; {LATER}");
    assert_eq!(told(fetched, &[&silent]), expected);
    let kept = fs::read(folder.path().join(PART)).expect("it is kept");
    assert_eq!(kept, published()[..70_000]);

    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_in_place(folder.path(), &published());
}

#[test]
fn a_server_that_takes_the_call_and_says_nothing_is_left() {
    let hanging = Server::start([Act::Hang]);
    let (fetched, _) = fetch(folder().path(), &[&hanging], IMPATIENT);
    let expected =
        format!("{PLACE} could not be fetched: FIRST says nothing for too long; {LATER}");
    assert_eq!(told(fetched, &[&hanging]), expected);
    assert_eq!(hanging.seen().len(), 3);
}

#[test]
fn without_a_network_the_error_says_how_to_do_without() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.local_addr().expect("it is bound")
    };
    let folder = folder();
    let mirrors = vec![format!("http://{closed}/"), "http://no-such-host.invalid/".to_owned()];
    let fetcher = Fetcher { folder: folder.path(), mirrors, patience: QUICK };
    let error = fetcher.fetch(&file(), &mut Notes::default()).expect_err("nobody is there");
    let told = error.to_string();
    assert!(told.contains("no way to them: fetch the files on another machine"), "{told}");
    assert!(told.contains("http://no-such-host.invalid/ has no address"), "{told}");
    assert!(told.contains("cannot be reached"), "{told}");
}

#[test]
fn a_file_that_is_there_is_looked_at_and_left() {
    for (name, bytes) in [(PLACE, published()), (PLACE, gzip(1)), (NAME, content())] {
        let folder = folder();
        fs::write(folder.path().join(name), &bytes).expect("a file can be written");
        let (fetched, _) = fetch(folder.path(), &[], QUICK);
        assert_eq!(fetched.expect("it is there"), Fetched::Present(folder.path().join(name)));
    }
    for name in [PLACE, NAME] {
        let folder = folder();
        fs::write(folder.path().join(name), b"mine").expect("a file can be written");
        let server = Server::start([Act::Serve(published())]);
        let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
        assert!(matches!(&fetched, Err(FetchError::Occupied(path)) if path.ends_with(name)));
        assert_eq!(fs::read(folder.path().join(name)).expect("it is there"), b"mine");
        assert!(server.seen().is_empty());
    }
}

#[test]
fn two_do_not_write_one_file() {
    let folder = folder();
    let other = super::part::Part::open(folder.path(), NAME).expect("nobody else is here");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(folder.path(), &[&server], QUICK);
    assert!(matches!(fetched, Err(FetchError::InUse(_))), "{fetched:?}");
    drop(other);
    assert!(fetch(folder.path(), &[&server], QUICK).0.is_ok());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = folder();
    let gone = folder.path().join("gone");
    let server = Server::start([Act::Serve(published())]);
    let (fetched, _) = fetch(&gone, &[&server], QUICK);
    let told = fetched.expect_err("there is no folder").to_string();
    assert!(told.starts_with("cannot open ") && told.contains("gone"), "{told}");
}
