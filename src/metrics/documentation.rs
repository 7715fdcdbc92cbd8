//! Holds `docs/monitoring.md`, the dashboard and the rules against the metrics that there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Meters;

const BEGIN: &str = "<!-- metrics: a test makes this table -->\n";
const END: &str = "<!-- end of metrics -->\n";

fn path(name: &str) -> String {
    format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn table() -> String {
    let mut table =
        String::from("| metric | kind | labels | tasks | what it is |\n|---|---|---|---|---|\n");
    for entry in Meters::catalogue() {
        let labels: Vec<_> = entry.labels.split(", ").filter(|label| !label.is_empty()).collect();
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            table,
            "| `{}` | {} | {} | {} | {} |",
            entry.name,
            entry.kind,
            labels.join(", "),
            entry.whose,
            entry.help
        )
        .unwrap();
    }
    table
}

#[test]
fn the_documentation_has_every_metric() {
    let document = read("docs/monitoring.md");
    let (before, rest) = document.split_once(BEGIN).expect("the table has a beginning");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path("docs/monitoring.md"), &wanted).unwrap();
        return;
    }
    assert!(document == wanted, "UPDATE_DOCS=1 cargo test --lib the_documentation makes it so");
}

/// Every word that begins like a metric of this program.
fn named_in(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("unisono_")).collect()
}

#[test]
fn dashboard_and_rules_name_only_metrics_that_there_are() {
    let known: BTreeSet<String> = Meters::catalogue()
        .iter()
        .flat_map(|entry| {
            let name = entry.name.to_owned();
            match entry.kind {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec()
                }
                _ => vec![name],
            }
        })
        .collect();
    for file in ["deploy/grafana/unisono.json", "deploy/prometheus/unisono-rules.yml"] {
        let text = read(file);
        let named = named_in(&text);
        assert!(named.len() > 5, "{file} names {named:?}");
        for name in named {
            assert!(known.contains(name), "{file} names {name}, which is no metric");
        }
    }
}

/// The labels that tell runs apart: Prometheus' own one, and one of the scrape configuration.
const LABELS_OF_RUN: [&str; 2] = ["job", "run"];

fn dashboard() -> serde_json::Value {
    serde_json::from_str(&read("deploy/grafana/unisono.json")).unwrap()
}

/// The queries of all panels.
fn queries(dashboard: &serde_json::Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

/// The expressions of all rules, each in one line.
fn rules() -> Vec<String> {
    let text = read("deploy/prometheus/unisono-rules.yml");
    let rules = text.split("expr:").skip(1);
    let expression = |rule: &str| {
        let is_key = |line: &&str| ["for:", "labels:"].iter().any(|key| line.starts_with(key));
        let lines = rule.lines().map(str::trim).take_while(|line| !is_key(line));
        lines.collect::<Vec<_>>().join(" ")
    };
    rules.map(expression).collect()
}

/// Finds a whole word in a text, and returns the rest of the text after each place of it.
fn behind<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).filter_map(move |(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        (!before.ends_with(is_part) && !after.starts_with(is_part)).then_some(after)
    })
}

#[test]
fn every_panel_has_a_title_a_place_and_a_query() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8);
    for panel in panels {
        assert!(panel["title"].is_string() && panel["gridPos"]["w"].is_u64(), "{panel}");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
    assert!(queries(&dashboard).iter().all(|query| query.contains("unisono_")));
}

#[test]
fn every_metric_in_every_query_is_filtered_by_the_variables_of_the_run() {
    let dashboard = dashboard();
    let filter = "{job=~\"$job\",run=~\"$run\"}";
    for query in queries(&dashboard) {
        for name in named_in(query) {
            for rest in behind(query, name) {
                assert!(rest.starts_with(filter), "{name} is not filtered in {query}");
            }
        }
    }
    for label in LABELS_OF_RUN {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let variable = variables.iter().find(|variable| variable["name"] == label).unwrap();
        assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()));
        // Also matches series that have no such label.
        assert_eq!(variable["allValue"], ".*");
        let values = variable["query"]["query"].as_str().unwrap();
        assert!(values.ends_with(&format!(", {label})")), "{values}");
    }
}

#[test]
fn no_aggregation_of_a_query_or_a_rule_mixes_runs() {
    let dashboard = dashboard();
    let rules = rules();
    assert!(rules.len() >= 9 && rules.iter().all(|rule| !rule.contains("alert:")), "{rules:?}");
    let rules = rules.iter().map(String::as_str);
    for expression in queries(&dashboard).into_iter().chain(rules) {
        assert!(!expression.contains("scalar("), "a scalar has no labels: {expression}");
        for operator in ["sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile"] {
            for rest in behind(expression, operator) {
                assert!(rest.starts_with(" by (job, run"), "{operator} mixes runs: {expression}");
            }
        }
    }
}

#[test]
fn no_metric_has_a_label_that_prometheus_gives_to_the_task() {
    for entry in Meters::catalogue() {
        let mut labels = entry.labels.split(", ");
        assert!(labels.all(|label| !LABELS_OF_RUN.contains(&label)), "{}", entry.name);
    }
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for entry in Meters::catalogue() {
        let is_total = entry.name.ends_with("_total");
        assert_eq!(is_total, entry.kind == "counter", "{}", entry.name);
        assert!(entry.name.starts_with("unisono_") && !entry.help.ends_with('.'), "{}", entry.name);
    }
}
