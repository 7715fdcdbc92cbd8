//! Reads ledgers back. Any bytes are safe to try; what is wrong with them is told with its line.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::line::{FORMAT, Header, Line};
use unisono_core::ids::Incarnation;
use unisono_files::disk::lines::FolderError;
use unisono_files::disk::{Disk as _, RealDisk, lines};

/// How much of a line is shown when it is none.
const MAX_SHOWN: usize = 80;

/// A ledger, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub ps: u32,
    /// Its lines; the first one, if there is any, is a header.
    pub lines: Vec<Numbered>,
    /// The number of a last line without an end, which was left out: a crash or a full disk tore
    /// it, or it is being written.
    pub torn: Option<usize>,
}

/// A line, and its number in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// From 1.
    pub number: usize,
    /// What it says.
    pub line: Line,
}

/// Why there is no ledger to be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is none.
    #[error(
        "there is no ledger-psN.jsonl in {}: give the folder in which the ps left theirs; they do \
         with --ledger", .0.display()
    )]
    None(PathBuf),
    /// There is nowhere to look.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The operating system refused.
    #[error("cannot read {}: {source}; make it readable for this user", path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line is none of a ledger's.
    #[error(
        "{}:{line}: {content:?} is not a line of a ledger: {why}; the file is damaged: put a good \
         copy back", path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// How it begins.
        content: String,
        /// What is wrong with it.
        why: String,
    },
    /// It was written by a later version.
    #[error(
        "{}:{line}: the ledger has format {format}, and this program reads format {FORMAT}: use the \
         version that wrote it, or a later one", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The format it has.
        format: u32,
    },
    /// It is another ps's.
    #[error(
        "{}:{line}: the ledger is that of ps {found}: rename it to {}, or put the right one in its \
         place", path.display(), file_name(*found)
    )]
    OtherPs {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Whose it is.
        found: u32,
    },
}

impl Ledger {
    /// One that was never in a file.
    #[must_use]
    pub fn of_lines(ps: u32, lines: Vec<Line>) -> Self {
        let lines = (1..).zip(lines).map(|(number, line)| Numbered { number, line }).collect();
        Self { path: file_name(ps).into(), ps, lines, torn: None }
    }
}

/// The name of the ledger of a ps within the logdir.
#[must_use]
pub fn file_name(ps: u32) -> String {
    format!("ledger-ps{ps}.jsonl")
}

fn ps_of(name: &str) -> Option<u32> {
    let ps = name.strip_prefix("ledger-ps")?.strip_suffix(".jsonl")?.parse().ok()?;
    (file_name(ps) == name).then_some(ps)
}

/// Returns the header of the newest life in the last of some ledgers.
#[must_use]
pub fn last_header(ledgers: &[Ledger]) -> Option<&Header> {
    let mut headers =
        ledgers.iter().flat_map(|ledger| &ledger.lines).filter_map(|line| match &line.line {
            Line::Header(header) => Some(header),
            _ => None,
        });
    headers.next_back()
}

/// Reads all ledgers of a logdir, ascending by ps.
///
/// # Errors
/// If there is none, or one cannot be read.
pub fn read_all(logdir: &Path) -> Result<Vec<Ledger>, LedgerError> {
    let found = lines::find(logdir, ps_of)?;
    if found.is_empty() {
        return Err(LedgerError::None(logdir.to_owned()));
    }
    found.into_iter().map(|(ps, path)| read(&path, ps)).collect()
}

/// Reads the ledger of a ps.
///
/// # Errors
/// If it cannot be read, or a line is none.
pub fn read(path: &Path, ps: u32) -> Result<Ledger, LedgerError> {
    let bytes = RealDisk
        .read(path)
        .map_err(|source| LedgerError::Unreadable { path: path.to_owned(), source })?;
    parse(path, ps, &bytes)
}

/// The last incarnation of a ps that its ledger in a logdir tells of, if there is one.
#[must_use]
pub fn last_incarnation(logdir: &Path, ps: u32) -> Option<Incarnation> {
    let lines = lines::last_lines(&logdir.join(file_name(ps)));
    let of_line = |text: &Vec<u8>| parse_line(text).ok().map(|line| line.incarnation());
    lines.iter().find_map(of_line)
}

/// The ledger in these bytes, which are those of `path`.
///
/// # Errors
/// If a line is none; any bytes are safe to try.
pub fn parse(path: &Path, ps: u32, bytes: &[u8]) -> Result<Ledger, LedgerError> {
    let mut ledger = Ledger { path: path.to_owned(), ps, lines: Vec::new(), torn: None };
    for (number, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let Some(text) = text.strip_suffix(b"\n") else {
            ledger.torn = Some(number);
            break;
        };
        let line = parse_line(text).map_err(|wrong| wrong.at(path, number, text))?;
        let wrong = match &line {
            Line::Header(header) if header.ps != ps => Some(Wrong::OtherPs(header.ps)),
            Line::Header(header) => header.mistake().map(Wrong::Line),
            _ if number == 1 => Some(Wrong::Line("the first line must be a header".to_owned())),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(wrong.at(path, number, text));
        }
        ledger.lines.push(Numbered { number, line });
    }
    Ok(ledger)
}

fn parse_line(text: &[u8]) -> Result<Line, Wrong> {
    // A later format may have other fields, and is to be told from damage.
    #[derive(Deserialize)]
    struct AnyHeader {
        header: AnyFormat,
    }
    #[derive(Deserialize)]
    struct AnyFormat {
        format: u32,
    }
    match serde_json::from_slice(text) {
        Ok(Line::Header(Header { format, .. })) if format != FORMAT => Err(Wrong::Format(format)),
        Ok(line) => Ok(line),
        Err(error) => match serde_json::from_slice::<AnyHeader>(text) {
            Ok(any) if any.header.format != FORMAT => Err(Wrong::Format(any.header.format)),
            // Its line is always the first one of this text, and not that of the file.
            _ => {
                Err(Wrong::Line(shown(&error.to_string()).replace("at line 1 column", "at column")))
            }
        },
    }
}

/// What a reader says of a line, in which it quotes from it: made one line, and not a long one.
fn shown(why: &str) -> String {
    let in_line = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let chars: Vec<char> = why.chars().map(in_line).collect();
    // The end says what was expected, and where.
    match chars.len().checked_sub(4 * MAX_SHOWN) {
        None | Some(0) => chars.iter().collect(),
        Some(_) => {
            let (head, tail) = (&chars[..2 * MAX_SHOWN], &chars[chars.len() - 2 * MAX_SHOWN..]);
            head.iter().chain(&['…']).chain(tail).collect()
        }
    }
}

enum Wrong {
    Line(String),
    Format(u32),
    OtherPs(u32),
}

impl Wrong {
    fn at(self, path: &Path, line: usize, text: &[u8]) -> LedgerError {
        let path = path.to_owned();
        match self {
            Self::Line(why) => {
                let content = String::from_utf8_lossy(&text[..text.len().min(MAX_SHOWN)]);
                LedgerError::Line { path, line, content: content.into_owned(), why }
            }
            Self::Format(format) => LedgerError::Format { path, line, format },
            Self::OtherPs(found) => LedgerError::OtherPs { path, line, found },
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
    fn the_last_whole_line_tells_the_last_incarnation() {
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
    fn every_mistake_is_told_with_file_line_text_and_remedy() {
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
        L:1: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"step\":1,\"slots\"" is not a line of a ledger: the first line must be a header; the file is damaged: put a good copy back
        L:2: "" is not a line of a ledger: EOF while parsing a value at column 0; the file is damaged: put a good copy back
        L:2: "{\"updat" is not a line of a ledger: EOF while parsing a string at column 7; the file is damaged: put a good copy back
        L:2: "\0\0" is not a line of a ledger: expected value at column 1; the file is damaged: put a good copy back
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"stop\":1,\"slots\"" is not a line of a ledger: unknown field `stop`, expected one of `incarnation`, `generation`, `step`, `slots`, `before`, `after` at column 70; the file is damaged: put a good copy back
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"step\":1,\"slots\"" is not a line of a ledger: "x0000002" is not 8 hexadecimal digits at column 326; the file is damaged: put a good copy back
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"step\":1,\"slots\"" is not a line of a ledger: "cheap" is not a loss at column 154; the file is damaged: put a good copy back
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"st\\nep\":1,\"slot" is not a line of a ledger: unknown field `st�ep`, expected one of `incarnation`, `generation`, `step`, `slots`, `before`, `after` at column 72; the file is damaged: put a good copy back
        L:2: "{\"update\":{\"incarnation\":3,\"generation\":{\"opener\":6,\"number\":1},\"stepstepstepste" is not a line of a ledger: unknown field `stepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepstepsteps…stepstepstepstepstepstepstepstepstepstepstepstepstepstep`, expected one of `incarnation`, `generation`, `step`, `slots`, `before`, `after` at column 1266; the file is damaged: put a good copy back
        L:1: the ledger is that of ps 3: rename it to ledger-ps3.jsonl, or put the right one in its place
        L:1: "{\"header\":{\"format\":1,\"ps\":0,\"incarnation\":3,\"n_ps\":4000000000,\"replicas_to_aggr" is not a line of a ledger: n_ps is 4000000000, and not from 1 to 65536; the file is damaged: put a good copy back
        L:1: the ledger has format 2, and this program reads format 1: use the version that wrote it, or a later one
        L:1: the ledger has format 2, and this program reads format 1: use the version that wrote it, or a later one
        "#);
    }

    #[test]
    fn a_last_line_without_an_end_is_left_out() {
        let text = format!("{HEADER}\n{}", Line::Update(update(1)).to_text());
        let ledger = parse(Path::new("L"), 0, text.as_bytes()).unwrap();
        assert_eq!((ledger.lines.len(), ledger.torn), (1, Some(2)));
        let empty = parse(Path::new("L"), 0, b"").unwrap();
        assert_eq!((empty.lines.len(), empty.torn), (0, None));
    }

    #[test]
    fn names_are_those_of_ledgers_only() {
        for (name, ps) in [("ledger-ps0.jsonl", Some(0)), ("ledger-ps12.jsonl", Some(12))] {
            assert_eq!(ps_of(name), ps);
        }
        for name in ["ledger-ps01.jsonl", "ledger-ps.jsonl", "ledger-ps1.jsonl~", "losses.csv"] {
            assert_eq!(ps_of(name), None, "{name}");
        }
    }
}
