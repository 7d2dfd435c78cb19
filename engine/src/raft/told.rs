//! What is said to the log at most once a minute, however often it happens: others decide how often.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two messages about the same.
const PAUSE: Duration = Duration::from_secs(60);
/// Most things that are remembered. With one more, all are forgotten that are due again; if none
/// is, nothing new is said.
const KEYS_MAX: usize = 256;
/// Longest key that is kept, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// When what was last said.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeMap<String, Instant>>);

impl Told {
    /// Whether the message about `key` is due; it counts as said then.
    #[must_use]
    pub fn is_due(&self, key: String) -> bool {
        self.is_due_at(key, Instant::now())
    }

    fn is_due_at(&self, mut key: String, now: Instant) -> bool {
        let end = (0..=KEY_BYTES_MAX.min(key.len()))
            .rev()
            .find(|end| key.is_char_boundary(*end));
        key.truncate(end.unwrap_or(0));
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&key).is_some_and(|at| now < *at + PAUSE) {
            return false;
        }
        if said.len() >= KEYS_MAX {
            said.retain(|_, at| now < *at + PAUSE);
        }
        if said.len() >= KEYS_MAX {
            return false;
        }
        said.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once_a_minute_and_their_number_is_bounded() {
        let told = Told::default();
        let start = Instant::now();
        let is_due = |key: &str, at| told.is_due_at(key.to_owned(), at);
        let long = "\u{fc}".repeat(KEY_BYTES_MAX);
        for key in ["a", "b", &long] {
            assert!(is_due(key, start) && !is_due(key, start));
        }
        for other in 0..10 * KEYS_MAX {
            let _ = is_due(&format!("other {other}"), start);
        }
        assert!(!is_due("yet another", start));
        let later = start + PAUSE;
        assert!(is_due("a", later) && is_due("yet another", later));
    }
}
