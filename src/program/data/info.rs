//! `unisono data info`: shows the contents of a data set, and its defects.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::program::built_in;
use unisono_config::RunConfig;
use unisono_config::values::Part;
use unisono_learn::WorkloadError;
use unisono_learn::data::{Compression, Dataset, FileSurvey, Survey};
use unisono_task::process::Process;

/// The arguments of `unisono data info`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct InfoArgs {
    /// Folder of four IDX files or of CIFAR-10's binary files, or a file that ends in .npz,
    /// .safetensors or .csv [default: the built-in digits]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// For a .csv file: name of the column of labels [default: the column label]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    label_column: Option<String>,
    /// For a .csv file: examples to test on, as a number or a share [default: a fifth of
    /// them]
    #[arg(long, value_name = "PART", help_heading = "Data")]
    test_size: Option<Part>,
    /// First training examples, used for validation, as a number or a share [default: a tenth of
    /// them, at most 5000; 1000 of the built-in digits]
    #[arg(long, value_name = "PART", help_heading = "Data")]
    validation_size: Option<Part>,
}

/// Prints a description of the data set. Exits with a failure if no run can train on it.
#[must_use]
pub fn run_info(args: &InfoArgs, process: &Process) -> ExitCode {
    let path = args.path.as_deref();
    // Only a folder of IDX files has four parts that can be examined one by one.
    let idx = path.filter(|path| !path.is_file() && !unisono_datasets::cifar::is_in(path));
    let survey = idx.map(Survey::of);
    let opened = built_in::workload().open_data(&RunConfig {
        data_dir: args.path.clone(),
        validation_size: args.validation_size.map(Part::get),
        test_size: args.test_size.map(Part::get),
        label_column: args.label_column.clone(),
        ..RunConfig::default()
    });
    let mut text = survey.as_ref().map(files).unwrap_or_default();
    text.push_str(&match &opened {
        Ok(data) => whole(data, path, survey.as_ref()),
        Err(error) => problems(error, survey.as_ref()),
    });
    process.screen.out(text.trim_end());
    if opened.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Formats one line for each readable file.
fn files(survey: &Survey) -> String {
    let files: Vec<_> = survey.files.iter().filter_map(|file| file.as_ref().ok()).collect();
    let name = |file: &FileSurvey| {
        file.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    let width = |of: &dyn Fn(&FileSurvey) -> usize| files.iter().map(|file| of(file)).max();
    let names = width(&|file| name(file).len()).unwrap_or(0);
    let lens = width(&|file| file.stored_len.to_string().len()).unwrap_or(0);
    let mut text = String::new();
    for file in files {
        let stored = match file.compression {
            Compression::Plain => "plain",
            Compression::Gzip => "gzip",
        };
        let line = format!(
            "{:names$}  {stored:5}  {:>lens$} bytes  {}",
            name(file),
            file.stored_len,
            file.shape
        );
        writeln!(text, "{line}").expect("a String takes all");
    }
    text
}

/// Lists all defects. The first defect is the one that a run would report.
fn problems(first: &WorkloadError, survey: Option<&Survey>) -> String {
    let mut told = vec![first.to_string()];
    for file in survey.iter().flat_map(|survey| &survey.files) {
        told.extend(file.as_ref().err().map(ToString::to_string).filter(|why| *why != told[0]));
    }
    let mut text = format!(
        "No run can train on it because of {}:\n",
        match told.len() {
            1 => "this defect".to_owned(),
            n => format!("{n} defects"),
        }
    );
    for why in told {
        writeln!(text, "  {why}").expect("a String takes all");
    }
    text
}

/// Describes the data as training would use them.
fn whole(data: &Dataset, path: Option<&Path>, survey: Option<&Survey>) -> String {
    let published = match survey.map(Survey::published) {
        None if path.is_none() => "the built-in digits, a part of MNIST".to_owned(),
        None => data.name().to_owned(),
        Some(Some(set)) => format!("{}, as published", set.title()),
        Some(None) => "another data set".to_owned(),
    };
    let [train, validation, test] = [&data.train, &data.validation, &data.test];
    let (n_train, n_validation, n_test) = (train.len(), validation.len(), test.len());
    let (n_features, n_classes) = (train.n_features(), train.n_classes());
    let mut text = format!(
        "It is {published}: {n_train} examples to train on, {n_validation} for validation, \
         {n_test} to test; {n_features} features each, {n_classes} classes.\n\n"
    );
    let parts = [train, validation, test].map(|part| {
        let mut counts = vec![0; n_classes];
        (0..part.len()).for_each(|row| counts[part.label(row) as usize] += 1);
        counts
    });
    text.push_str("label  training  validation      test\n");
    for label in 0..n_classes {
        let [train, validation, test] = parts.each_ref().map(|counts: &Vec<usize>| counts[label]);
        writeln!(text, "{label:>5}  {train:>8}  {validation:>10}  {test:>8}")
            .expect("a String takes all");
    }
    let empty: Vec<_> = (0..n_classes).filter(|label| parts[0][*label] == 0).collect();
    if !empty.is_empty() {
        let labels: Vec<_> = empty.iter().map(ToString::to_string).collect();
        writeln!(text, "\nNo training example has the label {}.", labels.join(", "))
            .expect("a String takes all");
    }
    let (mut least, mut greatest) = (f32::INFINITY, f32::NEG_INFINITY);
    for value in (0..n_train).flat_map(|row| train.row(row).1) {
        (least, greatest) = (least.min(value), greatest.max(value));
    }
    if greatest > f32::NEG_INFINITY {
        writeln!(text, "\nFeatures other than 0 are from {least} to {greatest}.")
            .expect("a String takes all");
    }
    write!(text, "\ndigest {}\n", data.digest()).expect("a String takes all");
    text
}
