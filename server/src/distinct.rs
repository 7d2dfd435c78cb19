//! JSON objects that give a field more than once.
//!
//! RFC 8259 (section 4) leaves it to the reader which value it takes, and readers differ: a ruleset
//! that a person reads one way must not be decided by another. So such a text is refused, by place.

use core::cell::RefCell;
use core::fmt;
use std::collections::BTreeSet;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// What is said of such a field, behind its place.
pub(crate) const TWICE: &str = "is given more than once";

/// JSON Pointer (RFC 6901) of a field that is given more than once, at any depth of `text`; none if
/// there is none, or if `text` is not JSON, which its ordinary reader says.
pub(crate) fn field_given_twice(text: &str) -> Option<String> {
    let found = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_str(text);
    // What else is wrong with the text is not said here.
    let _ = Distinct(&found).deserialize(&mut json);
    let parts = found.into_inner()?;
    let escaped = |part: &String| part.replace('~', "~0").replace('/', "~1");
    let pointer = parts.iter().rev().map(|part| format!("/{}", escaped(part)));
    Some(pointer.collect())
}

/// Reads any value; the parts of the pointer to a field that is there twice, innermost first, go
/// into the cell.
#[derive(Clone, Copy)]
struct Distinct<'f>(&'f RefCell<Option<Vec<String>>>);

impl Distinct<'_> {
    /// Says where the field is, seen from one level further out.
    fn under(self, part: impl FnOnce() -> String) {
        if let Some(parts) = self.0.borrow_mut().as_mut() {
            parts.push(part());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Distinct<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Distinct<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if seen.contains(&name) {
                *self.0.borrow_mut() = Some(vec![name]);
                return Err(A::Error::custom(TWICE));
            }
            map.next_value_seed(self)
                .inspect_err(|_| self.under(|| name.clone()))?;
            seen.insert(name);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut place = 0_usize;
        loop {
            let item = items.next_element_seed(self);
            if item
                .inspect_err(|_| self.under(|| place.to_string()))?
                .is_none()
            {
                return Ok(());
            }
            place += 1;
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_given_twice_is_found_at_any_depth() {
        for (text, pointer) in [
            (r#"{"a":1,"a":1}"#, "/a"),
            (r#"{"a":{"b":[0,{"c/d":1,"e":[],"c/d":2}]}}"#, "/a/b/1/c~1d"),
            (r#"[[{"x~":1,"x~":null}]]"#, "/0/0/x~0"),
            // Two spellings of one name.
            (r#"{"a":1,"\u0061":1}"#, "/a"),
            (r#"{"":1,"":1}"#, "/"),
        ] {
            assert_eq!(field_given_twice(text).as_deref(), Some(pointer), "{text}");
        }
    }

    #[test]
    fn what_is_distinct_or_no_json_at_all_is_left_to_its_reader() {
        for text in [
            r#"{"a":{"a":[{"a":1},{"a":1}]},"A":-1,"b":[true,null,1.5,"x",1e400]}"#,
            "7",
            "{",
            r#"{"a":1,"a"#,
            "",
        ] {
            assert_eq!(field_given_twice(text), None, "{text}");
        }
    }
}
