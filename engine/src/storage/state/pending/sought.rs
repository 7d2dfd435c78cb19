//! What is known of a key before anything is searched for it.

use raft3d_core::state::request_minted_at_ms;

use super::layer::hash;

/// A key to look for.
pub(in super::super) struct Sought<'k> {
    key: &'k [u8],
    hash: u64,
    /// When its id was minted, if it is a request's; milliseconds since the Unix epoch.
    minted_at_ms: Option<u64>,
}

impl<'k> Sought<'k> {
    pub(in super::super) fn new(key: &'k [u8]) -> Self {
        Self {
            key,
            hash: hash(key),
            minted_at_ms: request_minted_at_ms(key),
        }
    }

    pub(in super::super) fn key(&self) -> &'k [u8] {
        self.key
    }

    /// For filters.
    pub(in super::super) fn hash(&self) -> u64 {
        self.hash
    }
}

/// The latest time in the ids of requests that nodes minted, of all that some rows hold,
/// milliseconds since the Unix epoch; 0 where they hold none.
///
/// A request is looked for when it comes, to find out whether it is a retry, and mostly it is none:
/// its id is later than all that were written to table files. Whoever sends an id of that form with
/// a time to come only makes these searches as long as others are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct MintedTo(pub(in super::super) u64);

impl MintedTo {
    /// These rows hold that one, too.
    pub(in super::super) fn see(&mut self, key: &[u8]) {
        self.0 = self.0.max(request_minted_at_ms(key).unwrap_or_default());
    }

    /// Whether that row may be among them.
    pub(in super::super) fn may_hold(self, sought: &Sought<'_>) -> bool {
        sought.minted_at_ms.is_none_or(|at_ms| at_ms <= self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_later_requests_are_known_to_be_absent() {
        let key = |at_ms: u64| format!("\u{60}\0ann\0\u{1}{at_ms:012x}{}\0\u{1}", "0".repeat(20));
        let mut minted_to = MintedTo::default();
        for at_ms in [7, 5] {
            minted_to.see(key(at_ms).as_bytes());
        }
        minted_to.see(b"a row of another table");
        assert_eq!(minted_to, MintedTo(7));
        for at_ms in 0..20 {
            let held = minted_to.may_hold(&Sought::new(key(at_ms).as_bytes()));
            assert_eq!(held, at_ms <= 7, "{at_ms}");
        }
        assert!(minted_to.may_hold(&Sought::new(b"a row of another table")));
    }
}
