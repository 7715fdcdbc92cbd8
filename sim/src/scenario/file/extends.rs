//! `extends = "other.toml"`: a file and the files that it extends, as one table.
//!
//! Sections are merged key by key, and the keys of the extending file win. A value is replaced as a
//! whole. Arrays of tables are concatenated. A fault replaces the inherited fault with the same id.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use unisono_config::file::Wrong;

use super::error::{ScenarioError, Sources};

/// The maximum number of files in a chain. Without this limit, links of the file system could make
/// a chain endless, although no file occurs twice.
const LONGEST_CHAIN: usize = 16;

/// Reads a file and all files that it extends.
pub(super) fn read_chain(path: &Path) -> Result<Sources, ScenarioError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ScenarioError::Unreadable { path: path.to_owned(), source })?;
    let mut sources = Sources::default();
    sources.add(path, &text);
    let mut chain = vec![path.to_owned()];
    while let Some((at, base)) = extends(sources.last()).map_err(|wrong| sources.error(wrong))? {
        let base = sources.folder(at).join(base);
        let text = read_base(&base, &chain)
            .map_err(|what| sources.error(Wrong { at, what: format!("extends: {what}") }))?;
        sources.add(&base, &text);
        chain.push(base);
    }
    Ok(sources)
}

fn read_base(base: &Path, chain: &[PathBuf]) -> Result<String, String> {
    let there = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let names = chain.iter().map(PathBuf::as_path).chain([base]);
    let all = names.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" → ");
    if chain.iter().any(|path| there(path) == there(base)) {
        return Err(format!("the files extend each other in a circle: {all}"));
    }
    if chain.len() == LONGEST_CHAIN {
        return Err(format!("more than {LONGEST_CHAIN} files extend each other: {all}"));
    }
    std::fs::read_to_string(base).map_err(|error| {
        format!("cannot read {}: {error}; the path is relative to this file", base.display())
    })
}

/// Returns the path of the file that a text extends, and the offset of that path.
fn extends(text: &str) -> Result<Option<(usize, String)>, Wrong> {
    let table = parse(text)?;
    let Some(value) = table.get("extends") else { return Ok(None) };
    let at = value.span().start;
    match value.get_ref() {
        DeValue::String(path) if !path.is_empty() => Ok(Some((at, path.clone().into_owned()))),
        _ => {
            let what = "extends: write the path of a file, relative to this one".to_owned();
            Err(Wrong { at, what })
        }
    }
}

/// Refuses a text that extends a file. The path of that file is relative to the extending file, and
/// a text is not a file.
pub(super) fn refuse(text: &str) -> Result<(), Wrong> {
    extends(text)?.map_or(Ok(()), |(at, _)| {
        let what = "extends: only a scenario that is a file can extend another".to_owned();
        Err(Wrong { at, what })
    })
}

/// Merges the texts into one table, in which the keys of the first text win.
pub(super) fn merge(sources: &Sources) -> Result<DeTable<'_>, Wrong> {
    let mut merged = DeTable::new();
    for text in sources.texts().rev() {
        for (name, value) in parse(text)? {
            merge_entry(&mut merged, name, value, merge_section);
        }
    }
    merged.remove("extends");
    Ok(merged)
}

fn parse(text: &str) -> Result<DeTable<'_>, Wrong> {
    let table = DeTable::parse(text)
        .map_err(|error| Wrong::from_toml(&error, text.len().saturating_sub(1)))?;
    Ok(table.into_inner())
}

type Key<'a> = Spanned<Cow<'a, str>>;
type Entry<'a> = Spanned<DeValue<'a>>;

/// Adds a key to a table. If the key already has a table and `value` is a table, `combine` merges
/// the two tables.
fn merge_entry<'a>(
    into: &mut DeTable<'a>,
    key: Key<'a>,
    mut value: Entry<'a>,
    combine: impl Fn(&str, &mut DeTable<'a>, DeTable<'a>),
) {
    // The old key is removed, because an insert would keep the old key with its old offset.
    if let Some((_, mut old)) = into.remove_entry(&**key.get_ref()) {
        let span = value.span();
        let joined =
            match (old.get_mut(), std::mem::replace(value.get_mut(), DeValue::Boolean(false))) {
                (DeValue::Table(inherited), DeValue::Table(own)) => {
                    combine(key.get_ref(), inherited, own);
                    DeValue::Table(std::mem::take(inherited))
                }
                (DeValue::Array(inherited), DeValue::Array(own))
                    if inherited.iter().chain(own.iter()).all(|item| item.get_ref().is_table()) =>
                {
                    let mut all = std::mem::replace(inherited, DeArray::new());
                    let n_inherited = all.len();
                    for item in own {
                        append(&mut all, n_inherited, item);
                    }
                    DeValue::Array(all)
                }
                (_, own) => own,
            };
        value = Spanned::new(span, joined);
    }
    into.insert(key, value);
}

fn merge_section<'a>(name: &str, inherited: &mut DeTable<'a>, own: DeTable<'a>) {
    if name == "train" {
        forget_parameters(inherited, &own);
    }
    for (key, value) in own {
        // A table within a section, such as a distribution, is a single value: the file's own table
        // replaces the whole inherited table.
        merge_entry(inherited, key, value, |_, inherited, own| *inherited = own);
    }
}

/// Removes the parameters of the inherited optimizer if the extending file names another optimizer.
fn forget_parameters(inherited: &mut DeTable<'_>, own: &DeTable<'_>) {
    let name = |table: &DeTable<'_>| {
        table.get("optimizer").and_then(|value| value.get_ref().as_str()).map(ToOwned::to_owned)
    };
    if own.contains_key("optimizer") && name(own) != name(inherited) {
        for parameter in ["momentum", "nesterov", "beta1", "beta2", "epsilon"] {
            inherited.remove(parameter);
        }
    }
}

fn append<'a>(all: &mut DeArray<'a>, n_inherited: usize, item: Entry<'a>) {
    let own = id(&item).map(ToOwned::to_owned);
    let mut inherited = all.iter_mut().take(n_inherited);
    match inherited.find(|other| own.is_some() && id(other) == own.as_deref()) {
        Some(other) => *other = item,
        None => all.push(item),
    }
}

fn id<'a>(item: &'a Entry<'_>) -> Option<&'a str> {
    item.get_ref().get("id")?.get_ref().as_str()
}
