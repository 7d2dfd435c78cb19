//! Typed configurations: one CBOR map with text keys, read without floats and without serde.
//!
//! [`config!`](crate::config!) makes the struct, its decoder and (natively, feature `manifest`) its
//! JSON Schema from one declaration, so that the three cannot disagree.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::quantity::Grams;
use crate::reader::Reader;

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// What is wrong, as the end of a sentence that starts with the field: `must be text`.
    pub problem: &'static str,
    /// JSON Pointer (RFC 6901) of the field.
    pub pointer: String,
}

impl ConfigError {
    /// An error of the value at hand; whoever called the decoder adds the path.
    #[must_use]
    pub const fn here(problem: &'static str) -> Self {
        Self {
            problem,
            pointer: String::new(),
        }
    }

    /// The same error, seen from the map that holds it under `key`.
    #[must_use]
    pub fn under(self, key: &str) -> Self {
        let mut pointer = String::with_capacity(1 + key.len() + self.pointer.len());
        push_token(&mut pointer, key);
        pointer.push_str(&self.pointer);
        Self {
            problem: self.problem,
            pointer,
        }
    }

    /// The same error, seen from the list that holds it at `index`.
    #[must_use]
    pub fn under_index(self, index: u64) -> Self {
        let mut key = String::new();
        crate::text::push_integer(&mut key, index);
        self.under(&key)
    }
}

/// Adds a step to a JSON Pointer: '/' and the key, with '~' and '/' escaped (RFC 6901, section 3).
pub fn push_token(pointer: &mut String, key: &str) {
    pointer.push('/');
    for c in key.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// With feature `manifest`: what a value needs to appear in a JSON Schema. Nothing otherwise.
#[cfg(feature = "manifest")]
pub trait Described: schemars::JsonSchema + serde::Serialize {}
#[cfg(feature = "manifest")]
impl<T: schemars::JsonSchema + serde::Serialize> Described for T {}

/// With feature `manifest`: what a value needs to appear in a JSON Schema. Nothing otherwise.
#[cfg(not(feature = "manifest"))]
pub trait Described {}
#[cfg(not(feature = "manifest"))]
impl<T> Described for T {}

/// A value that may stand in a configuration.
pub trait ConfigValue: Sized + Described {
    /// Reads the value.
    ///
    /// # Errors
    /// The value is of another type or out of range.
    fn read(reader: &mut Reader<'_>) -> Result<Self, ConfigError>;

    /// Natively: the pointer of the texts in a value that stands at `at`.
    #[cfg(feature = "manifest")]
    #[doc(hidden)]
    #[must_use]
    fn texts_at(at: String) -> String {
        at
    }

    /// Natively: adds the fields within a value at `at` that are marked with `names`.
    #[cfg(feature = "manifest")]
    #[doc(hidden)]
    fn names_within(at: &str, found: &mut Vec<crate::manifest::ConfigName>) {
        let _ = (at, found);
    }
}

/// A whole configuration.
pub trait PolicyConfig: ConfigValue {
    /// Whether it has any field. One without is shown as having no schema.
    const HAS_FIELDS: bool;

    /// Reads a configuration: one map and nothing after it.
    ///
    /// # Errors
    /// An unknown, missing, repeated or badly typed field, with its JSON Pointer.
    fn from_cbor(bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(bytes);
        let config = Self::read(&mut reader)?;
        if reader.is_at_end() {
            Ok(config)
        } else {
            Err(ConfigError::here("must be one map and nothing after it"))
        }
    }
}

/// Number of entries of the map that comes next. Maps of indefinite length are refused.
///
/// # Errors
/// Something else comes next.
pub fn read_map_len(reader: &mut Reader<'_>) -> Result<u64, ConfigError> {
    reader.map().ok_or(ConfigError::here("must be an object"))
}

/// The key that comes next.
///
/// # Errors
/// Something else comes next.
pub fn read_key<'b>(reader: &mut Reader<'b>) -> Result<&'b str, ConfigError> {
    reader
        .text()
        .ok_or(ConfigError::here("must have text keys"))
}

/// Reads the value of field `key` into `slot`.
///
/// # Errors
/// The field was there before, or its value is not good.
pub fn read_field<T: ConfigValue>(
    slot: &mut Option<T>,
    reader: &mut Reader<'_>,
    key: &str,
) -> Result<(), ConfigError> {
    if slot.is_some() {
        return Err(ConfigError::here("is given twice").under(key));
    }
    *slot = Some(T::read(reader).map_err(|error| error.under(key))?);
    Ok(())
}

/// Refuses a field that the configuration does not have.
///
/// # Errors
/// Always.
pub fn refuse_field(key: &str) -> Result<(), ConfigError> {
    Err(ConfigError::here("is not a known field").under(key))
}

/// A list of texts from literals: for defaults in [`config!`](crate::config!).
#[must_use]
pub fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.into_iter().map(String::from).collect()
}

impl ConfigValue for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ConfigError> {
        reader
            .boolean()
            .ok_or(ConfigError::here("must be true or false"))
    }
}

impl ConfigValue for String {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ConfigError> {
        reader
            .text()
            .map(Self::from)
            .ok_or(ConfigError::here("must be text"))
    }
}

macro_rules! whole_numbers {
    ($($type:ident by $read:ident: $problem:literal),+ $(,)?) => {$(
        impl ConfigValue for $type {
            fn read(reader: &mut Reader<'_>) -> Result<Self, ConfigError> {
                let number = reader.$read().and_then(|number| number.try_into().ok());
                number.ok_or(ConfigError::here($problem))
            }
        }
    )+};
}

whole_numbers! {
    u8 by unsigned: "must be a whole number from 0 to 255",
    u16 by unsigned: "must be a whole number from 0 to 65535",
    u32 by unsigned: "must be a whole number from 0 to 4294967295",
    u64 by unsigned: "must be a whole number that is not negative",
    i32 by integer: "must be a whole number from -2147483648 to 2147483647",
    i64 by integer: "must be a whole number",
}

/// In a configuration a weight is a whole number of milligrams.
impl ConfigValue for Grams {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ConfigError> {
        reader.unsigned().and_then(Self::from_mg).ok_or_else(|| {
            ConfigError::here("must be a whole number of milligrams from 0 to 1000000000000")
        })
    }
}

impl<T: ConfigValue> ConfigValue for Option<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ConfigError> {
        if reader.null() {
            Ok(None)
        } else {
            T::read(reader).map(Some)
        }
    }

    #[cfg(feature = "manifest")]
    fn texts_at(at: String) -> String {
        T::texts_at(at)
    }

    #[cfg(feature = "manifest")]
    fn names_within(at: &str, found: &mut Vec<crate::manifest::ConfigName>) {
        T::names_within(at, found);
    }
}

impl<T: ConfigValue> ConfigValue for Vec<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ConfigError> {
        let len = reader.array().ok_or(ConfigError::here("must be a list"))?;
        // The length is the sender's claim: the list grows with what is really there.
        let mut list = Self::new();
        for index in 0..len {
            list.push(T::read(reader).map_err(|error| error.under_index(index))?);
        }
        Ok(list)
    }

    #[cfg(feature = "manifest")]
    fn texts_at(at: String) -> String {
        T::texts_at(at + "/*")
    }

    #[cfg(feature = "manifest")]
    fn names_within(at: &str, found: &mut Vec<crate::manifest::ConfigName>) {
        T::names_within(&alloc::format!("{at}/*"), found);
    }
}

impl<T: ConfigValue> ConfigValue for BTreeMap<String, T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ConfigError> {
        let mut map = Self::new();
        for _ in 0..read_map_len(reader)? {
            let key = read_key(reader)?;
            let value = T::read(reader).map_err(|error| error.under(key))?;
            if map.insert(String::from(key), value).is_some() {
                return Err(ConfigError::here("is given twice").under(key));
            }
        }
        Ok(map)
    }

    #[cfg(feature = "manifest")]
    fn texts_at(at: String) -> String {
        T::texts_at(at + "/*")
    }

    #[cfg(feature = "manifest")]
    fn names_within(at: &str, found: &mut Vec<crate::manifest::ConfigName>) {
        T::names_within(&alloc::format!("{at}/*"), found);
    }
}

/// Declares a configuration: the struct, its decoder and, with feature `manifest`, its JSON Schema.
///
/// A field with `= default` may be left out; one without must be there. Field types are those that
/// implement [`ConfigValue`](crate::config::ConfigValue): `bool`, integers, `String`, `Grams`
/// (whole milligrams), `Option`, `Vec`, `BTreeMap<String, _>` and other `config!` structs.
///
/// After its comment a field may be marked with what its texts name: `#[names(state)]`, or
/// `material`, `actor` or `label` (the key of one). `#[names(state, keys)]` means the keys of a map,
/// and `decides` says that the deduction never passes at a move to a state that is named there.
/// Activation then refuses a name that can match nothing, and hands a state's name to the policy
/// where the configuration gives an alias.
///
/// ```
/// use raft3d_sdk::config::{PolicyConfig, texts};
///
/// raft3d_sdk::config! {
///     /// What this policy can be told.
///     pub struct Config {
///         /// Materials that may be printed.
///         materials: Vec<String> = texts(["PLA", "PETG"]),
///     }
/// }
/// let config = Config::from_cbor(&[0xa0]).unwrap(); // An empty map: every default.
/// assert_eq!(config.materials, ["PLA", "PETG"]);
/// ```
#[macro_export]
macro_rules! config {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $(#[names($kind:ident $(, $flag:ident)*)])?
                $field:ident : $type:ty $(= $default:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        impl $crate::config::ConfigValue for $name {
            fn read(
                reader: &mut $crate::reader::Reader<'_>,
            ) -> ::core::result::Result<Self, $crate::config::ConfigError> {
                $(let mut $field: ::core::option::Option<$type> = ::core::option::Option::None;)*
                for _ in 0..$crate::config::read_map_len(reader)? {
                    match $crate::config::read_key(reader)? {
                        $(key @ ::core::stringify!($field) => {
                            $crate::config::read_field(&mut $field, reader, key)?;
                        })*
                        unknown => $crate::config::refuse_field(unknown)?,
                    }
                }
                ::core::result::Result::Ok(Self {
                    $($field: match $field {
                        ::core::option::Option::Some(value) => value,
                        ::core::option::Option::None =>
                            $crate::__config_absent!($field $(, $default)?),
                    },)*
                })
            }

            $crate::__config_names! {
                $([$($kind $($flag)*)?] $field : $type [$($default)?]),*
            }
        }

        impl $crate::config::PolicyConfig for $name {
            const HAS_FIELDS: bool = {
                let names: &[&str] = &[$(::core::stringify!($field)),*];
                !names.is_empty()
            };
        }

        $crate::__config_schema! {
            $name [$($doc)*] { $([$($field_doc)*] $field : $type [$($default)?]),* }
        }
    };
}

/// What stands for a field that was left out.
#[doc(hidden)]
#[macro_export]
macro_rules! __config_absent {
    ($field:ident, $default:expr) => {
        $default
    };
    ($field:ident) => {
        return ::core::result::Result::Err(
            $crate::config::ConfigError::here("is required").under(::core::stringify!($field)),
        )
    };
}

/// Without feature `manifest` a configuration does not say what it names.
#[cfg(not(feature = "manifest"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __config_names {
    ($($any:tt)*) => {};
}

/// Without feature `manifest` a configuration carries no schema.
#[cfg(not(feature = "manifest"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __config_schema {
    ($($any:tt)*) => {};
}

crate::config! {
    /// For policies that take no configuration: only the empty map is good.
    pub struct NoConfig {}
}
