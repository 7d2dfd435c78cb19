//! The gas that the evaluations of one entry share.
//!
//! Each evaluation has a limit of its own, but an entry asks up to sixteen deciding bindings for two
//! hooks, and all of it runs before the next entry. So they share one budget. Those that are watched
//! only have another: what they use must never change an outcome.

use std::cell::Cell;

use crate::limits::{GAS_PER_ENTRY_MAX, GAS_PER_EVALUATION_MAX, SHADOW_GAS_PER_ENTRY_MAX};
use crate::state::rulesets::Mode;

/// What is left of it. Behind `Cell`s, because who asks the policies holds the transaction's rows at
/// the same time.
pub(super) struct EntryGas {
    deciding: Cell<u64>,
    watched: Cell<u64>,
}

impl Default for EntryGas {
    fn default() -> Self {
        Self {
            deciding: Cell::new(GAS_PER_ENTRY_MAX),
            watched: Cell::new(SHADOW_GAS_PER_ENTRY_MAX),
        }
    }
}

impl EntryGas {
    const fn of(&self, mode: Mode) -> &Cell<u64> {
        match mode {
            Mode::Enforce => &self.deciding,
            Mode::Shadow => &self.watched,
        }
    }

    /// What the next evaluation of a binding in this mode may use.
    pub(super) fn of_next(&self, mode: Mode) -> u64 {
        self.of(mode).get().min(GAS_PER_EVALUATION_MAX)
    }

    /// Takes what an evaluation used.
    pub(super) fn spend(&self, mode: Mode, gas: u64) {
        let left = self.of(mode);
        left.set(left.get().saturating_sub(gas));
    }
}
