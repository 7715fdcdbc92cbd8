//! Macros that declare enums in files. One key contains the name of the variant, and further keys
//! contain its fields.

use unisono_config::file::Wrong;

use super::field::{Field, FieldType};
use super::key::Key;
use super::lines::Lines;
use super::section::Section;
use super::values::Choice;

/// An enum that `tagged!` declares.
pub(crate) trait Tagged: Clone {
    /// The type of the variants without their fields.
    type Tag: Choice;

    fn tag(&self) -> Self::Tag;

    /// The keys of a variant's fields.
    fn own_keys(tag: Self::Tag) -> Vec<Key>;

    fn read_as(tag: Self::Tag, section: Section<'_>) -> Result<Self, Wrong>;

    fn write_fields(&self, lines: &mut Lines);
}

/// Returns the field for the name of the variant.
fn tag_field<T: Tagged>(field: &Field<T>) -> Field<T::Tag> {
    field.with(field.default.as_ref().map(T::tag))
}

/// Returns the key for the name of the variant, and the keys of all variants.
pub(crate) fn keys<T: Tagged>(field: &Field<T>) -> Vec<Key> {
    let mut keys = FieldType::keys(&tag_field(field));
    for &(tag, name) in T::Tag::NAMED {
        let default = format!("required if `{}` is `\"{name}\"`", field.key);
        let own = T::own_keys(tag).into_iter();
        keys.extend(own.map(|key| Key { default: default.clone(), ..key }));
    }
    keys
}

/// Reads a variant. The keys of other variants must be absent.
pub(crate) fn read<T: Tagged>(field: Field<T>, section: Section<'_>) -> Result<T, Wrong> {
    let tag = <T::Tag as FieldType>::read(tag_field(&field), section)?;
    for &(other, name) in T::Tag::NAMED {
        for Key { name: key, meaning, .. } in T::own_keys(other) {
            let field = field.key;
            let what = format!("only {field} = \"{name}\" has it; write that, or leave {key} out");
            section.deny(key, other != tag, what)?;
            let mut meaning = meaning.trim_end_matches('.').to_owned();
            meaning[..1].make_ascii_lowercase();
            let is_missing = other == tag && section.get(key).is_none();
            section.deny(field, is_missing, format!("\"{name}\" needs {key}: {meaning}"))?;
        }
    }
    T::read_as(tag, section)
}

pub(crate) fn write<T: Tagged>(given: &T, field: &Field<T>, lines: &mut Lines) {
    FieldType::write(&given.tag(), &tag_field(field), lines);
    given.write_fields(lines);
}

/// Implements [`FieldType`] for an enum. The table of the enum has the keys of all variants.
macro_rules! tagged_field {
    ($type:ty) => {
        impl FieldType for $type {
            fn keys(field: &Field<Self>) -> Vec<Key> {
                super::keys::tagged::keys(field)
            }

            fn read(field: Field<Self>, section: Section<'_>) -> Result<Self, Wrong> {
                super::keys::tagged::read(field, section)
            }

            fn write(&self, field: &Field<Self>, lines: &mut Lines) {
                super::keys::tagged::write(self, field, lines);
            }
        }
    };
}
pub(crate) use tagged_field;

/// Declares an enum, and a second enum with the same variants but without fields. The fields are
/// declared as in `table!`.
macro_rules! tagged {
    (
        $(#[doc = $about:literal])+ $(#[derive($($derive:ident),+)])?
        pub enum $name:ident by $vis:vis $tag:ident: $what:literal { $(
            $(#[doc = $doc:literal])+
            $variant:ident = $text:literal $({ $(
                $(#[doc = $field_doc:literal])+
                $field:ident: $type:ty $([$bounds:expr])? $(= $default:expr)?,
            )* })?
        )+ }
    ) => {
        choices! {
            $(#[doc = $about])+
            #[derive(PartialOrd, Ord)]
            $vis enum $tag: $what {
                $( $(#[doc = $doc])+ $variant = $text, )+
            }
        }

        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq $($(, $derive)+)?)]
        pub enum $name {
            $( $(#[doc = $doc])+ $variant $({ $( $(#[doc = $field_doc])+ $field: $type, )* })?, )+
        }
        tagged! { @impl $name by $tag $(
            $variant $({ $(
                $field ($type, $field; $($field_doc)+; $($bounds)?; $($default)?)
            )* })?;
        )+ }
    };
    // Each `$spec` contains the arguments of `field!`.
    (@impl $name:ident by $tag:ident $( $variant:ident $({ $( $field:ident $spec:tt )* })?; )+) => {
        impl Tagged for $name {
            type Tag = $tag;

            fn tag(&self) -> $tag {
                match self {
                    $( Self::$variant { .. } => $tag::$variant, )+
                }
            }

            fn own_keys(tag: $tag) -> Vec<Key> {
                let keys: Vec<Vec<Key>> = match tag {
                    $( $tag::$variant => vec![$( $( FieldType::keys(&field! $spec), )* )?], )+
                };
                keys.concat()
            }

            fn read_as(tag: $tag, section: Section<'_>) -> Result<Self, Wrong> {
                Ok(match tag {
                    $( $tag::$variant => Self::$variant $({
                        $( $field: FieldType::read(field! $spec, section)?, )*
                    })?, )+
                })
            }

            fn write_fields(&self, lines: &mut Lines) {
                match self {
                    $( Self::$variant $({ $($field),* })? => {
                        $( $( FieldType::write($field, &field! $spec, lines); )* )?
                    } )+
                }
            }
        }
    };
}
pub(crate) use tagged;
