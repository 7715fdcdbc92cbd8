//! The result of a check of `unisono doctor`, as a line of text or as JSON.

use console::Style;
use serde::Serialize;

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The name of the check, a single word.
    name: &'static str,
    outcome: Outcome,
    /// The state that the check found.
    what: String,
    /// The remedy, if there is one.
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// Nothing is wrong.
    Ok,
    /// A run can start, but may fail later or be slow.
    Warn,
    /// A run would fail.
    Fail,
}

impl Finding {
    pub(super) fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, what: what.into(), remedy: None }
    }

    pub(super) fn warn(
        name: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { name, outcome: Outcome::Warn, what: what.into(), remedy }
    }

    pub(super) fn fail(
        name: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { outcome: Outcome::Fail, ..Self::warn(name, what, remedy) }
    }

    /// Returns whether a run would fail.
    pub(super) fn is_failure(&self) -> bool {
        self.outcome == Outcome::Fail
    }

    /// Turns an error into the finding that a check failed. The text of the error contains the
    /// remedy.
    pub(super) fn error(name: &'static str, error: &anyhow::Error) -> Self {
        let what = unisono_terminal::in_one_line(error);
        Self { name, outcome: Outcome::Fail, what, remedy: None }
    }
}

/// The results of all checks of `unisono doctor`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether a run can start.
    pub(super) ok: bool,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(checks: Vec<Finding>) -> Self {
        let ok = checks.iter().all(|check| !check.is_failure());
        Self { ok, checks }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("text is JSON")
    }

    pub(super) fn to_text(&self, has_colours: bool) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let line = |check: &Finding| {
            let (word, style) = match check.outcome {
                Outcome::Ok => ("ok  ", Style::new().green()),
                Outcome::Warn => ("warn", Style::new().yellow().bold()),
                Outcome::Fail => ("fail", Style::new().red().bold()),
            };
            let word = style.force_styling(has_colours).apply_to(word);
            let remedy = check.remedy.as_ref().map(|remedy| format!("; {remedy}"));
            let (name, what) = (check.name, &check.what);
            format!("{word}  {name:width$}  {what}{}", remedy.unwrap_or_default())
        };
        let mut lines: Vec<_> = self.checks.iter().map(line).collect();
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        lines.push(match (count(Outcome::Fail), count(Outcome::Warn)) {
            (0, 0) => "No problems found.".to_owned(),
            (0, n) => format!("A run can start; warnings: {n}."),
            (n, _) => format!("A run would fail; failures: {n}."),
        });
        lines.join("\n")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns the line of a finding.
    pub(in crate::program::doctor) fn line(finding: Finding) -> String {
        let text = Report::new(vec![finding]).to_text(false);
        text.lines().next().unwrap_or_default().to_owned()
    }

    fn report() -> Report {
        Report::new(vec![
            Finding::ok("simd", "avx2"),
            Finding::warn("clock", "it is 1970", "set it"),
            Finding::fail("ports", "a:1 is taken", "take another"),
        ])
    }

    #[test]
    fn line_of_a_finding_has_outcome_state_and_remedy() {
        assert_eq!(
            report().to_text(false),
            "ok    simd   avx2\n\
             warn  clock  it is 1970; set it\n\
             fail  ports  a:1 is taken; take another\n\
             A run would fail; failures: 1."
        );
        assert!(report().to_text(true).contains("\u{1b}[31m\u{1b}[1mfail\u{1b}[0m  ports"));
        let good = Report::new(vec![Finding::ok("simd", "avx2")]);
        assert!(good.ok && good.to_text(false).ends_with("\nNo problems found."));
        assert!(!report().ok);
    }

    #[test]
    fn json_of_a_finding_has_the_same_facts_as_its_line() {
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).expect("JSON");
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][0]["remedy"], serde_json::Value::Null);
        let clock = serde_json::json!({
            "name": "clock", "outcome": "warn", "what": "it is 1970", "remedy": "set it"
        });
        assert_eq!(json["checks"][1], clock);
    }
}
