//! Reads traces back. Any bytes are safe to try; what is wrong with them is told with its line.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::line::{FORMAT, Line};
use crate::trace::line::TracedLife;
use unisono_core::ids::{Incarnation, Job, TaskId};
use unisono_core::train_config::ClusterSize;
use unisono_files::disk::lines::FolderError;
use unisono_files::disk::{Disk as _, RealDisk, lines};

/// The start of the line that opens a life; every other line starts differently.
const HEADER_START: &str = "{\"life\":";
/// How much of a line is shown when it is none.
const MAX_SHOWN: usize = 80;

/// DropReason there is no trace to be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There is none.
    #[error(
        "there is no trace-TASK.jsonl in {}: give the folder in which the tasks left theirs; they do \
         with --trace", .0.display()
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
        /// DropReason not.
        source: std::io::Error,
    },
    /// A line is none of a trace's.
    #[error(
        "{}:{line}: {content:?} is not a line of a trace: {why}; the file is damaged, or not one of \
         ours: move it away", path.display()
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
}

/// The name of the trace of a task within the logdir.
#[must_use]
pub fn file_name(task: TaskId) -> String {
    let TaskId { job, index } = task;
    format!("trace-{job}{index}.jsonl")
}

fn task_of(name: &str) -> Option<TaskId> {
    let rest = name.strip_prefix("trace-")?.strip_suffix(".jsonl")?;
    let (job, index) = match rest.strip_prefix("ps") {
        Some(index) => (Job::Ps, index),
        None => (Job::Worker, rest.strip_prefix("worker")?),
    };
    let task = TaskId { job, index: index.parse().ok()? };
    (file_name(task) == name).then_some(task)
}

/// The traces in a folder, ascending by task.
///
/// # Errors
/// If there is none, or the folder cannot be read.
pub fn find(logdir: &Path) -> Result<Vec<(TaskId, PathBuf)>, TraceError> {
    let found = lines::find(logdir, task_of)?;
    if found.is_empty() {
        return Err(TraceError::None(logdir.to_owned()));
    }
    Ok(found)
}

/// The lives in the trace of a task.
///
/// # Errors
/// If it cannot be read, or a line is none.
pub fn read(path: &Path, task: TaskId) -> Result<Vec<TracedLife>, TraceError> {
    let bytes = RealDisk
        .read(path)
        .map_err(|source| TraceError::Unreadable { path: path.to_owned(), source })?;
    parse(path, task, &bytes)
}

/// The last incarnation of a task that its trace in a logdir tells of, if there is one.
#[must_use]
pub fn last_incarnation(logdir: &Path, task: TaskId) -> Option<Incarnation> {
    let path = logdir.join(file_name(task));
    // A pipe would block whoever opens it.
    std::fs::symlink_metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    // A life can have any number of lines, so that its header is searched from the start.
    let lines = BufReader::new(File::open(&path).ok()?).split(b'\n').map_while(Result::ok);
    let headers = lines.filter(|line| line.starts_with(HEADER_START.as_bytes()));
    let of_line = |line: &[u8]| match serde_json::from_slice(line) {
        Ok(Line::Life(header)) => Some(header.incarnation),
        _ => None,
    };
    headers.filter_map(|line| of_line(&line)).last()
}

/// The lives in these bytes, which are those of `path`. A last line that was torn is left out.
///
/// # Errors
/// If a line is none; any bytes are safe to try.
pub fn parse(path: &Path, task: TaskId, bytes: &[u8]) -> Result<Vec<TracedLife>, TraceError> {
    let mut lives: Vec<TracedLife> = Vec::new();
    for (number, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let Some(text) = text.strip_suffix(b"\n") else { break };
        let line = serde_json::from_slice(text).map_err(|error| error.to_string());
        let taken = line.and_then(|line| take(&mut lives, task, line));
        taken.map_err(|why| TraceError::Line {
            path: path.to_owned(),
            line: number,
            content: String::from_utf8_lossy(&text[..text.len().min(MAX_SHOWN)]).into_owned(),
            why: why.replace(" at line 1 column", " at column"),
        })?;
    }
    Ok(lives)
}

fn take(lives: &mut Vec<TracedLife>, task: TaskId, line: Line) -> Result<(), String> {
    const NO_LIFE: &str = "the first line must be that of a life";
    match line {
        Line::Life(header) => {
            let largest = ClusterSize::LARGEST;
            let counts = [header.n_ps, header.replicas_to_aggregate, header.total_num_replicas];
            if header.format != FORMAT {
                let format = header.format;
                return Err(format!(
                    "it has format {format}, and this program reads format {FORMAT}"
                ));
            }
            if header.task != task {
                return Err(format!("it is of {}, and the file is named for {task}", header.task));
            }
            if let Some(count) = counts.into_iter().find(|count| !(1..=largest).contains(count)) {
                return Err(format!("a cluster of {count} tasks of a job is none"));
            }
            lives.push(TracedLife { header, events: Vec::new(), cut: None });
        }
        Line::Event(event) => {
            let events = &mut lives.last_mut().ok_or(NO_LIFE)?.events;
            if events.last().is_some_and(|last| last.at > event.at) {
                return Err("it is earlier than the line before".to_owned());
            }
            events.push(event);
        }
        Line::Cut(why) => lives.last_mut().ok_or(NO_LIFE)?.cut = Some(why),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Details, Entry, Event, EventKind, LifeHeader, NamedEvent};
    use std::time::Duration;
    use unisono_core::ids::{Incarnation, LinkId, Slot, Step};

    fn header() -> LifeHeader {
        LifeHeader {
            format: FORMAT,
            task: TaskId::CHIEF,
            incarnation: Incarnation(7),
            origin: Duration::from_nanos(1_700_000_000_000_000_001),
            n_ps: 1,
            replicas_to_aggregate: 2,
            total_num_replicas: 2,
            training_steps: Step(9),
        }
    }

    fn event(at: u64) -> Event {
        let what = |kind| NamedEvent { kind, step: Some(Step(3)), slot: Some(Slot(1)) };
        let details = Details {
            link: Some(LinkId(4)),
            peer: Some(TaskId::worker(1)),
            incarnation: Some(Incarnation(u64::MAX)),
            generation: Some(2),
            slots: vec![Slot(0), Slot(1)],
            loss: Some(f32::NAN),
            bytes: Some(8),
            note: Some("</script>\n".to_owned()),
        };
        let computed = Details { loss: Some(0.1), ..Details::default() };
        Event {
            at: Duration::from_nanos(at),
            input: Entry { what: what(EventKind::Computed), details: computed },
            does: vec![Entry { what: what(EventKind::SendsPush), details }],
        }
    }

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    fn parsed(text: &str) -> Result<Vec<TracedLife>, TraceError> {
        parse(Path::new("T"), TaskId::CHIEF, text.as_bytes())
    }

    #[test]
    fn the_last_line_of_a_life_tells_the_last_incarnation() {
        let folder = tempfile::tempdir().unwrap();
        let last = || last_incarnation(folder.path(), TaskId::CHIEF);
        assert_eq!(last(), None);
        let life = |incarnation: u64| {
            let header = LifeHeader { incarnation: Incarnation(incarnation), ..header() };
            serde_json::to_string(&Line::Life(header)).unwrap() + "\n"
        };
        let path = folder.path().join("trace-worker0.jsonl");
        let text = life(9) + &life(7) + "{\"cut\":\"full\"}\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(last(), Some(Incarnation(7)));
    }

    #[test]
    fn what_was_written_is_read_back() {
        let lines = [
            Line::Life(header()),
            Line::Event(event(1)),
            Line::Event(event(1)),
            Line::Life(header()),
            Line::Cut("full".to_owned()),
        ];
        let lives = parsed(&(text(&lines) + "{\"event")).unwrap();
        // A NaN is not itself.
        assert_eq!(format!("{:?}", lives[0].events), format!("{:?}", [event(1), event(1)]));
        assert_eq!((lives.len(), lives[1].cut.as_deref()), (2, Some("full")));
        assert_eq!(lives[0].header, header());
        insta::assert_snapshot!(text(&lines[..2]), @r#"
        {"life":{"format":1,"task":"worker 0","incarnation":7,"origin_ns":1700000000000000001,"n_ps":1,"replicas_to_aggregate":2,"total_num_replicas":2,"training_steps":9}}
        {"event":{"at_ns":1,"what":"computed","step":3,"slot":1,"loss":"0.100000001","does":[{"what":"sends-push","step":3,"slot":1,"link":4,"peer":"worker 1","incarnation":18446744073709551615,"generation":2,"slots":[0,1],"loss":"nan","bytes":8,"note":"</script>\n"}]}}
        "#);
    }

    #[test]
    fn every_error_has_file_line_text_and_remedy() {
        let life = text(&[Line::Life(header())]);
        let all = [
            text(&[Line::Event(event(1))]),
            life.clone() + "\n",
            life.clone() + &text(&[Line::Event(event(2)), Line::Event(event(1))]),
            life.replace("worker 0", "worker 1"),
            life.replace("worker 0", "chief"),
            life.replace("\"format\":1", "\"format\":2"),
            life.replace("\"n_ps\":1", "\"n_ps\":0"),
            life.clone() + &text(&[Line::Event(event(1))]).replace("sends-push", "sends-love"),
            life + &text(&[Line::Event(event(1))]).replace("\"0.1", "\"x0.1"),
        ]
        .map(|text| parsed(&text).expect_err(&text).to_string())
        .join("\n");
        insta::assert_snapshot!(all, @r#"
        T:1: "{\"event\":{\"at_ns\":1,\"what\":\"computed\",\"step\":3,\"slot\":1,\"loss\":\"0.100000001\",\"do" is not a line of a trace: the first line must be that of a life; the file is damaged, or not one of ours: move it away
        T:2: "" is not a line of a trace: EOF while parsing a value at column 0; the file is damaged, or not one of ours: move it away
        T:3: "{\"event\":{\"at_ns\":1,\"what\":\"computed\",\"step\":3,\"slot\":1,\"loss\":\"0.100000001\",\"do" is not a line of a trace: it is earlier than the line before; the file is damaged, or not one of ours: move it away
        T:1: "{\"life\":{\"format\":1,\"task\":\"worker 1\",\"incarnation\":7,\"origin_ns\":17000000000000" is not a line of a trace: it is of worker 1, and the file is named for worker 0; the file is damaged, or not one of ours: move it away
        T:1: "{\"life\":{\"format\":1,\"task\":\"chief\",\"incarnation\":7,\"origin_ns\":17000000000000000" is not a line of a trace: "chief" is no task, such as "worker 1" at column 34; the file is damaged, or not one of ours: move it away
        T:1: "{\"life\":{\"format\":2,\"task\":\"worker 0\",\"incarnation\":7,\"origin_ns\":17000000000000" is not a line of a trace: it has format 2, and this program reads format 1; the file is damaged, or not one of ours: move it away
        T:1: "{\"life\":{\"format\":1,\"task\":\"worker 0\",\"incarnation\":7,\"origin_ns\":17000000000000" is not a line of a trace: a cluster of 0 tasks of a job is none; the file is damaged, or not one of ours: move it away
        T:2: "{\"event\":{\"at_ns\":1,\"what\":\"computed\",\"step\":3,\"slot\":1,\"loss\":\"0.100000001\",\"do" is not a line of a trace: no event is called "sends-love" at column 259; the file is damaged, or not one of ours: move it away
        T:2: "{\"event\":{\"at_ns\":1,\"what\":\"computed\",\"step\":3,\"slot\":1,\"loss\":\"x0.100000001\",\"d" is not a line of a trace: "x0.100000001" is not a loss at column 262; the file is damaged, or not one of ours: move it away
        "#);
    }

    #[test]
    fn names_are_those_of_traces_only() {
        for task in [TaskId::ps(0), TaskId::worker(12)] {
            assert_eq!(task_of(&file_name(task)), Some(task));
        }
        for name in
            ["trace-ps01.jsonl", "trace-chief.jsonl", "trace-ps1.jsonl~", "ledger-ps0.jsonl"]
        {
            assert_eq!(task_of(name), None, "{name}");
        }
    }
}
