//! Reads traces. Invalid bytes cause an error that names the line and the problem.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::line::{FORMAT, Line, TracedLife};
use unisono_core::ids::{Incarnation, Job, TaskId};
use unisono_core::train_config::ClusterSize;
use unisono_files::disk::lines::{self, ReadError};

/// The first bytes of the header line of an incarnation. No other line starts with these bytes.
const HEADER_START: &str = "{\"life\":";
/// Returns the file name of the trace of a task.
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

/// Returns the traces in a folder, ascending by task.
///
/// # Errors
/// Returns an error if the folder contains no trace, or the folder cannot be read.
pub fn find(logdir: &Path) -> Result<Vec<(TaskId, PathBuf)>, ReadError> {
    let remedy = "give the folder in which the tasks write their traces; they do so with --trace";
    lines::find(logdir, task_of, "trace-TASK.jsonl", remedy)
}

/// Reads the trace of a task. The result has one value for each incarnation of the task.
///
/// # Errors
/// Returns an error if the file cannot be read, or a line is not valid.
pub fn read(path: &Path, task: TaskId) -> Result<Vec<TracedLife>, ReadError> {
    parse(path, task, &lines::read(path)?)
}

/// Returns the last incarnation in the trace of a task; `None` if there is no readable trace.
#[must_use]
pub fn last_incarnation(logdir: &Path, task: TaskId) -> Option<Incarnation> {
    let path = logdir.join(file_name(task));
    // Other kinds of files are skipped, because opening a pipe would block.
    std::fs::symlink_metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    // The file is read from its start: an incarnation may have any number of lines, so the last
    // header may be anywhere.
    let lines = BufReader::new(File::open(&path).ok()?).split(b'\n').map_while(Result::ok);
    let headers = lines.filter(|line| line.starts_with(HEADER_START.as_bytes()));
    let of_line = |line: &[u8]| match serde_json::from_slice(line) {
        Ok(Line::Life(header)) => Some(header.incarnation),
        _ => None,
    };
    headers.filter_map(|line| of_line(&line)).last()
}

/// Parses the bytes of the trace at `path`. Ignores a torn last line.
///
/// # Errors
/// Returns an error if a line is not valid.
pub fn parse(path: &Path, task: TaskId, bytes: &[u8]) -> Result<Vec<TracedLife>, ReadError> {
    let mut lives: Vec<TracedLife> = Vec::new();
    for (number, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        // A line without a line end is still being written, or a crash has torn it.
        let Some(text) = text.strip_suffix(b"\n") else { break };
        let line = serde_json::from_slice(text).map_err(|error| error.to_string());
        let taken = line.and_then(|line| take(&mut lives, task, line));
        taken.map_err(|why| {
            let content = lines::beginning(text);
            let why = why.replace(" at line 1 column", " at column");
            let wrong = format!(
                "{content:?} is not a line of a trace: {why}; the file is damaged, or not a trace of \
                 this program: move it away"
            );
            ReadError::Line { path: path.to_owned(), line: number, wrong }
        })?;
    }
    Ok(lives)
}

fn take(lives: &mut Vec<TracedLife>, task: TaskId, line: Line) -> Result<(), String> {
    const NO_LIFE: &str = "the first line must start an incarnation";
    match line {
        Line::Life(header) => {
            let largest = ClusterSize::LARGEST;
            let counts = [header.n_ps, header.replicas_to_aggregate, header.total_num_replicas];
            if header.format != FORMAT {
                let format = header.format;
                return Err(format!(
                    "it has format {format}, but this program reads format {FORMAT}"
                ));
            }
            if header.task != task {
                return Err(format!(
                    "it belongs to {}, but the file is named for {task}",
                    header.task
                ));
            }
            if let Some(count) = counts.into_iter().find(|count| !(1..=largest).contains(count)) {
                return Err(format!("{count} is not a valid number of tasks"));
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
    use crate::ledger::Loss;
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
            loss: Some(Loss(f32::NAN)),
            bytes: Some(8),
            note: Some("</script>\n".to_owned()),
        };
        let computed = Details { loss: Some(Loss(0.1)), ..Details::default() };
        Event {
            at: Duration::from_nanos(at),
            input: Entry { what: what(EventKind::Computed), details: computed },
            does: vec![Entry { what: what(EventKind::SendsPush), details }],
        }
    }

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    fn parsed(text: &str) -> Result<Vec<TracedLife>, ReadError> {
        parse(Path::new("T"), TaskId::CHIEF, text.as_bytes())
    }

    #[test]
    fn last_incarnation_is_read_from_the_last_header() {
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
    fn written_lines_are_read_back() {
        let lines = [
            Line::Life(header()),
            Line::Event(event(1)),
            Line::Event(event(1)),
            Line::Life(header()),
            Line::Cut("full".to_owned()),
        ];
        let lives = parsed(&(text(&lines) + "{\"event")).unwrap();
        // The values are compared as text, because a NaN is not equal to itself.
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
        T:1: "{\"event\":{\"at_ns\":1,\"what\":\"computed\",\"step\":3,\"slot\":1,\"loss\":\"0.100000001\",\"do" is not a line of a trace: the first line must start an incarnation; the file is damaged, or not a trace of this program: move it away
        T:2: "" is not a line of a trace: EOF while parsing a value at column 0; the file is damaged, or not a trace of this program: move it away
        T:3: "{\"event\":{\"at_ns\":1,\"what\":\"computed\",\"step\":3,\"slot\":1,\"loss\":\"0.100000001\",\"do" is not a line of a trace: it is earlier than the line before; the file is damaged, or not a trace of this program: move it away
        T:1: "{\"life\":{\"format\":1,\"task\":\"worker 1\",\"incarnation\":7,\"origin_ns\":17000000000000" is not a line of a trace: it belongs to worker 1, but the file is named for worker 0; the file is damaged, or not a trace of this program: move it away
        T:1: "{\"life\":{\"format\":1,\"task\":\"chief\",\"incarnation\":7,\"origin_ns\":17000000000000000" is not a line of a trace: "chief" is not the name of a task, such as "worker 1" at column 34; the file is damaged, or not a trace of this program: move it away
        T:1: "{\"life\":{\"format\":2,\"task\":\"worker 0\",\"incarnation\":7,\"origin_ns\":17000000000000" is not a line of a trace: it has format 2, but this program reads format 1; the file is damaged, or not a trace of this program: move it away
        T:1: "{\"life\":{\"format\":1,\"task\":\"worker 0\",\"incarnation\":7,\"origin_ns\":17000000000000" is not a line of a trace: 0 is not a valid number of tasks; the file is damaged, or not a trace of this program: move it away
        T:2: "{\"event\":{\"at_ns\":1,\"what\":\"computed\",\"step\":3,\"slot\":1,\"loss\":\"0.100000001\",\"do" is not a line of a trace: there is no event named "sends-love" at column 259; the file is damaged, or not a trace of this program: move it away
        T:2: "{\"event\":{\"at_ns\":1,\"what\":\"computed\",\"step\":3,\"slot\":1,\"loss\":\"x0.100000001\",\"d" is not a line of a trace: "x0.100000001" is not a loss at column 262; the file is damaged, or not a trace of this program: move it away
        "#);
    }

    #[test]
    fn task_is_read_only_from_names_of_trace_files() {
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
