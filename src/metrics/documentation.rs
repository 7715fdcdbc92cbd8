//! `docs/monitoring.md`, the dashboard and the rules name the metrics that there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Meters;

const BEGIN: &str = "<!-- metrics: a test makes this table -->\n";
const END: &str = "<!-- end of metrics -->\n";

fn path(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
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

/// Every word that begins like a metric of ours.
fn named_in(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("unisono_")).collect()
}

#[test]
fn the_dashboard_and_the_rules_name_metrics_that_there_are() {
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
            assert!(known.contains(name), "{file} names {name}, which there is not");
        }
    }
}

#[test]
fn the_dashboard_is_json_with_panels_that_ask_for_something() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/unisono.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8);
    for panel in panels {
        assert!(panel["title"].is_string() && panel["gridPos"]["w"].is_u64(), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            assert!(target["expr"].as_str().unwrap().contains("unisono_"), "{target}");
        }
    }
}

#[test]
fn names_are_those_that_prometheus_asks_for() {
    for entry in Meters::catalogue() {
        let is_total = entry.name.ends_with("_total");
        assert_eq!(is_total, entry.kind == "counter", "{}", entry.name);
        assert!(entry.name.starts_with("unisono_") && !entry.help.ends_with('.'), "{}", entry.name);
    }
}
