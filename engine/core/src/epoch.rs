//! The engine epoch: the version of everything that apply computes (commands, row encoding, gas
//! table, instrumentation, limits, ABI).
//!
//! Which epoch is in force is part of the state ([`Totals::epoch`](crate::state::meta::Totals)), and
//! only an entry of the log changes it ([`RaiseEpoch`](crate::command::RaiseEpoch)), so that every
//! replica computes every entry under the same one, whatever program it runs. A program supports its
//! own epoch and the one before: the nodes of a cluster are replaced one after the other, and the
//! leader raises the epoch when each voter says that it supports the next.
//!
//! What a later epoch does differently asks `Tx::epoch` and keeps the old way beside the new one,
//! for as long as the old epoch is supported; the golden logs under `engine/tests/golden` show that
//! it still computes what it did.

use core::fmt;

use crate::error::LocalFault;

/// The epochs that a program supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// The oldest; a new cluster begins with it.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
}

/// What this build supports.
#[cfg(not(feature = "next-epoch"))]
pub const EPOCHS: Epochs = Epochs {
    oldest: 1,
    newest: 1,
};

/// What a build of the next release would support: for the test of an upgrade.
#[cfg(feature = "next-epoch")]
pub const EPOCHS: Epochs = Epochs {
    oldest: 1,
    newest: 2,
};

impl Epochs {
    /// Whether entries under `epoch` can be applied; 0 is a state without any, before its bootstrap.
    #[must_use]
    pub const fn supports(self, epoch: u32) -> bool {
        epoch == 0 || (self.oldest <= epoch && epoch <= self.newest)
    }

    /// As [`Epochs::supports`], as a fault of this replica.
    ///
    /// # Errors
    /// [`LocalFault::Epoch`] where it is not supported.
    pub const fn check(self, epoch: u32) -> Result<(), LocalFault> {
        if self.supports(epoch) {
            return Ok(());
        }
        Err(LocalFault::Epoch {
            epoch,
            supported: self,
        })
    }
}

impl Default for Epochs {
    /// [`EPOCHS`].
    fn default() -> Self {
        EPOCHS
    }
}

impl fmt::Display for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            return write!(f, "epoch {}", self.newest);
        }
        write!(f, "epochs {} to {}", self.oldest, self.newest)
    }
}
