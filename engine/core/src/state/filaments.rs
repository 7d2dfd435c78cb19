//! Filaments (spools).

use minicbor::{Decode, Encode};
use raft3d_sdk::Grams;

use super::rows::ReadRows;
use crate::error::LocalFault;
use crate::ids::{FilamentId, Revision};

/// A filament. `reserved` is filled in when the row is read: it is a row of its own.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Filament {
    /// Id.
    #[n(0)]
    pub id: FilamentId,
    /// Material (the API's `type`).
    #[n(1)]
    pub material: String,
    /// Color.
    #[n(2)]
    pub color: String,
    /// Weight when full.
    #[n(3)]
    pub total: Grams,
    /// Weight that is left.
    #[n(4)]
    pub remaining: Grams,
    /// Maker.
    #[n(5)]
    pub vendor: Option<String>,
    /// Lot.
    #[n(6)]
    pub lot: Option<String>,
    /// Density in milligrams per cubic centimetre.
    #[n(7)]
    pub density_mg_per_cm3: Option<u64>,
    /// Diameter in micrometres.
    #[n(8)]
    pub diameter_um: Option<u64>,
    /// Whether it was put away.
    #[n(9)]
    pub archived: bool,
    /// Revision that last changed this row.
    #[n(10)]
    pub revision: Revision,
    /// Log time of its creation, milliseconds since the Unix epoch.
    #[n(11)]
    pub created_at_ms: u64,
    /// What open jobs reserve of it.
    #[n(12)]
    pub reserved: Grams,
}

impl Filament {
    /// What a new job may still reserve.
    #[must_use]
    pub fn available(&self) -> Grams {
        self.remaining.saturating_sub(self.reserved)
    }

    /// Whether jobs reserve more than is left.
    #[must_use]
    pub fn over_reserved(&self) -> bool {
        self.reserved > self.remaining
    }
}

/// The filament of that id.
///
/// # Errors
/// A fault of this replica's store.
pub fn get(_rows: &dyn ReadRows, _id: &FilamentId) -> Result<Option<Filament>, LocalFault> {
    Ok(None)
}

/// Up to `limit` filaments after `after`, by id.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    _rows: &dyn ReadRows,
    _after: Option<&FilamentId>,
    _limit: usize,
) -> Result<Vec<Filament>, LocalFault> {
    Ok(Vec::new())
}
