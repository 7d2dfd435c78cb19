//! Envelopes, and what applying them does.
//!
//! The input is a history: for each entry its length (2 bytes) and its envelope's bytes. What
//! decodes is applied to a stocked shop, one after the other.

use raft3d_core::Envelope;

use crate::input::Input;
use crate::shop::Shop;

/// Entries of one history: more of them only cost time.
const ENTRIES_MAX: usize = 16;

pub(crate) fn run(input: &[u8]) -> bool {
    let mut input = Input::new(input);
    let mut shop = Shop::stocked();
    let mut applied = 0;
    while !input.is_empty() && applied < ENTRIES_MAX {
        let length = usize::from(input.u16());
        if let Some(envelope) = both_ways(input.take(length)) {
            step(&mut shop, &envelope);
            applied += 1;
        }
    }
    applied > 0
}

/// What decodes is what its own encoding decodes to.
fn both_ways(bytes: &[u8]) -> Option<Envelope> {
    let envelope = Envelope::from_bytes(bytes).ok()?;
    let canonical = envelope.to_bytes().expect("no larger than it was");
    let again = Envelope::from_bytes(&canonical).expect("what was encoded decodes");
    assert_eq!(again, envelope);
    assert!(Envelope::from_bytes(&canonical[..canonical.len() - 1]).is_err());
    Some(envelope)
}

/// Two replicas come to the same rows, digest and outcome; a copy of the entry does nothing more.
fn step(shop: &mut Shop, envelope: &Envelope) {
    let mut other = shop.clone();
    let outcome = shop.apply(envelope);
    assert_eq!(other.apply(envelope), outcome);
    assert!(other.rows() == shop.rows(), "two replicas, one entry");
    shop.check();
    let before = shop.clone();
    let again = shop.apply(envelope);
    if again.replayed {
        assert_eq!(again.response, outcome.response);
        assert!(again.events.is_empty(), "{again:?}");
    }
    let jobs = |shop: &Shop| raft3d_core::state::meta::totals(shop.rows()).map(|t| t.jobs);
    assert_eq!(
        jobs(shop).expect("the totals"),
        jobs(&before).expect("the totals"),
        "a copy makes no job"
    );
    shop.check();
}
