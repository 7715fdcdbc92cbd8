//! One source file: what it defines, what it imports and which paths it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// A path as segments, for example `["crate", "host", "drive"]`.
pub(crate) type Segments = Vec<String>;

/// An item of a `use` declaration.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) path: Segments,
    /// The name under which the file knows the item; `*` for a glob.
    pub(crate) alias: String,
    /// `pub use`, in any visibility.
    pub(crate) is_export: bool,
}

/// What the layout checks know about a file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) defined: BTreeSet<String>,
    pub(crate) imports: Vec<Import>,
    /// Qualified paths in code, such as `crate::time::Moment`.
    pub(crate) paths: BTreeSet<Segments>,
    /// Every identifier in code outside of `use` declarations.
    pub(crate) words: BTreeSet<String>,
    /// Modules declared with `mod name;`, with the file that `#[path]` names.
    pub(crate) modules: BTreeMap<String, Option<String>>,
}

impl Source {
    pub(crate) fn parse(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = syn::parse_file(&text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        let mut source = Self { path, ..Self::default() };
        for item in &file.items {
            source.take(item);
        }
        source
    }

    fn take(&mut self, item: &Item) {
        if attributes(item).iter().any(is_test_only) {
            return;
        }
        match item {
            Item::Use(it) => {
                let is_export = !matches!(it.vis, Visibility::Inherited);
                flatten(&it.tree, &mut Vec::new(), is_export, &mut self.imports);
            }
            Item::Mod(it) => {
                let name = it.ident.to_string();
                match &it.content {
                    // Inline modules are flattened into their file.
                    Some((_, items)) => {
                        self.defined.insert(name);
                        for item in items {
                            self.take(item);
                        }
                    }
                    None => {
                        self.modules.insert(name, it.attrs.iter().find_map(path_attribute));
                    }
                }
            }
            _ => {
                self.defined.extend(name_of(item));
                self.visit_item(item);
            }
        }
    }

    fn take_tokens(&mut self, tokens: TokenStream) {
        // Macro bodies are not parsed; a path in one is a run of identifiers and `::`.
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_path(&mut path);
                    }
                    path.push(ident.to_string());
                    self.words.insert(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end_path(&mut path);
                    colons = 0;
                    self.take_tokens(group.stream());
                }
                _ => {
                    self.end_path(&mut path);
                    colons = 0;
                }
            }
        }
        self.end_path(&mut path);
    }

    fn end_path(&mut self, path: &mut Segments) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.paths.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_test_only) {
            return;
        }
        if let Item::Use(it) = item {
            flatten(&it.tree, &mut Vec::new(), false, &mut self.imports);
        }
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.words.extend(segments.iter().cloned());
        if segments.len() > 1 {
            self.paths.insert(segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {
        // The path in `pub(in crate::…)` is no import.
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        self.take_tokens(it.tokens.clone());
        visit::visit_macro(self, it);
    }
}

fn flatten(tree: &UseTree, path: &mut Segments, is_export: bool, out: &mut Vec<Import>) {
    let mut end = |name: String, alias: String| {
        let mut whole = path.clone();
        if name != "self" {
            whole.push(name);
        }
        let alias = if alias == "self" { path.last().cloned().unwrap_or_default() } else { alias };
        out.push(Import { path: whole, alias, is_export });
    };
    match tree {
        UseTree::Path(it) => {
            path.push(it.ident.to_string());
            flatten(&it.tree, path, is_export, out);
            path.pop();
        }
        UseTree::Name(it) => end(it.ident.to_string(), it.ident.to_string()),
        UseTree::Rename(it) => end(it.ident.to_string(), it.rename.to_string()),
        UseTree::Glob(_) => {
            out.push(Import { path: path.clone(), alias: "*".to_owned(), is_export });
        }
        UseTree::Group(it) => {
            for tree in &it.items {
                flatten(tree, path, is_export, out);
            }
        }
    }
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(it) => it.ident.to_string(),
        Item::Enum(it) => it.ident.to_string(),
        Item::Fn(it) => it.sig.ident.to_string(),
        Item::Macro(it) => it.ident.as_ref()?.to_string(),
        Item::Static(it) => it.ident.to_string(),
        Item::Struct(it) => it.ident.to_string(),
        Item::Trait(it) => it.ident.to_string(),
        Item::Type(it) => it.ident.to_string(),
        Item::Union(it) => it.ident.to_string(),
        _ => return None,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

fn is_test_only(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let condition = list.tokens.to_string();
    list.path.is_ident("cfg")
        && (condition == "test"
            || condition.starts_with("any (test ,")
            || condition.starts_with("any(test"))
}

/// The file of a module, from `#[path = "…"]` or `#[cfg_attr(…, path = "…")]`.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    let tokens = match &attribute.meta {
        syn::Meta::NameValue(it) if it.path.is_ident("path") => {
            it.value.to_token_stream().to_string()
        }
        syn::Meta::List(it) if it.path.is_ident("cfg_attr") => it.tokens.to_string(),
        _ => return None,
    };
    let (_, name) = tokens.rsplit_once("path = ").unwrap_or(("", &tokens));
    name.split('"').nth(1).filter(|name| name.ends_with(".rs")).map(str::to_owned)
}
