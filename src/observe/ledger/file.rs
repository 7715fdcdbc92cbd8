//! Reads ledgers. Invalid bytes cause an error that names the line and the problem.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::line::{FORMAT, Header, Line};
use unisono_core::ids::Incarnation;
use unisono_files::disk::lines::{self, MAX_SHOWN, ReadError};

/// A ledger that was read completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Path of the file.
    pub path: PathBuf,
    /// Number of the ps that wrote the ledger.
    pub ps: u32,
    /// Lines of the ledger, numbered from 1. The first line is a header.
    pub lines: Vec<Line>,
    /// Line number of an incomplete last line, which `lines` does not contain; `None` if the last
    /// line is complete. A crash or a full disk tore the incomplete line, or the ps is still
    /// writing the line.
    pub torn: Option<usize>,
}

impl Ledger {
    /// Creates a ledger from lines in memory, without a file.
    #[must_use]
    pub fn of_lines(ps: u32, lines: Vec<Line>) -> Self {
        Self { path: file_name(ps).into(), ps, lines, torn: None }
    }
}

/// Returns the file name of the ledger of a ps.
#[must_use]
pub fn file_name(ps: u32) -> String {
    format!("ledger-ps{ps}.jsonl")
}

fn ps_of(name: &str) -> Option<u32> {
    let ps = name.strip_prefix("ledger-ps")?.strip_suffix(".jsonl")?.parse().ok()?;
    (file_name(ps) == name).then_some(ps)
}

/// Returns the last header in the last of these ledgers. This header belongs to the newest
/// incarnation of that ps.
#[must_use]
pub fn last_header(ledgers: &[Ledger]) -> Option<&Header> {
    let mut headers =
        ledgers.iter().flat_map(|ledger| &ledger.lines).filter_map(|line| match line {
            Line::Header(header) => Some(header),
            _ => None,
        });
    headers.next_back()
}

/// Reads all ledgers of a logdir, ascending by ps.
///
/// # Errors
/// Returns an error if the logdir contains no ledger, or a ledger cannot be read.
pub fn read_all(logdir: &Path) -> Result<Vec<Ledger>, ReadError> {
    let remedy = "give the folder in which the ps write their ledgers; they do so with --ledger";
    let found = lines::find(logdir, ps_of, "ledger-psN.jsonl", remedy)?;
    found.into_iter().map(|(ps, path)| read(&path, ps)).collect()
}

/// Reads the ledger of a ps.
///
/// # Errors
/// Returns an error if the file cannot be read, or a line is not valid.
pub fn read(path: &Path, ps: u32) -> Result<Ledger, ReadError> {
    parse(path, ps, &lines::read(path)?)
}

/// Returns the last incarnation in the ledger of a ps; `None` if there is no readable ledger.
#[must_use]
pub fn last_incarnation(logdir: &Path, ps: u32) -> Option<Incarnation> {
    let lines = lines::last_lines(&logdir.join(file_name(ps)));
    let of_line = |text: &Vec<u8>| parse_line(text).ok().map(|line| line.incarnation());
    lines.iter().find_map(of_line)
}

/// Parses the bytes of the ledger at `path`.
///
/// # Errors
/// Returns an error if a line is not valid.
pub fn parse(path: &Path, ps: u32, bytes: &[u8]) -> Result<Ledger, ReadError> {
    let mut ledger = Ledger { path: path.to_owned(), ps, lines: Vec::new(), torn: None };
    for (number, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let Some(text) = text.strip_suffix(b"\n") else {
            ledger.torn = Some(number);
            break;
        };
        let line = parse_line(text)
            .and_then(|line| check(line, ps, number, text))
            .map_err(|wrong| ReadError::Line { path: path.to_owned(), line: number, wrong })?;
        ledger.lines.push(line);
    }
    Ok(ledger)
}

/// Checks that the ledger of `ps` may have this line at this line number: the first line must be a
/// header, and every header must name `ps` and valid counts.
fn check(line: Line, ps: u32, number: usize, text: &[u8]) -> Result<Line, String> {
    let why = match &line {
        Line::Header(Header { ps: found, .. }) if *found != ps => {
            return Err(format!(
                "the ledger belongs to ps {found}: rename it to {}, or replace it with the right one",
                file_name(*found)
            ));
        }
        Line::Header(header) => header.mistake(),
        _ => (number == 1).then(|| "the first line must be a header".to_owned()),
    };
    why.map_or(Ok(line), |why| Err(damaged(text, &why)))
}

fn damaged(text: &[u8], why: &str) -> String {
    let content = lines::beginning(text);
    format!(
        "{content:?} is not a line of a ledger: {why}; the file is damaged: restore a good copy"
    )
}

fn other_format(format: u32) -> String {
    format!(
        "the ledger has format {format}, but this program reads format {FORMAT}: use the version \
         that wrote it, or a later one"
    )
}

fn parse_line(text: &[u8]) -> Result<Line, String> {
    // The header of a later format may have other fields. So the format number is also parsed
    // alone, to distinguish a later format from damage.
    #[derive(Deserialize)]
    struct AnyHeader {
        header: AnyFormat,
    }
    #[derive(Deserialize)]
    struct AnyFormat {
        format: u32,
    }
    match serde_json::from_slice(text) {
        Ok(Line::Header(Header { format, .. })) if format != FORMAT => Err(other_format(format)),
        Ok(line) => Ok(line),
        Err(error) => match serde_json::from_slice::<AnyHeader>(text) {
            Ok(any) if any.header.format != FORMAT => Err(other_format(any.header.format)),
            // The parser sees only this line, so the line number in the parser's error is always 1.
            // The message already contains the right line number as `path:line`.
            _ => {
                let why = shown(&error.to_string()).replace("at line 1 column", "at column");
                Err(damaged(text, &why))
            }
        },
    }
}

/// Shortens a parser's error message, which may quote a long line, and replaces control characters,
/// so that the message fits in one line.
fn shown(why: &str) -> String {
    let in_line = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let chars: Vec<char> = why.chars().map(in_line).collect();
    // The end of a long message is kept, too, because it contains the expected content and the
    // column.
    match chars.len().checked_sub(4 * MAX_SHOWN) {
        None | Some(0) => chars.iter().collect(),
        Some(_) => {
            let (head, tail) = (&chars[..2 * MAX_SHOWN], &chars[chars.len() - 2 * MAX_SHOWN..]);
            head.iter().chain(&['…']).chain(tail).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::update;
    use super::*;

    const HEADER: &str = r#"{"header":{"format":1,"ps":0,"incarnation":3,"n_ps":1,"replicas_to_aggregate":2,"total_num_replicas":2,"training_steps":10,"settings":[]}}"#;

    fn error(text: &str) -> String {
        parse(Path::new("L"), 0, text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn last_incarnation_is_read_from_the_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let last = || last_incarnation(folder.path(), 0);
        assert_eq!(last(), None);
        let header =
            |life: u64| HEADER.replace("\"incarnation\":3", &format!("\"incarnation\":{life}"));
        let path = folder.path().join("ledger-ps0.jsonl");
        let text = format!("{}\n{}\n{}", header(9), header(7), header(8));
        std::fs::write(&path, &text).unwrap();
        assert_eq!(last(), Some(Incarnation(7)), "the last line is torn");
        std::fs::write(&path, text + "\n").unwrap();
        assert_eq!(last(), Some(Incarnation(8)));
        std::fs::remove_file(&path).unwrap();
        std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert_eq!(last(), None, "a pipe is not opened");
    }

    #[test]
    fn every_error_has_file_line_text_and_remedy() {
        let good = HEADER.to_owned() + "\n";
        let update = Line::Update(update(1)).to_text();
        let all = [
            update.clone() + "\n",
            good.clone() + "\n",
            good.clone() + "{\"updat\n",
            good.clone() + "\u{0}\u{0}\n" + &update + "\n",
            good.clone() + &update.replace("step", "stop") + "\n",
            good.clone() + &update.replace("\"after\":\"0", "\"after\":\"x") + "\n",
            good.clone() + &update.replace("0.100000001", "cheap") + "\n",
            good.clone() + &update.replace("\"step\"", "\"st\\nep\"") + "\n",
            good.clone()
                + &update.replace("\"step\"", &format!("\"{}\"", "step".repeat(300)))
                + "\n",
            good.replace("\"ps\":0", "\"ps\":3"),
            good.replace("\"n_ps\":1", "\"n_ps\":4000000000"),
            good.replace("\"format\":1", "\"format\":2"),
            good.replace("\"format\":1", "\"format\":2,\"news\":1"),
        ]
        .map(|text| error(&text))
        .join("\n");
        insta::assert_snapshot!(all, @r#"
        L:1: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"step\":1,\"slots\"" is not a line of a ledger: the first line must be a header; the file is damaged: restore a good copy
        L:2: "" is not a line of a ledger: EOF while parsing a value at column 0; the file is damaged: restore a good copy
        L:2: "{\"updat" is not a line of a ledger: EOF while parsing a string at column 7; the file is damaged: restore a good copy
        L:2: "\0\0" is not a line of a ledger: expected value at column 1; the file is damaged: restore a good copy
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"stop\":1,\"slots\"" is not a line of a ledger: unknown field `stop`, expected one of `incarnation`, `generation`, `step`, `slots`, `before`, `after` at column 70; the file is damaged: restore a good copy
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"step\":1,\"slots\"" is not a line of a ledger: "x0000002" is not 8 hexadecimal digits at column 326; the file is damaged: restore a good copy
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"step\":1,\"slots\"" is not a line of a ledger: "cheap" is not a loss at column 154; the file is damaged: restore a good copy
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"st\\nep\":1,\"slot" is not a line of a ledger: unknown field `st�ep`, expected one of `incarnation`, `generation`, `step`, `slots`, `before`, `after` at column 72; the file is damaged: restore a good copy
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"stepstepstepste" is not a line of a ledger: unknown field `stepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepsteps…stepstepstepstepstepstepstepstepstepstepstepstepstepstep`, expected one of `incarnation`, `generation`, `step`, `slots`, `before`, `after` at column 1266; the file is damaged: restore a good copy
        L:1: the ledger belongs to ps 3: rename it to ledger-ps3.jsonl, or replace it with the right one
        L:1: "{\"header\":{\"format\":1,\"ps\":0,\"incarnation\":3,\"n_ps\":4000000000,\"replicas_to_aggr" is not a line of a ledger: n_ps is 4000000000, but must be between 1 and 65536; the file is damaged: restore a good copy
        L:1: the ledger has format 2, but this program reads format 1: use the version that wrote it, or a later one
        L:1: the ledger has format 2, but this program reads format 1: use the version that wrote it, or a later one
        "#);
    }

    #[test]
    fn incomplete_last_line_is_left_out() {
        let text = format!("{HEADER}\n{}", Line::Update(update(1)).to_text());
        let ledger = parse(Path::new("L"), 0, text.as_bytes()).unwrap();
        assert_eq!((ledger.lines.len(), ledger.torn), (1, Some(2)));
        let empty = parse(Path::new("L"), 0, b"").unwrap();
        assert_eq!((empty.lines.len(), empty.torn), (0, None));
    }

    #[test]
    fn only_ledger_file_names_have_a_ps() {
        for (name, ps) in [("ledger-ps0.jsonl", Some(0)), ("ledger-ps12.jsonl", Some(12))] {
            assert_eq!(ps_of(name), ps);
        }
        for name in ["ledger-ps01.jsonl", "ledger-ps.jsonl", "ledger-ps1.jsonl~", "losses.csv"] {
            assert_eq!(ps_of(name), None, "{name}");
        }
    }
}
