//! Macros that declare tables and values. From one list of fields or names, a macro generates the
//! struct or enum, the reader, the writer and the rows of the reference documentation.
//!
//! A file that calls the macros needs `use keys::*`.

use unisono_config::file::Wrong;

use super::field::{Field, FieldType};
use super::key::{Key, Known};
use super::lines::Lines;
use super::section::Section;

/// A table whose keys `table!` declares.
pub(crate) trait Table: Clone {
    /// Returns the description of the table, for the reader and the reference documentation.
    fn known() -> &'static Known;

    /// Reads the keys and checks the values against each other. An absent key has the value in
    /// `default`, if `default` is given, and otherwise the declared default.
    fn read(section: Section<'_>, default: Option<&Self>) -> Result<Self, Wrong>;

    /// Writes the keys whose values differ from their defaults. The defaults are the values in
    /// `default`, if `default` is given, and otherwise the declared defaults.
    fn write(&self, default: Option<&Self>, lines: &mut Lines);
}

/// A table whose values are checked against each other and against the cluster.
pub(crate) trait Check {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong>;
}

/// Returns the lines of a table.
pub(crate) fn lines_of<T: Table>(table: &T, default: Option<&T>) -> Lines {
    let mut lines = Lines::default();
    table.write(default, &mut lines);
    lines
}

/// A field that is an array of tables.
impl<T: Table> FieldType for Vec<T> {
    fn keys(field: &Field<Self>) -> Vec<Key> {
        let see = format!(" See `{}`.", T::known().heading());
        vec![field.known("tables".to_owned(), "[]", &see)]
    }

    fn read(field: Field<Self>, section: Section<'_>) -> Result<Self, Wrong> {
        let tables = section.all(field.key, T::known())?;
        tables.into_iter().map(|table| T::read(table, None)).collect()
    }

    fn write(&self, _: &Field<Self>, lines: &mut Lines) {
        self.iter().for_each(|table| lines.table(&T::known().heading(), lines_of(table, None)));
    }
}

/// Expands to the first of one or two expressions. In another macro, the first expression may be
/// optional, and the second expression is used if the first is absent.
macro_rules! first {
    ($first:expr $(, $rest:expr)?) => {
        $first
    };
}
pub(crate) use first;

/// Creates the [`Field`] of a declaration.
macro_rules! field {
    (
        $type:ty, $name:ident $($key:literal)?; $($doc:literal)+; $($bounds:expr)?;
        $($default:expr $(; $words:literal)?)?
    ) => {
        Field::<$type> {
            key: first!($($key,)? stringify!($name)),
            doc: concat!($($doc),+),
            bounds: first!($(Bounds::from($bounds),)? Bounds::ANY),
            default: first!($(Some($default),)? None),
            words: first!($($(Some($words),)?)? None),
        }
    };
}
pub(crate) use field;

/// Declares a table as a struct. A field has the form `name: Type[bounds] = default; "default in
/// words"`. A field without a default is required. `name as "key"` declares a field whose key has
/// another name. The doc comments are the texts of the reference documentation.
///
/// If a declaration contains the word `Check`, the table's implementation of [`Check`] is called
/// after all keys have been read. If a declaration has `impl` instead of `struct`, the macro
/// declares the keys of a struct that is defined elsewhere.
macro_rules! table {
    (
        $(#[doc = $about:literal])+ $(#[derive($($derive:ident),+)])?
        $form:ident $heading:literal $($check:ident)?; $vis:vis struct $name:ident { $(
            $(#[doc = $doc:literal])+
            $field:ident $(as $key:literal)?: $type:ty $([$bounds:expr])?
                $(= $default:expr $(; $words:literal)?)?,
        )* }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq $($(, $derive)+)?)]
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                $( $( #[doc = concat!("\n\nDefault: ", $words, ".")] )? )?
                $vis $field: $type,
            )*
        }
        table! {
            $(#[doc = $about])+
            $form $heading $($check)?; impl $name { $(
                $(#[doc = $doc])+
                $field $(as $key)?: $type $([$bounds])? $(= $default $(; $words)?)?,
            )* }
        }
        table!(@$form $name);
    };
    (
        $(#[doc = $about:literal])+
        $form:ident $heading:literal $($check:ident)?; impl $name:ident { $(
            $(#[doc = $doc:literal])+
            $field:ident $(as $key:literal)?: $type:ty $([$bounds:expr])?
                $(= $default:expr $(; $words:literal)?)?,
        )* }
    ) => {
        table! { @impl $name, $form, $heading, concat!($($about),+), [$($check)?] $(
            $field ($type, $field $($key)?; $($doc)+; $($bounds)?; $($default $(; $words)?)?)
        )* }
    };
    // Each `$spec` contains the arguments of `field!`.
    (
        @impl $name:ident, $form:ident, $heading:literal, $about:expr,
        [$($check:ident)?]
        $( $field:ident $spec:tt )*
    ) => {
        impl Table for $name {
            fn known() -> &'static Known {
                static KNOWN: std::sync::LazyLock<Known> = std::sync::LazyLock::new(|| Known {
                    name: $heading,
                    form: Form::$form,
                    meaning: $about.trim(),
                    keys: [$( FieldType::keys(&field! $spec), )*].concat(),
                    kind: None,
                });
                &KNOWN
            }

            fn read(section: Section<'_>, default: Option<&Self>) -> Result<Self, Wrong> {
                let table = Self { $( $field: {
                    let field = field! $spec;
                    FieldType::read(field.or(default.map(|all| &all.$field)), section)?
                }, )* };
                $( $check::check(&table, section)?; )?
                Ok(table)
            }

            fn write(&self, default: Option<&Self>, lines: &mut Lines) { $(
                let field = field! $spec;
                let field = field.or(default.map(|all| &all.$field));
                FieldType::write(&self.$field, &field, lines);
            )* }
        }
    };
    (@Section $name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                let section = Section::empty(Self::known());
                <Self as Table>::read(section, None).expect("a section without keys is valid")
            }
        }
    };
    (@$form:ident $name:ident) => {};
}
pub(crate) use table;

/// Declares an enum whose values have names in files. The literal after the enum's name is the noun
/// for a value in error messages. `= Variant` declares the default value.
macro_rules! choices {
    (
        $(#[doc = $about:literal])+ $(#[derive($($derive:ident),+)])?
        $vis:vis enum $name:ident: $what:literal $(= $default:ident)? {
            $( $(#[doc = $doc:literal])+ $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq $($(, $derive)+)?)]
        #[derive(serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $( $(#[doc = $doc])+ #[serde(rename = $text)] $variant, )+
        }

        impl $name {
            /// All values with their names in scenario files.
            $vis const NAMED: &'static [(Self, &'static str)] = &[$( (Self::$variant, $text), )+];
        }

        $( impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        } )?

        impl Choice for $name {
            const WHAT: &'static str = $what;

            const NAMED: &'static [(Self, &'static str)] = Self::NAMED;

            fn meaning(self) -> &'static str {
                match self {
                    $( Self::$variant => concat!($($doc),+).trim(), )+
                }
            }
        }
    };
}
pub(crate) use choices;

/// Declares an enum with one key for each variant. A table may give at most one of these keys. The
/// first literal is the default of the keys in the reference documentation. The second literal
/// begins the error message for a table that gives two of the keys.
macro_rules! one_of {
    (
        $(#[doc = $about:literal])+ $(#[derive($($derive:ident),+)])?
        pub enum $name:ident: $default:literal, $clash:literal { $(
            $(#[doc = $doc:literal])+
            $variant:ident($type:ty) $([$bounds:expr])? = $key:literal,
        )+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq $($(, $derive)+)?)]
        pub enum $name {
            $( $(#[doc = $doc])+ $variant($type), )+
        }
        one_of! { @impl $name, $default, $clash, $(
            $variant $key ($type, $variant $key; $($doc)+; $($bounds)?; )
        )+ }
    };
    (
        @impl $name:ident, $default:literal, $clash:literal,
        $( $variant:ident $key:literal $spec:tt )+
    ) => {
        impl FieldType for Option<$name> {
            fn keys(_: &Field<Self>) -> Vec<Key> {
                let keys = [$( FieldType::keys(&field! $spec), )+].concat().into_iter();
                keys.map(|key| Key { default: $default.to_owned(), ..key }).collect()
            }

            fn read(_: Field<Self>, section: Section<'_>) -> Result<Self, Wrong> {
                let mut given = None;
                $( if section.get($key).is_some() {
                    if let Some((other, _)) = given {
                        let what = format!("{} {other}, too; give one of them", $clash);
                        section.deny($key, true, what)?;
                    }
                    given = Some(($key, $name::$variant(FieldType::read(field! $spec, section)?)));
                } )+
                Ok(given.map(|(_, given)| given))
            }

            fn write(&self, _: &Field<Self>, lines: &mut Lines) {
                match self {
                    None => {}
                    $( Some($name::$variant(it)) => FieldType::write(it, &field! $spec, lines), )+
                }
            }
        }
    };
}
pub(crate) use one_of;
