//! Tables in CSV: a header, a column of labels, and numbers in all other columns.
//!
//! Labels may be any texts. The classes are the different labels: ascending, if all of them are
//! whole numbers, and otherwise in the order of their bytes. Many tables are sorted by label, so the
//! rows are shuffled once, in the same way for every run: row i of the shuffled table is row p(i) of
//! the file, where p is the permutation of epoch 0 of entity 0 with the seed 0 (`docs/arithmetic.md`,
//! rule 36). The first shuffled rows are test examples, the next ones are for validation, and
//! the rest is for training.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use unisono_core::train_config::Portion;
use unisono_learn::data::{Dataset, DatasetError, Examples, permutation};

use crate::division::Division;
use crate::error::{read, unfit};

/// The name of the column of labels, unless another name is given.
const LABEL: &str = "label";
/// The share of the rows that are test examples, unless another part is given.
const TEST: Portion = Portion::Share(0.2);

/// Loads a table.
///
/// # Errors
/// Returns an error if the table is malformed, or if the division leaves no examples to train on or
/// to test. The text names the line and the column.
pub fn load(path: &Path, division: Division<'_>) -> Result<Dataset, DatasetError> {
    let content = read(path)?;
    let table = Table::parse(&content, division.label_column.unwrap_or(LABEL));
    let table = table.map_err(|why| unfit(path, why))?;
    let n = table.labels.len();
    let n_test = division.test.unwrap_or(TEST).of(n);
    if n_test == 0 || n_test >= n {
        let what = format!(
            "{n_test} of its {n} rows would be test examples: choose a test size from 1 to {}",
            n.saturating_sub(1)
        );
        return Err(unfit(path, what));
    }
    let order = u32::try_from(n).map_err(|_| unfit(path, "it has more than 2^32 rows"))?;
    let order = permutation(0, 0, 0, order);
    let (test, train) = order.split_at(n_test);
    let name = path.display().to_string();
    Dataset::divided(&name, table.examples(train), table.examples(test), division.validation)
}

/// A table whose cells are numbers.
struct Table {
    n_features: usize,
    /// The numbers of all rows, row after row.
    values: Vec<f32>,
    /// The class of each row.
    labels: Vec<u32>,
    n_classes: usize,
}

impl Table {
    fn parse(content: &[u8], label_column: &str) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(content);
        let header = reader.headers().map_err(|error| described(&error))?.clone();
        let label_at = header.iter().position(|name| name == label_column).ok_or_else(|| {
            let names: Vec<_> = header.iter().collect();
            format!(
                "line 1: there is no column {label_column} for the labels among {}; name it with \
                 --label-column",
                names.join(", ")
            )
        })?;
        if header.len() < 2 {
            return Err("line 1: there is no column beside the labels".to_owned());
        }
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.map_err(|error| described(&error))?;
            let line = record.position().map_or(0, csv::Position::line);
            for (at, (name, cell)) in header.iter().zip(&record).enumerate() {
                if at == label_at {
                    if cell.is_empty() {
                        return Err(format!("line {line}: the column {name} is empty"));
                    }
                    labels.push(cell.to_owned());
                    continue;
                }
                let value: f32 = cell.parse().map_err(|_| {
                    format!("line {line}: the column {name} has {cell:?}, which is not a number")
                })?;
                if !value.is_finite() {
                    return Err(format!(
                        "line {line}: the column {name} has {cell:?}, which is not a finite f32"
                    ));
                }
                values.push(value);
            }
        }
        let classes = classes(&labels);
        Ok(Self {
            n_features: header.len() - 1,
            values,
            labels: labels.iter().map(|label| classes[label.as_str()]).collect(),
            n_classes: classes.len(),
        })
    }

    /// Returns the rows with these numbers.
    fn examples(&self, rows: &[u32]) -> Examples {
        let mut examples = Examples::new(self.n_features, self.n_classes);
        for &row in rows {
            let row = row as usize;
            let values = &self.values[row * self.n_features..][..self.n_features];
            examples.push(values.iter().copied(), self.labels[row]);
        }
        examples
    }
}

/// Describes an error of the CSV reader, with its line.
fn described(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => format!(
            "line {}: it has {len} cells, but the header has {expected_len}: add or remove commas",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        csv::ErrorKind::Utf8 { pos, .. } => format!(
            "line {}: it is not UTF-8: save the table as UTF-8",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        _ => error.to_string(),
    }
}

/// Returns the class of each different label.
fn classes(labels: &[String]) -> BTreeMap<&str, u32> {
    let different: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
    let numbers = different.iter().map(|label| Some((label.parse::<i64>().ok()?, *label)));
    let in_order = match numbers.collect::<Option<BTreeSet<_>>>() {
        Some(numbers) => numbers.into_iter().map(|(_, label)| label).collect(),
        None => different.into_iter().collect::<Vec<_>>(),
    };
    in_order.into_iter().zip(0..).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: &str = "\
length,class,width
1,red,0
2,blue,0.5
3,red,1e-1
4,blue,0
5,red,0
6,blue,0
7,red,0
8,blue,0
9,red,0
10,blue,-0.25
";

    fn open(text: &str, division: Division<'_>) -> Result<Dataset, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("table.csv");
        std::fs::write(&path, text).expect("a writable folder");
        let folder = folder.path().display().to_string();
        load(&path, division).map_err(|error| error.to_string().replace(&folder, "DIR"))
    }

    const OF_CLASS: Division<'_> =
        Division { validation: None, test: None, label_column: Some("class") };

    fn lengths(examples: &Examples) -> Vec<(f32, u32)> {
        let row = |row| (examples.row(row).1[0], examples.label(row));
        (0..examples.len()).map(row).collect()
    }

    #[test]
    fn rows_are_shuffled_once_and_divided() {
        let data = open(TEN, OF_CLASS).expect("a good table");
        let [train, validation, test] = [&data.train, &data.validation, &data.test].map(lengths);
        assert_eq!((train.len(), validation.len(), test.len()), (8, 0, 2));
        let mut all = [train.clone(), test].concat();
        // The label blue is class 0, because it comes first in the order of the bytes.
        assert!(all.iter().all(|(length, label)| f64::from(*length) % 2.0 == f64::from(*label)));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sorted: Vec<_> = all.iter().map(|(length, _)| *length).collect();
        assert_eq!(sorted, (1..=10).map(|i| i as f32).collect::<Vec<_>>());
        assert!(!train.is_sorted_by(|a, b| a.0 <= b.0), "{train:?}");

        let division = Division {
            validation: Some(Portion::Share(0.5)),
            test: Some(Portion::Count(4)),
            ..OF_CLASS
        };
        let parts = open(TEN, division).expect("a good table");
        assert_eq!((parts.train.len(), parts.validation.len(), parts.test.len()), (3, 3, 4));
        assert_ne!(parts.digest(), data.digest());
    }

    #[test]
    fn classes_are_ascending_numbers_if_all_labels_are_numbers() {
        let owned = |labels: &[&str]| labels.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        let numbers = owned(&["10", "9", "-1", "9"]);
        assert_eq!(classes(&numbers), [("-1", 0), ("9", 1), ("10", 2)].into());
        let texts = owned(&["b", "10", "9"]);
        assert_eq!(classes(&texts), [("10", 0), ("9", 1), ("b", 2)].into());
    }

    #[test]
    fn error_names_the_line_the_column_and_the_remedy() {
        let why = |text: &str, division| open(text, division).expect_err("a bad table");
        let none = Division::default();
        insta::assert_snapshot!(why(TEN, none), @"DIR/table.csv: line 1: there is no column label for the labels among length, class, width; name it with --label-column");
        insta::assert_snapshot!(why("a,label\n1,0\nx,1\n", none), @r#"DIR/table.csv: line 3: the column a has "x", which is not a number"#);
        insta::assert_snapshot!(why("a,label\n1,0\n1e99,1\n", none), @r#"DIR/table.csv: line 3: the column a has "1e99", which is not a finite f32"#);
        insta::assert_snapshot!(why("a,label\n1,0\n2\n", none), @"DIR/table.csv: line 3: it has 1 cells, but the header has 2: add or remove commas");
        insta::assert_snapshot!(why("a,label\n1,0\n2,\n", none), @"DIR/table.csv: line 3: the column label is empty");
        insta::assert_snapshot!(why("label\n1\n", none), @"DIR/table.csv: line 1: there is no column beside the labels");
        insta::assert_snapshot!(why("a,label\n", none), @"DIR/table.csv: 0 of its 0 rows would be test examples: choose a test size from 1 to 0");
    }
}
