//! Fuzz target for ledgers, which may be torn, damaged or forged, and for the audit of them.

use std::path::Path;

use super::AuditReport;
use crate::found::{Audit, Verdict};
use unisono_observe::ledger::{Ledger, file};

/// Separates the ledgers of ps 0 and ps 1. JSON escapes this byte, so no ledger contains it.
const SEPARATOR: u8 = 0;

/// Audits the ledgers of up to two ps. Returns whether all of them are valid.
pub fn ledger(bytes: &[u8]) -> bool {
    let texts = bytes.splitn(2, |byte| *byte == SEPARATOR);
    let read: Vec<_> = (0..).zip(texts).map(|(ps, text)| one_ledger(ps, text)).collect();
    let is_taken = read.iter().all(Option::is_some);
    let ledgers: Vec<Ledger> = read.into_iter().flatten().collect();
    let audit = Audit::of(&ledgers);
    assert_eq!(audit.verdict() == Verdict::Broken, audit.first_violation().is_some());
    assert!(!AuditReport(&audit).to_string().is_empty());
    is_taken
}

fn one_ledger(ps: u32, text: &[u8]) -> Option<Ledger> {
    let path = Path::new("L");
    match file::parse(path, ps, text) {
        Ok(ledger) => {
            let written: String = ledger.lines.iter().map(|line| line.to_text() + "\n").collect();
            let again = file::parse(path, ps, written.as_bytes());
            assert_eq!(again.expect("it wrote this itself").lines, ledger.lines);
            Some(ledger)
        }
        Err(error) => {
            assert!(error.to_string().lines().count() == 1, "{error} is one line");
            None
        }
    }
}

#[cfg(test)]
use crate::corpus::Seed;

#[cfg(test)]
pub(crate) fn ledger_seeds() -> Vec<Seed> {
    let [first, second] = super::tests::story().map(|lines| -> Vec<u8> {
        lines.iter().flat_map(|line| (line.to_text() + "\n").into_bytes()).collect()
    });
    let short = super::tests::story().map(|lines| lines[0].to_text() + "\n");
    let unlike = [first.clone(), first.clone()].join(&SEPARATOR);
    vec![
        Seed::new("none", ""),
        Seed::new("one", &first[..]),
        Seed::new("two", [first.clone(), second].join(&SEPARATOR)),
        Seed::new("short", short.join("\0")),
        Seed::new("torn", &first[..first.len() - 40]),
        Seed::new("refused-another", unlike),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;

    #[test]
    fn ledger_target_survives_the_corpus() {
        Corpus::of("ledger", ledger_seeds()).survives(ledger);
    }
}
