//! What one ruleset changes in another.

use core::fmt;

use serde_json::Value;

use super::file::StateOf;

/// A change of the bindings.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A binding more, at this place in the order.
    Added(String, usize),
    /// A binding less.
    Removed(String),
    /// It is asked at another place among those that stay: from, to.
    Moved(String, usize, usize),
    /// A field of it (JSON Pointer) has another value: old, new. None where it is not there.
    Field(String, String, Option<Value>, Option<Value>),
}

/// A change of the lifecycle's states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StateChange {
    /// A state more.
    Gained(String),
    /// A state less.
    Lost(StateOf),
    /// Aliases or flags differ: name, old, new.
    Differs(String, Value, Value),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        match self {
            Self::Added(id, at) => write!(f, "+ {id} (asked at place {})", at + 1),
            Self::Removed(id) => write!(f, "- {id}"),
            Self::Moved(id, from, to) => {
                write!(f, "~ {id} moves from place {} to {}", from + 1, to + 1)
            }
            Self::Field(id, at, old, new) => {
                write!(f, "~ {id} {at}: {} -> {}", shown(old), shown(new))
            }
        }
    }
}

impl fmt::Display for StateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gained(name) => write!(f, "+ state {name}"),
            Self::Lost(state) => write!(f, "- state {}", state.name),
            Self::Differs(name, old, new) => write!(f, "~ state {name}: {old} -> {new}"),
        }
    }
}

/// What `new` changes in `old`: bindings are the same where their ids are.
pub(super) fn bindings(old: &Value, new: &[Value]) -> Vec<Change> {
    let old = old.as_array().map(Vec::as_slice).unwrap_or_default();
    let place = |list: &[Value], wanted: &str| list.iter().position(|it| id(it) == wanted);
    let mut changes = Vec::new();
    for binding in old {
        if place(new, id(binding)).is_none() {
            changes.push(Change::Removed(id(binding).to_owned()));
        }
    }
    // Old places of those that stay, in their new order.
    let stay: Vec<_> = new
        .iter()
        .filter_map(|binding| place(old, id(binding)))
        .collect();
    let unmoved = longest_rising(&stay);
    for (at, binding) in new.iter().enumerate() {
        let name = id(binding).to_owned();
        let Some((from, before)) = place(old, &name).and_then(|at| Some((at, old.get(at)?))) else {
            changes.push(Change::Added(name, at));
            continue;
        };
        if !unmoved.contains(&from) {
            changes.push(Change::Moved(name.clone(), from, at));
        }
        compare(&name, "", Some(before), Some(binding), &mut changes);
    }
    changes
}

/// What `new` changes in what is kept of decisions.
pub(super) fn decisions_kept(old: Option<&Value>, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("decisions_kept", "", old, Some(new), &mut changes);
    changes
}

fn id(binding: &Value) -> &str {
    binding
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A longest rising part of `places`: what need not move. At most 20 bindings, so squared is fine.
fn longest_rising(places: &[usize]) -> Vec<usize> {
    let mut best_ending_at: Vec<Vec<usize>> = Vec::new();
    for place in places {
        let mut best = best_ending_at
            .iter()
            .filter(|run| run.last() < Some(place))
            .max_by_key(|run| run.len())
            .cloned()
            .unwrap_or_default();
        best.push(*place);
        best_ending_at.push(best);
    }
    best_ending_at
        .into_iter()
        .max_by_key(Vec::len)
        .unwrap_or_default()
}

/// Notes where two values differ: objects field by field, everything else as a whole.
fn compare(
    id: &str,
    at: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    changes: &mut Vec<Change>,
) {
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (old, new) {
        let added = new.keys().filter(|name| !old.contains_key(*name));
        for name in old.keys().chain(added) {
            let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            compare(id, &at, old.get(name), new.get(name), changes);
        }
        return;
    }
    let same = match (old, new) {
        (Some(old), Some(new)) => is_same(at, old, new),
        (None, None) => true,
        _ => false,
    };
    if !same {
        changes.push(Change::Field(
            id.to_owned(),
            at.to_owned(),
            old.cloned(),
            new.cloned(),
        ));
    }
}

fn is_same(at: &str, old: &Value, new: &Value) -> bool {
    match (at, old, new) {
        // A set: its order says nothing.
        ("/hooks", Value::Array(old), Value::Array(new)) => {
            old.iter().all(|hook| new.contains(hook)) && new.iter().all(|hook| old.contains(hook))
        }
        // 100 and 100.0 are one share.
        ("/percentage", Value::Number(old), Value::Number(new)) => old.as_f64() == new.as_f64(),
        _ => old == new,
    }
}

/// What `new` changes in the states `old`.
pub(super) fn states(old: &[StateOf], new: &[StateOf]) -> Vec<StateChange> {
    let find = |list: &[StateOf], name: &str| list.iter().find(|it| it.name == name).cloned();
    let lost = old.iter().filter(|state| find(new, &state.name).is_none());
    let mut changes: Vec<_> = lost.cloned().map(StateChange::Lost).collect();
    for state in new {
        match find(old, &state.name) {
            None => changes.push(StateChange::Gained(state.name.clone())),
            Some(before) if before.rest != state.rest => changes.push(StateChange::Differs(
                state.name.clone(),
                before.rest,
                state.rest.clone(),
            )),
            Some(_) => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        reason = "a test may end where a value is missing"
    )]
    use super::*;
    use serde_json::json;

    fn binding(id: &str, config: Value) -> Value {
        json!({"id": id, "module": "m", "hooks": ["admission", "transition"], "percentage": 100,
            "config": config})
    }

    fn lines(old: &[Value], new: &[Value]) -> Vec<String> {
        bindings(&json!(old), new)
            .iter()
            .map(Change::to_string)
            .collect()
    }

    #[test]
    fn equal_rulesets_differ_in_nothing() {
        let old = [binding("a", json!({})), binding("b", json!({"x": 1}))];
        let mut new = old.clone();
        assert!(lines(&old, &new).is_empty());
        new[0]["hooks"] = json!(["transition", "admission"]);
        new[0]["percentage"] = json!(100.0);
        assert!(lines(&old, &new).is_empty());
    }

    #[test]
    fn each_change_is_one_line() {
        let old = ["a", "b", "c", "d"].map(|id| binding(id, json!({"x": {"y/z": 1}, "w": 1})));
        let new = [
            binding("d", json!({"x": {"y/z": 1}, "w": 1})),
            binding("a", json!({"x": {"y/z": 2}, "v": [1]})),
            binding("new", json!({})),
            binding("c", json!({"x": {"y/z": 1}, "w": 1})),
        ];
        assert_eq!(
            lines(&old, &new),
            [
                "- b",
                "~ d moves from place 4 to 1",
                "~ a /config/w: 1 -> nothing",
                "~ a /config/x/y~1z: 1 -> 2",
                "~ a /config/v: nothing -> [1]",
                "+ new (asked at place 3)",
            ]
        );
    }

    #[test]
    fn fewer_decisions_kept_are_a_change() {
        let old = json!({"count": 200_000, "days": 30});
        assert_eq!(decisions_kept(Some(&old), &old), []);
        let new = json!({"count": 5, "days": 30});
        let changes = decisions_kept(Some(&old), &new);
        let lines: Vec<_> = changes.iter().map(Change::to_string).collect();
        assert_eq!(lines, ["~ decisions_kept /count: 200000 -> 5"]);
    }

    #[test]
    fn states_come_go_and_change() {
        let state = |name: &str, reserves: bool| StateOf {
            name: name.into(),
            is_terminal: false,
            rest: json!({ "reserves": reserves }),
        };
        let (old, new) = (
            [state("Queued", true), state("Running", true)],
            [state("Queued", false), state("Paused", true)],
        );
        let shown: Vec<_> = states(&old, &new)
            .iter()
            .map(StateChange::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "- state Running",
                "~ state Queued: {\"reserves\":true} -> {\"reserves\":false}",
                "+ state Paused",
            ]
        );
        assert!(states(&old, &old).is_empty());
    }
}
