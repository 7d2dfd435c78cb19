//! The way of a job through a lifecycle, as a table: which states lead to which.

use alloc::string::String;

use crate::names::same;
use crate::text::concat;
use crate::verdict::Deny;

/// Where a job may move, and the states that it may come from.
pub type Step<'a> = (&'a str, &'a [&'a str]);

/// Whether `table` leads from one state to the other.
///
/// # Errors
/// It does not: a denial of class illegal transition that says from where one may come.
pub fn step(table: &[Step<'_>], from: &str, to: &str) -> Result<(), Deny> {
    let Some((_, origins)) = table.iter().find(|(goal, _)| same(goal, to)) else {
        let message = concat(&["Cannot move to '", &to.to_ascii_lowercase(), "'"]);
        return Err(Deny::illegal_transition(message).at("/status"));
    };
    if origins.iter().any(|origin| same(origin, from)) {
        return Ok(());
    }
    let mut message = String::from("Can only move to '");
    message.push_str(&to.to_ascii_lowercase());
    message.push_str("' from ");
    for (index, origin) in origins.iter().enumerate() {
        message.push_str(match index {
            0 => "'",
            _ if index + 1 == origins.len() => " or '",
            _ => ", '",
        });
        message.push_str(&origin.to_ascii_lowercase());
        message.push('\'');
    }
    Err(Deny::illegal_transition(message).at("/status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_every_origin() {
        let table: [Step<'_>; 2] = [("B", &["A"]), ("C", &["A", "B", "Other"])];
        let says = |from, to| step(&table, from, to).err().map(|deny| deny.message);
        assert_eq!(says("a", "b"), None);
        assert_eq!(says("other", "C"), None);
        assert_eq!(
            says("C", "B").as_deref(),
            Some("Can only move to 'b' from 'a'")
        );
        let three = "Can only move to 'c' from 'a', 'b' or 'other'";
        assert_eq!(says("X", "C").as_deref(), Some(three));
        assert_eq!(says("A", "Gone").as_deref(), Some("Cannot move to 'gone'"));
    }
}
