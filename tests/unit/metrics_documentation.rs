//! Tests that compare `docs/monitoring.md`, the dashboard and the alert rules with the metrics.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Meters;

const BEGIN: &str = "<!-- metrics: a test makes this list -->\n";
const END: &str = "<!-- end of metrics -->\n";

fn path(name: &str) -> String {
    format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn list() -> String {
    let mut list = String::from("\n");
    for entry in Meters::catalogue() {
        let labels = match entry.labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        writeln!(
            list,
            "- `{}{labels}` ({}, {}): {}",
            entry.name, entry.kind, entry.tasks, entry.help
        )
        .unwrap();
    }
    list.push('\n');
    list
}

#[test]
fn monitoring_document_lists_every_metric() {
    let document = read("docs/monitoring.md");
    let (before, rest) = document.split_once(BEGIN).expect("the begin marker of the list");
    let (_, after) = rest.split_once(END).expect("the end marker of the list");
    let wanted = format!("{before}{BEGIN}{}{END}{after}", list());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path("docs/monitoring.md"), &wanted).unwrap();
        return;
    }
    let command = "UPDATE_DOCS=1 cargo test -p unisono-metrics --lib monitoring_document";
    assert!(document == wanted, "docs/monitoring.md is out of date; update it with {command}");
}

/// Returns all words with the prefix of this program's metrics.
fn named_in(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("unisono_")).collect()
}

#[test]
fn dashboard_and_rules_name_only_existing_metrics() {
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
            assert!(known.contains(name), "{file} names {name}, which is not a metric");
        }
    }
}

/// The labels that identify a run. Prometheus sets `job`, and the scrape configuration sets `run`.
const LABELS_OF_RUN: [&str; 2] = ["job", "run"];

fn dashboard() -> serde_json::Value {
    serde_json::from_str(&read("deploy/grafana/unisono.json")).unwrap()
}

/// Returns the queries of all panels.
fn queries(dashboard: &serde_json::Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

/// Returns the expressions of all alert rules, each as one line.
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

/// Returns the rest of a text after each occurrence of a whole word.
fn behind<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).filter_map(move |(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        (!before.ends_with(is_part) && !after.starts_with(is_part)).then_some(after)
    })
}

#[test]
fn every_panel_has_a_title_a_position_and_a_query() {
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
fn every_query_filters_each_metric_by_the_selected_job_and_run() {
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
        // The default for `All` is a list of all values. It would not match series that lack the
        // label.
        assert_eq!(variable["allValue"], ".*");
        let values = variable["query"]["query"].as_str().unwrap();
        assert!(values.ends_with(&format!(", {label})")), "{values}");
    }
}

#[test]
fn aggregations_in_queries_and_rules_keep_runs_apart() {
    let dashboard = dashboard();
    let rules = rules();
    assert!(rules.len() >= 9 && rules.iter().all(|rule| !rule.contains("alert:")), "{rules:?}");
    let rules = rules.iter().map(String::as_str);
    for expression in queries(&dashboard).into_iter().chain(rules) {
        assert!(
            !expression.contains("scalar("),
            "a scalar loses the labels of its run: {expression}"
        );
        for operator in ["sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile"] {
            for rest in behind(expression, operator) {
                assert!(rest.starts_with(" by (job, run"), "{operator} mixes runs: {expression}");
            }
        }
    }
}

#[test]
fn no_metric_has_a_label_that_distinguishes_runs() {
    for entry in Meters::catalogue() {
        let mut labels = entry.labels.split(", ");
        assert!(labels.all(|label| !LABELS_OF_RUN.contains(&label)), "{}", entry.name);
    }
}

#[test]
fn metric_names_follow_the_conventions_of_prometheus() {
    for entry in Meters::catalogue() {
        let is_total = entry.name.ends_with("_total");
        assert_eq!(is_total, entry.kind == "counter", "{}", entry.name);
        assert!(entry.name.starts_with("unisono_") && !entry.help.ends_with('.'), "{}", entry.name);
    }
}
