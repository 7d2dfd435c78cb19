//! The modules that are built into this program, so that nobody needs a WebAssembly compiler to
//! run a shop: checked in under `policies/prebuilt/`, made from the sources beside it.

/// What a new cluster begins with, in the order in which they are asked.
pub(crate) const DEFAULT_MODULES: [&[u8]; 2] = [
    include_bytes!("../../policies/prebuilt/standard-lifecycle.wasm"),
    include_bytes!("../../policies/prebuilt/standard-deduction.wasm"),
];

/// What is shipped for shops that want more; `policies/README.md` describes them.
const MORE_MODULES: [&[u8]; 7] = [
    include_bytes!("../../policies/prebuilt/exclusive-printer.wasm"),
    include_bytes!("../../policies/prebuilt/waste-factor.wasm"),
    include_bytes!("../../policies/prebuilt/approval.wasm"),
    include_bytes!("../../policies/prebuilt/material-match.wasm"),
    include_bytes!("../../policies/prebuilt/quiet-hours.wasm"),
    include_bytes!("../../policies/prebuilt/safety-margin.wasm"),
    include_bytes!("../../policies/prebuilt/quota.wasm"),
];

/// Every module that is shipped, the default ones first.
pub(crate) fn modules() -> impl Iterator<Item = &'static [u8]> {
    DEFAULT_MODULES.into_iter().chain(MORE_MODULES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use std::collections::BTreeSet;

    use raft3d_engine::policy::inspect;
    use raft3d_engine::sdk::Manifest;
    use raft3d_engine::sdk::manifest::NameKind;
    use serde_json::Value;

    use super::modules;

    /// Where a configuration holds text of its author's choice, and whether it is a map's keys there.
    type Place = (String, bool);

    /// Every such place of `schema`, which stands at `at`.
    fn texts(root: &Value, schema: &Value, at: &str, found: &mut BTreeSet<Place>) {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let place = reference.trim_start_matches('#');
            return texts(root, root.pointer(place).unwrap(), at, found);
        }
        let several = ["anyOf", "oneOf", "allOf"].map(|word| schema.get(word));
        for one in several.into_iter().flatten() {
            let all = one.as_array().unwrap();
            all.iter().for_each(|one| texts(root, one, at, found));
        }
        let is = |name: &str| match schema.get("type") {
            Some(Value::String(only)) => only == name,
            Some(Value::Array(any)) => any.iter().any(|it| it == name),
            _ => false,
        };
        if is("string") && schema.get("enum").is_none() && schema.get("const").is_none() {
            found.insert((at.to_owned(), false));
        }
        if let Some(items) = schema.get("items") {
            texts(root, items, &format!("{at}/*"), found);
        }
        let fields = schema.get("properties").and_then(Value::as_object);
        for (name, field) in fields.into_iter().flatten() {
            texts(root, field, &format!("{at}/{name}"), found);
        }
        if let Some(values @ Value::Object(_)) = schema.get("additionalProperties") {
            found.insert((at.to_owned(), true));
            texts(root, values, &format!("{at}/*"), found);
        }
    }

    /// Texts that are no names: the module itself knows every one that there may be.
    const WORDS: [&str; 1] = ["/intervals/*/days/*"];

    /// What the name of a field says that is named in it.
    fn kind_of(pointer: &str) -> NameKind {
        let field = pointer.trim_end_matches("/*").rsplit('/').next().unwrap();
        match field {
            "states" | "done_states" | "partial_states" => NameKind::State,
            "materials" => NameKind::Material,
            "actors" | "approvers" => NameKind::Actor,
            "label" => NameKind::Label,
            other => panic!("{other} holds text: is it a name, and of what?"),
        }
    }

    /// A field of text that is marked by nothing could be misspelt, and its rule would do nothing.
    #[test]
    fn every_text_in_a_shipped_configuration_is_marked_as_the_name_that_it_is() {
        let mut marked = 0;
        for bytes in modules() {
            let manifest: Manifest = inspect(bytes).unwrap().manifest;
            let mut found = BTreeSet::new();
            if let Some(schema) = &manifest.config_schema {
                let schema: Value = serde_json::from_str(schema).unwrap();
                texts(&schema, &schema, "", &mut found);
            }
            found.retain(|(place, _)| !WORDS.contains(&place.as_str()));
            let names = &manifest.config_names;
            let places: BTreeSet<Place> = names
                .iter()
                .map(|name| (name.pointer.clone(), name.keys))
                .collect();
            assert_eq!(places, found, "{}", manifest.name);
            for name in names {
                let kind = kind_of(&name.pointer);
                assert_eq!(name.kind, kind, "{}{}", manifest.name, name.pointer);
            }
            marked += names.len();
        }
        assert_eq!(marked, 13);
    }

    /// What holds if a field is left out is what the schema says holds.
    #[test]
    fn the_default_names_are_those_of_the_schema() {
        for bytes in modules() {
            let manifest = inspect(bytes).unwrap().manifest;
            let Some(schema) = &manifest.config_schema else {
                continue;
            };
            let schema: Value = serde_json::from_str(schema).unwrap();
            for name in &manifest.config_names {
                let field = name.pointer.split('/').nth(1).unwrap();
                let default = schema.pointer(&format!("/properties/{field}/default"));
                let expected: Vec<String> = match default {
                    Some(Value::String(text)) => vec![text.clone()],
                    Some(Value::Array(texts)) => {
                        let texts = texts.iter().map(|it| it.as_str().unwrap().to_owned());
                        texts.collect()
                    }
                    Some(Value::Object(map)) => map.keys().cloned().collect(),
                    _ => Vec::new(),
                };
                assert_eq!(name.default, expected, "{}{}", manifest.name, name.pointer);
            }
        }
    }
}
