//! Reading JSON objects field by field: lenient where clients in the wild need it, and every
//! complaint names its field.
//!
//! Numbers are read from their text, so that no weight ever passes through a float.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeSet;

use raft3d_engine::core::command::Labels;
use raft3d_engine::core::limits::LABELS_MAX;
use raft3d_engine::sdk::Grams;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::{Kind, Problem};
use crate::distinct::TWICE;

/// Which of the two APIs a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Lenient: ignores what it does not know.
    Classic,
    /// Refuses what it does not know, by name.
    V1,
}

/// The fields of one JSON object that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    /// Pointer (RFC 6901) of the object itself; empty for the body.
    at: String,
    fields: Vec<(String, &'a RawValue)>,
}

struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, &'de RawValue>()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(PairsVisitor).map(Pairs)
    }
}

impl<'a> Fields<'a> {
    /// The fields of the body.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let Pairs(fields) = serde_json::from_slice(body)
            .map_err(|error| Problem::new(Kind::MalformedBody, format!("the body: {error}")))?;
        Self {
            at: String::new(),
            fields,
        }
        .without_duplicates()
    }

    /// The fields of an object inside the body.
    pub(crate) fn nested(at: String, raw: &'a RawValue) -> Result<Self, Problem> {
        let Pairs(fields) = serde_json::from_str(raw.get())
            .map_err(|_| Problem::field(&at, "must be an object"))?;
        Self { at, fields }.without_duplicates()
    }

    /// Two values for one field: readers differ in which of them they take, so neither is.
    fn without_duplicates(self) -> Result<Self, Problem> {
        let mut seen = BTreeSet::new();
        match self.fields.iter().find(|(name, _)| !seen.insert(name)) {
            Some((name, _)) => Err(Problem::field(&self.pointer(name), TWICE)),
            None => Ok(self),
        }
    }

    /// The pointer of the field `name`.
    pub(crate) fn pointer(&self, name: &str) -> String {
        format!("{}/{}", self.at, name.replace('~', "~0").replace('/', "~1"))
    }

    /// Takes a field's raw text; none where it is left out or null.
    pub(crate) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let place = self.fields.iter().position(|(field, _)| field == name)?;
        let (_, raw) = self.fields.swap_remove(place);
        (raw.get() != "null").then_some(raw)
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Problem> {
        value.ok_or_else(|| Problem::field(&self.pointer(name), "is required"))
    }

    /// A string.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let text = serde_json::from_str::<String>(raw.get());
        text.map(Some)
            .map_err(|_| Problem::field(&self.pointer(name), "must be a string"))
    }

    /// A string that must be there.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, Problem> {
        let value = self.text(name)?;
        self.required(name, value)
    }

    /// An id: a string, or a whole number whose digits are then the id.
    pub(crate) fn id(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        if raw.get().bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Some(raw.get().to_owned()));
        }
        let text = serde_json::from_str::<String>(raw.get());
        text.map(Some)
            .map_err(|_| Problem::field(&self.pointer(name), "must be a string or a whole number"))
    }

    /// An id that must be there.
    pub(crate) fn required_id(&mut self, name: &str) -> Result<String, Problem> {
        let value = self.id(name)?;
        self.required(name, value)
    }

    /// The name of a status, possibly in quotes of its own.
    pub(crate) fn status(&mut self, name: &str) -> Result<Option<String>, Problem> {
        Ok(self.text(name)?.map(|text| unquote(&text).to_owned()))
    }

    /// Grams: a number, or a string that holds one.
    pub(crate) fn grams(&mut self, name: &str) -> Result<Option<Grams>, Problem> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let pointer = self.pointer(name);
        // Asked for a string, serde_json would write an error about each number.
        let is_string = raw.get().starts_with('"');
        let owned = is_string.then(|| serde_json::from_str::<String>(raw.get()));
        let owned = owned.and_then(Result::ok);
        let text = owned.as_deref().unwrap_or(raw.get());
        Grams::from_str(text)
            .map(Some)
            .map_err(|error| Problem::field(&pointer, error))
    }

    /// Grams that must be there.
    pub(crate) fn required_grams(&mut self, name: &str) -> Result<Grams, Problem> {
        let value = self.grams(name)?;
        self.required(name, value)
    }

    /// A whole number of type `T`; `range` says which.
    pub(crate) fn integer<T: FromStr>(
        &mut self,
        name: &str,
        range: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let number = raw.get().parse::<T>();
        number.map(Some).map_err(|_| {
            Problem::field(
                &self.pointer(name),
                format!("must be a whole number {range}"),
            )
        })
    }

    /// A whole number that must be there.
    pub(crate) fn required_integer<T: FromStr>(
        &mut self,
        name: &str,
        range: &str,
    ) -> Result<T, Problem> {
        let value = self.integer(name, range)?;
        self.required(name, value)
    }

    /// An object inside this one.
    pub(crate) fn optional_nested(&mut self, name: &str) -> Result<Option<Self>, Problem> {
        let at = self.pointer(name);
        self.raw(name).map(|raw| Self::nested(at, raw)).transpose()
    }

    /// An object inside this one that must be there.
    pub(crate) fn required_nested(&mut self, name: &str) -> Result<Self, Problem> {
        let value = self.optional_nested(name)?;
        self.required(name, value)
    }

    /// A truth value; false where it is left out.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.raw(name).map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::field(&self.pointer(name), "must be true or false")),
        }
    }

    /// Labels: an object of strings; empty where it is left out.
    pub(crate) fn labels(&mut self, name: &str) -> Result<Labels, Problem> {
        let Some(raw) = self.raw(name) else {
            return Ok(Labels::new());
        };
        let mut nested = Fields::nested(self.pointer(name), raw)?;
        if nested.fields.len() > LABELS_MAX {
            let why = format!("must not have more than {LABELS_MAX} entries");
            return Err(Problem::field(&nested.at, why));
        }
        let mut labels = Labels::new();
        while let Some((key, _)) = nested.fields.last().cloned() {
            let value = nested.required_text(&key)?;
            labels.insert(key, value);
        }
        Ok(labels)
    }

    /// The items of an array, each with its pointer.
    pub(crate) fn array(
        &mut self,
        name: &str,
    ) -> Result<Option<Vec<(String, &'a RawValue)>>, Problem> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let pointer = self.pointer(name);
        let items = serde_json::from_str::<Vec<&'a RawValue>>(raw.get())
            .map_err(|_| Problem::field(&pointer, "must be an array"))?;
        let place = |(at, item)| (format!("{pointer}/{at}"), item);
        Ok(Some(items.into_iter().enumerate().map(place).collect()))
    }

    /// Refuses what nobody took, unless the door is the classic one.
    pub(crate) fn finish(self, door: Door) -> Result<(), Problem> {
        match self.fields.first() {
            Some((name, _)) if door == Door::V1 => {
                let pointer = self.pointer(name);
                let place = pointer.strip_prefix('/').unwrap_or(&pointer);
                let detail = format!("{place}: is not a field of this request");
                Err(Problem::new(Kind::UnknownField, detail).at(&pointer))
            }
            _ => Ok(()),
        }
    }
}

/// `text` without white space and one pair of quotes around it.
pub(crate) fn unquote(text: &str) -> &str {
    let text = text.trim();
    let inner = |quote: char| text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn problem(body: &str, read: impl Fn(&mut Fields<'_>) -> Result<(), Problem>) -> String {
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        let result = read(&mut fields).and_then(|()| fields.finish(Door::V1));
        result.map_or_else(
            |problem| problem.detail().to_owned(),
            |()| "fine".to_owned(),
        )
    }

    #[test]
    fn grams_are_numbers_or_strings_and_never_floats() {
        let read = |text: &str| {
            let body = format!("{{\"g\":{text}}}");
            let mut fields = Fields::parse(body.as_bytes()).unwrap();
            fields
                .grams("g")
                .map(|grams| grams.map(Grams::mg))
                .map_err(|p| p.detail().to_owned())
        };
        assert_eq!(read("120"), Ok(Some(120_000)));
        assert_eq!(read("\"120.25\""), Ok(Some(120_250)));
        assert_eq!(read("0.1"), Ok(Some(100)));
        assert_eq!(read("123456789.123"), Ok(Some(123_456_789_123)));
        assert_eq!(read("null"), Ok(None));
        for bad in [
            "true", "[]", "{}", "\"\"", "\"12 g\"", "0.0001", "-1", "1e300",
        ] {
            assert!(
                read(bad).is_err_and(|detail| detail.starts_with("g: ")),
                "{bad}"
            );
        }
    }

    #[test]
    fn ids_may_be_whole_numbers() {
        let read = |text: &str| {
            let body = format!("{{\"id\":{text}}}");
            Fields::parse(body.as_bytes())
                .unwrap()
                .id("id")
                .map_err(|p| p.detail().to_owned())
        };
        assert_eq!(read("7"), Ok(Some("7".to_owned())));
        assert_eq!(
            read("18446744073709551616"),
            Ok(Some("18446744073709551616".to_owned()))
        );
        assert_eq!(read("\"a/b\""), Ok(Some("a/b".to_owned())));
        for bad in ["1.5", "-1", "true", "[1]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn complaints_name_the_field() {
        assert_eq!(
            problem("{\"x\":1}", |_| Ok(())),
            "x: is not a field of this request"
        );
        assert_eq!(
            problem("{\"x\":1}", |f| f.text("x").map(drop)),
            "x: must be a string"
        );
        assert_eq!(
            problem("{\"labels\":{\"k\":1}}", |f| f.labels("labels").map(drop)),
            "labels/k: must be a string"
        );
        assert_eq!(
            Fields::parse(b"{\"x\":1,\"x\":2}").unwrap_err().detail(),
            "x: is given more than once"
        );
    }

    #[test]
    fn unquotes_one_pair() {
        for text in [
            "Queued",
            "\"Queued\"",
            "'Queued'",
            " Queued ",
            "\" Queued \"",
        ] {
            assert_eq!(unquote(text), "Queued");
        }
        assert_eq!(unquote("\""), "\"");
    }
}
