//! Filaments (spools).

use minicbor::{Decode, Encode};
use raft3d_sdk::Grams;

use super::rows::{ReadRows, Rows};
use super::{codec, keys};
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
pub fn get(rows: &dyn ReadRows, id: &FilamentId) -> Result<Option<Filament>, LocalFault> {
    let stored: Option<Filament> = codec::get(rows, "filaments", &keys::filament(id))?;
    stored
        .map(|filament| with_reserved(rows, filament))
        .transpose()
}

fn with_reserved(rows: &dyn ReadRows, filament: Filament) -> Result<Filament, LocalFault> {
    let reserved = reserved(rows, &filament.id)?;
    Ok(Filament {
        reserved,
        ..filament
    })
}

/// What open jobs reserve of a filament: a sum that is a row of its own.
pub(super) fn reserved(rows: &dyn ReadRows, id: &FilamentId) -> Result<Grams, LocalFault> {
    Ok(codec::get(rows, "reserved grams", &keys::filament_reserved(id))?.unwrap_or_default())
}

/// Puts the filament's own row; what is reserved of it has one of its own.
pub(crate) fn put(rows: &mut dyn Rows, filament: &Filament) -> Result<(), LocalFault> {
    let stored = Filament {
        reserved: Grams::ZERO,
        ..filament.clone()
    };
    rows.put(keys::filament(&filament.id), codec::encode(&stored)?);
    Ok(())
}

pub(crate) fn put_reserved(
    rows: &mut dyn Rows,
    id: &FilamentId,
    reserved: Grams,
) -> Result<(), LocalFault> {
    let key = keys::filament_reserved(id);
    if reserved == Grams::ZERO {
        rows.delete(&key);
    } else {
        rows.put(key, codec::encode(&reserved)?);
    }
    Ok(())
}

/// Up to `limit` filaments after `after`, by id.
///
/// # Errors
/// A fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    after: Option<&FilamentId>,
    limit: usize,
) -> Result<Vec<Filament>, LocalFault> {
    let after = after.map(keys::filament);
    let page: Vec<Filament> = codec::scan(
        rows,
        "filaments",
        &[keys::FILAMENTS],
        after.as_deref(),
        limit,
    )?;
    page.into_iter()
        .map(|filament| with_reserved(rows, filament))
        .collect()
}
