//! Names of states and materials, which are compared without regard to ASCII case: alone, and as
//! lists and maps of a configuration.

use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::config::ConfigError;

/// Whether two names are the same.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Whether `names` has `name`.
#[must_use]
pub fn contains<N: AsRef<str>>(names: &[N], name: &str) -> bool {
    names.iter().any(|known| same(known.as_ref(), name))
}

/// The value that `map` holds under `name`.
#[must_use]
pub fn find<'m, T>(map: &'m BTreeMap<String, T>, name: &str) -> Option<&'m T> {
    let mut entries = map.iter();
    entries
        .find(|(key, _)| same(key, name))
        .map(|(_, value)| value)
}

/// For `check_config`: a list of names that holds at least one, none empty and none twice.
///
/// # Errors
/// What is wrong, with the JSON Pointer within the list.
pub fn check_list(names: &[String]) -> Result<(), ConfigError> {
    if names.is_empty() {
        return Err(ConfigError::here("must name at least one"));
    }
    for (index, name) in names.iter().enumerate() {
        check(name, names.iter().take(index)).map_err(|error| error.under_index(index as u64))?;
    }
    Ok(())
}

/// For `check_config`: the keys of a map of names, none empty and none there twice.
///
/// # Errors
/// What is wrong, with the JSON Pointer within the map.
pub fn check_keys<T>(map: &BTreeMap<String, T>) -> Result<(), ConfigError> {
    for (index, name) in map.keys().enumerate() {
        check(name, map.keys().take(index)).map_err(|error| error.under(name))?;
    }
    Ok(())
}

fn check<'n>(name: &str, mut before: impl Iterator<Item = &'n String>) -> Result<(), ConfigError> {
    if name.trim().is_empty() {
        return Err(ConfigError::here("must not be empty"));
    }
    if before.any(|other| same(other, name)) {
        return Err(ConfigError::here("is named twice (case does not count)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::texts;

    fn pointer(result: Result<(), ConfigError>) -> Option<String> {
        result.err().map(|error| error.pointer)
    }

    #[test]
    fn lists_and_keys_hold_each_name_once() {
        let list = |names: &[&str]| {
            let names: alloc::vec::Vec<_> = names.iter().map(|name| String::from(*name)).collect();
            pointer(check_list(&names))
        };
        assert_eq!(list(&["PLA", "ASA"]), None);
        assert_eq!(list(&[]).as_deref(), Some(""));
        assert_eq!(list(&["PLA", " "]).as_deref(), Some("/1"));
        assert_eq!(list(&["PLA", "ASA", "pla"]).as_deref(), Some("/2"));

        let keys = |names: &[&str]| {
            let map: BTreeMap<_, _> = names.iter().map(|name| (String::from(*name), 1)).collect();
            pointer(check_keys(&map))
        };
        assert_eq!(keys(&[]), None);
        assert_eq!(keys(&["PLA", "ASA"]), None);
        assert_eq!(keys(&["PLA", "a/b", "A/B"]).as_deref(), Some("/a~1b"));
        assert_eq!(keys(&[""]).as_deref(), Some("/"));
    }

    #[test]
    fn case_does_not_count() {
        assert!(contains(&["Running"], "running") && !contains(&["Running"], "Run"));
        assert!(contains(&texts(["PLA"]), "pla"));
        let map = BTreeMap::from([(String::from("PLA"), 7)]);
        assert_eq!((find(&map, "Pla"), find(&map, "ASA")), (Some(&7), None));
    }
}
