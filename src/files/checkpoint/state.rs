//! The text of TensorFlow's `checkpoint` file, which names the latest checkpoint and all other kept
//! checkpoints.
//!
//! The format is the text form of the `CheckpointState` message
//! (`tensorflow/python/training/checkpoint_state.proto`), limited to the fields that a saver
//! writes. This module does not read or write the file.

use std::fmt::Write as _;

/// Name of the state file within the logdir.
pub const STATE_FILE: &str = "checkpoint";

const LATEST: &str = "model_checkpoint_path";
const ALL: &str = "all_model_checkpoint_paths";

/// The reason why a state file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The content is not UTF-8.
    #[error("it is not text")]
    NotText,
    /// A line does not have the form `field: value`, or the string in the line is not complete.
    #[error("line {line} is not a whole `field: value`")]
    Malformed {
        /// Line number, from 1.
        line: usize,
    },
    /// The file names no latest checkpoint, because the file is torn or is not a state file.
    #[error("it has no {LATEST}")]
    NoLatest,
    /// A path in the file is not the path of a checkpoint in the logdir.
    #[error("it names {path:?}, which is not a checkpoint of this program in this directory")]
    Foreign {
        /// Path in the file, verbatim.
        path: String,
    },
    /// The operating system refused to read the file.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

/// Returns the text of a state file that lists `paths`, oldest first. The last path is the latest
/// checkpoint.
pub(crate) fn encode(paths: &[String]) -> String {
    let latest = paths.last().map(|path| (LATEST, path));
    let mut text = String::new();
    for (field, path) in latest.into_iter().chain(paths.iter().map(|path| (ALL, path))) {
        let _infallible = writeln!(text, "{field}: \"{}\"", escape(path));
    }
    text
}

/// Returns the checkpoint paths in a state file, oldest first. The last path is the latest
/// checkpoint.
///
/// # Errors
/// If the text is not a complete state file.
pub fn decode(bytes: &[u8]) -> Result<Vec<String>, StateError> {
    let text = std::str::from_utf8(bytes).map_err(|_| StateError::NotText)?;
    let (mut latest, mut paths) = (None, Vec::new());
    for (line, content) in (1..).zip(text.lines().map(str::trim)) {
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (field, value) = content.split_once(':').ok_or(StateError::Malformed { line })?;
        let string = || unescape(value.trim()).ok_or(StateError::Malformed { line });
        match field {
            LATEST => latest = Some(string()?),
            ALL => paths.push(string()?),
            // TensorFlow 2 also writes timestamps, which are not needed.
            _ => {}
        }
    }
    let latest = latest.ok_or(StateError::NoLatest)?;
    // As in TensorFlow, the latest checkpoint becomes the last of the list, whatever its position
    // was.
    paths.retain(|path| *path != latest);
    paths.push(latest);
    Ok(paths)
}

/// Escapes a string byte by byte, as protobuf's text format does. Unprintable bytes become octal
/// numbers.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        let _infallible = match byte {
            b'\n' | b'\r' | b'\t' | b' '..=b'~' => write!(escaped, "{}", byte.escape_ascii()),
            _ => write!(escaped, "\\{byte:03o}"),
        };
    }
    escaped
}

/// Returns the content of a quoted string, with either kind of quotes; `None` if the text is not a
/// quoted string.
fn unescape(quoted: &str) -> Option<String> {
    let quote = quoted.bytes().next().filter(|byte| matches!(byte, b'"' | b'\''))?;
    let mut rest = &quoted.as_bytes()[1..];
    let mut bytes = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            _ if byte == quote => break,
            b'\\' => bytes.push(unescape_one(&mut rest)?),
            _ => bytes.push(byte),
        }
    }
    // After the closing quote, only a comment may follow.
    let behind = rest.trim_ascii();
    (behind.is_empty() || behind.starts_with(b"#")).then(|| String::from_utf8(bytes).ok())?
}

/// Returns the byte that an escape sequence stands for. `rest` starts after the backslash, and is
/// advanced past the escape sequence.
fn unescape_one(rest: &mut &[u8]) -> Option<u8> {
    let (&kind, after) = rest.split_first()?;
    let (value, behind) = match kind {
        b'n' => (b'\n', after),
        b'r' => (b'\r', after),
        b't' => (b'\t', after),
        b'"' | b'\'' | b'\\' => (kind, after),
        b'0'..=b'7' => digits(rest, 8, 3)?,
        b'x' | b'X' => digits(after, 16, 2)?,
        _ => return None,
    };
    *rest = behind;
    Some(value)
}

fn digits(bytes: &[u8], radix: u32, at_most: usize) -> Option<(u8, &[u8])> {
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let n_digits = bytes.iter().take(at_most).take_while(is_digit).count();
    let (digits, behind) = bytes.split_at(n_digits);
    let value = u8::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    Some((value, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn state_file_names_the_latest_checkpoint_first_and_then_all_from_the_oldest() {
        let paths = ["a-1", "a-2"].map(str::to_owned);
        insta::assert_snapshot!(encode(&paths), @r#"
        model_checkpoint_path: "a-2"
        all_model_checkpoint_paths: "a-1"
        all_model_checkpoint_paths: "a-2"
        "#);
    }

    #[test]
    fn file_written_by_tensorflow_2_is_read() {
        let text = b"model_checkpoint_path: \"model.ckpt-2\"\n\
            all_model_checkpoint_paths: \"model.ckpt-1\"\n\
            all_model_checkpoint_paths: 'model.ckpt-2' # single quotes are fine\n\
            all_model_checkpoint_timestamps: 1700000000.25\n\
            last_preserved_timestamp: 1700000000.0\n";
        assert_eq!(decode(text).unwrap(), ["model.ckpt-1", "model.ckpt-2"]);
    }

    #[test]
    fn empty_lines_and_comments_are_ignored() {
        let text = b"\n# by hand\nmodel_checkpoint_path: \"a-1\"\n\n";
        assert_eq!(decode(text).unwrap(), ["a-1"]);
    }

    #[test]
    fn older_checkpoint_that_is_named_as_latest_is_listed_last() {
        let text = b"model_checkpoint_path: \"a-1\"\n\
            all_model_checkpoint_paths: \"a-1\"\nall_model_checkpoint_paths: \"a-2\"\n";
        assert_eq!(decode(text).unwrap(), ["a-2", "a-1"]);
    }

    #[test]
    fn error_of_a_torn_file_names_the_line() {
        assert_eq!(decode(b""), Err(StateError::NoLatest));
        assert_eq!(decode(b"model_checkpoint_pa"), Err(StateError::Malformed { line: 1 }));
        assert_eq!(
            decode(b"model_checkpoint_path: \"a\"\nall_model_checkpoint_paths: \"a-"),
            Err(StateError::Malformed { line: 2 })
        );
        assert_eq!(decode(&[0xff, 0xfe]), Err(StateError::NotText));
    }

    #[test]
    fn escapes_match_the_protobuf_text_format() {
        assert_eq!(escape("a\"b\\c\n\r\t\u{e9}'"), r#"a\"b\\c\n\r\t\303\251\'"#);
        assert_eq!(unescape(r#""\x41\102\7""#).as_deref(), Some("AB\u{7}"));
        assert_eq!(unescape(r#""\777""#), None, "more than a byte");
        assert_eq!(unescape(r#""\q""#), None);
    }

    proptest! {
        #[test]
        fn any_paths_survive_a_round_trip(paths in proptest::collection::btree_set(any::<String>(), 1..5)) {
            let paths: Vec<String> = paths.into_iter().collect();
            prop_assert_eq!(decode(encode(&paths).as_bytes()).unwrap(), paths);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>(), text in "[a-z_:\"'\\\\x0-9\n ]*") {
            let _ = decode(&bytes);
            let _ = decode(text.as_bytes());
            let _ = decode(format!("model_checkpoint_path: {text}").as_bytes());
        }
    }
}
