//! A strict parser of Prometheus' text format 0.0.4, for `unisono top` and tests.

use std::collections::{BTreeMap, BTreeSet};

/// The metrics of one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// The kind of each metric that has a `# TYPE` line.
    pub kinds: BTreeMap<String, String>,
    /// All samples, in the order of the text.
    pub samples: Vec<Sample>,
}

/// One value of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name of the series. For a histogram, the name has the suffix `_bucket`, `_sum` or
    /// `_count`.
    pub name: String,
    /// The labels, in the order of the text.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// The error for a line that violates the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics: {why}")]
pub struct TextError {
    /// The number of the line, from 1.
    pub line: usize,
    /// The reason.
    pub why: String,
}

impl Sample {
    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

impl Exposition {
    /// Parses a text.
    ///
    /// # Errors
    /// If a line is invalid, a metric has no `# TYPE` line, or a series appears twice.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let mut all = Self::default();
        let mut series = BTreeSet::new();
        // If the last line has no newline, it may have been cut in the middle of its value.
        let whole = text.is_empty() || text.ends_with('\n');
        let n_lines = text.lines().count();
        for (line, text) in (1..).zip(text.lines()) {
            let wrong = |why: String| TextError { line, why };
            if line == n_lines && !whole {
                return Err(wrong("the line has no newline at its end".to_owned()));
            }
            match text.strip_prefix("# ") {
                Some(comment) => all.announce(comment).map_err(wrong)?,
                None if text.is_empty() => {}
                None => {
                    let sample = parse_sample(text).map_err(wrong)?;
                    let announced = all.kinds.contains_key(family(&sample.name, &all.kinds));
                    if !announced {
                        return Err(wrong(format!("{} has no TYPE line before it", sample.name)));
                    }
                    // Two series are the same if they have the same labels, in any order.
                    let mut labels = sample.labels.clone();
                    labels.sort();
                    if !series.insert((sample.name.clone(), labels)) {
                        return Err(wrong(format!("{text} repeats a series")));
                    }
                    all.samples.push(sample);
                }
            }
        }
        Ok(all)
    }

    fn announce(&mut self, comment: &str) -> Result<(), String> {
        let mut words = comment.split(' ');
        if let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) {
            if !["counter", "gauge", "histogram", "untyped", "summary"].contains(&kind) {
                return Err(format!("{kind} is not a kind of metric"));
            }
            if self.kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err(format!("{name} has two TYPE lines"));
            }
        }
        Ok(())
    }

    /// Returns all samples with this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// Returns the value of the first sample with this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.all(name).next().map(|sample| sample.value)
    }

    /// Returns the sum of all samples with this name, or 0 if there are none.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.all(name).map(|sample| sample.value).sum()
    }
}

/// Returns the name of the metric to which a sample belongs. For a histogram, this is the name of
/// the sample without its suffix.
fn family<'a>(name: &'a str, kinds: &BTreeMap<String, String>) -> &'a str {
    let of_histogram = ["_bucket", "_sum", "_count"].into_iter();
    let mut bare = of_histogram.filter_map(|suffix| name.strip_suffix(suffix));
    let is_histogram = |bare: &&str| kinds.get(*bare).is_some_and(|kind| kind == "histogram");
    bare.find(is_histogram).unwrap_or(name)
}

fn parse_sample(text: &str) -> Result<Sample, String> {
    let end = text.find(['{', ' ']).ok_or_else(|| format!("{text:?} has no value"))?;
    let (name, mut rest) = text.split_at(end);
    if !is_name(name) {
        return Err(format!("{name:?} is not a valid name"));
    }
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = parse_labels(inside, &mut labels)?;
    }
    let value = rest.strip_prefix(' ').ok_or_else(|| format!("{text:?} has no value"))?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number.parse().map_err(|_| format!("{number:?} is not a number"))?,
    };
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Parses labels up to the closing brace. Returns the text after the brace.
fn parse_labels<'a>(
    mut rest: &'a str,
    labels: &mut Vec<(String, String)>,
) -> Result<&'a str, String> {
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after) = rest.split_once("=\"").ok_or("a label has no value")?;
        if !is_name(name) || labels.iter().any(|(known, _)| known == name) {
            return Err(format!("{name:?} is not a valid name of a label, or repeats one"));
        }
        // Values may contain braces, commas and escaped quotes. So they are read character by
        // character.
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a label has no end")? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().ok_or("a label has no end")?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parser_reads_samples_with_labels() {
        let text = "# HELP a_total About a.\n# TYPE a_total counter\na_total{x=\"1 \\\"\",y=\"}\"} 3\n\
                    # TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 0.5\nh_count 2\n";
        let read = Exposition::parse(text).unwrap();
        assert_eq!(read.value("a_total"), Some(3.0));
        assert_eq!(read.samples[0].label("x"), Some("1 \""));
        assert_eq!(read.samples[0].label("y"), Some("}"));
        assert_eq!((read.value("h_sum"), read.sum("h_count")), (Some(0.5), 2.0));
        assert_eq!(read.value("absent"), None);
    }

    #[test]
    fn invalid_text_is_refused_with_the_number_of_its_line() {
        for (text, why) in [
            ("a 1\n", "line 1 of the metrics: a has no TYPE line before it"),
            ("# TYPE a gauge\na 1\na 2\n", "line 3 of the metrics: a 2 repeats a series"),
            ("# TYPE a gauge\n# TYPE a gauge\n", "line 2 of the metrics: a has two TYPE lines"),
            ("# TYPE a level\n", "line 1 of the metrics: level is not a kind of metric"),
            ("# TYPE a gauge\na one\n", "line 2 of the metrics: \"one\" is not a number"),
            ("# TYPE a gauge\na{x=\"1} 1\n", "line 2 of the metrics: a label has no end"),
            ("# TYPE a gauge\na{x} 1\n", "line 2 of the metrics: a label has no value"),
            ("# TYPE a gauge\na{}1\n", "line 2 of the metrics: \"a{}1\" has no value"),
            ("# TYPE a gauge\na 1", "line 2 of the metrics: the line has no newline at its end"),
            ("1a 1\n", "line 1 of the metrics: \"1a\" is not a valid name"),
        ] {
            assert_eq!(Exposition::parse(text).unwrap_err().to_string(), why);
        }
    }
}
