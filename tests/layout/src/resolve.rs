//! From a path in a file to the file that defines the item.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::source::{Segments, Source};

/// A module: the name of its crate, and the modules below.
pub(crate) type Module = Vec<String>;

/// All modules of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) modules: BTreeMap<Module, Source>,
}

impl Tree {
    /// Adds a crate by its root file.
    pub(crate) fn add(&mut self, name: &str, root: &Path) {
        self.read(vec![name.to_owned()], root.to_owned());
    }

    fn read(&mut self, module: Module, path: PathBuf) {
        let source = Source::parse(path.clone());
        let folder = if ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.ends_with(name)) {
            path.parent().unwrap().to_owned()
        } else {
            path.with_extension("")
        };
        for (name, file) in &source.modules {
            let candidates = match file {
                Some(file) => vec![path.parent().unwrap().join(file)],
                None => vec![folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")],
            };
            let found = candidates.iter().find(|it| it.exists());
            let found =
                found.unwrap_or_else(|| panic!("{}: no file for mod {name}", path.display()));
            let mut below = module.clone();
            below.push(name.clone());
            self.read(below, found.clone());
        }
        self.modules.insert(module, source);
    }

    /// The files that a module imports from, with the path that shows it.
    pub(crate) fn imported(&self, module: &Module) -> BTreeMap<PathBuf, String> {
        let source = &self.modules[module];
        let mut found = BTreeMap::new();
        let mut note = |path: &Segments| {
            if let Some(target) = self.resolve(module, path, &mut BTreeSet::new())
                && target != source.path
            {
                found.entry(target).or_insert_with(|| path.join("::"));
            }
        };
        for import in &source.imports {
            // A re-export that the file does not use itself is a signpost, not a dependency.
            if !import.is_export || source.words.contains(&import.alias) {
                note(&import.path);
            }
        }
        for path in &source.paths {
            note(path);
        }
        found
    }

    /// The file that defines what `path` names in `module`; `None` for items of other projects.
    fn resolve(
        &self,
        module: &Module,
        path: &Segments,
        seen: &mut BTreeSet<(Module, Segments)>,
    ) -> Option<PathBuf> {
        if !seen.insert((module.clone(), path.clone())) {
            return None;
        }
        let mut at = module.clone();
        let mut rest = &path[..];
        match rest.first()?.as_str() {
            "crate" | "$crate" => {
                at.truncate(1);
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|it| it == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            "Self" => return None,
            first => {
                let outside = vec![first.to_owned()];
                let is_local = self.modules[&at].modules.contains_key(first)
                    || self.modules[&at].imports.iter().any(|it| it.alias == first);
                if self.modules.contains_key(&outside) && !is_local {
                    at = outside;
                    rest = &rest[1..];
                }
            }
        }
        self.descend(at, rest, seen)
    }

    /// Whether a path of a `use` declaration can lead to a file of the workspace.
    fn is_ours(&self, module: &Module, path: &Segments) -> bool {
        let Some(first) = path.first() else { return false };
        ["crate", "self", "super"].contains(&first.as_str())
            || self.modules.contains_key(&vec![first.clone()])
            || self.modules[module].modules.contains_key(first)
    }

    fn descend(
        &self,
        mut at: Module,
        mut rest: &[String],
        seen: &mut BTreeSet<(Module, Segments)>,
    ) -> Option<PathBuf> {
        while let Some(name) = rest.first() {
            let source = self.modules.get(&at)?;
            // A module may share its name with a function.
            if source.modules.contains_key(name) {
                at.push(name.clone());
                rest = &rest[1..];
                continue;
            }
            if source.defined.contains(name) {
                return Some(source.path.clone());
            }
            let ours = || source.imports.iter().filter(|it| self.is_ours(&at, &it.path));
            let named = ours().filter(|it| it.alias == *name).map(|it| it.path.clone());
            let globs = ours().filter(|it| it.alias == "*").map(|it| {
                let mut path = it.path.clone();
                path.push(name.clone());
                path
            });
            return named.chain(globs).find_map(|path| {
                let mut whole = path;
                whole.extend(rest[1..].iter().cloned());
                // An alias of a type may be followed by a variant or an associated function.
                (0..=rest.len() - 1)
                    .find_map(|cut| self.resolve(&at, &whole[..whole.len() - cut].to_vec(), seen))
            });
        }
        Some(self.modules.get(&at)?.path.clone())
    }
}
