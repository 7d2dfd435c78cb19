//! Filaments in JSON.

use raft3d_engine::core::FilamentId;
use raft3d_engine::core::command::CreateFilament;
use raft3d_engine::core::state::filaments::Filament;
use serde::Serialize;

use super::GramsOut;
use super::time::TimeOut;
use crate::http::fields::{Door, Fields};
use crate::http::problem::Problem;

/// A filament, as `/api/v1` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct FilamentV1<'a> {
    pub(crate) id: &'a str,
    #[serde(rename = "type")]
    material: &'a str,
    color: &'a str,
    total_weight_in_grams: GramsOut,
    remaining_weight_in_grams: GramsOut,
    reserved_weight_in_grams: GramsOut,
    available_weight_in_grams: GramsOut,
    over_reserved: bool,
    vendor: Option<&'a str>,
    lot: Option<&'a str>,
    density_mg_per_cm3: Option<u64>,
    diameter_um: Option<u64>,
    archived: bool,
    created_at: TimeOut,
    revision: u64,
}

impl<'a> From<&'a Filament> for FilamentV1<'a> {
    fn from(row: &'a Filament) -> Self {
        Self {
            id: row.id.as_str(),
            material: &row.material,
            color: &row.color,
            total_weight_in_grams: GramsOut(row.total),
            remaining_weight_in_grams: GramsOut(row.remaining),
            reserved_weight_in_grams: GramsOut(row.reserved),
            available_weight_in_grams: GramsOut(row.available()),
            over_reserved: row.over_reserved(),
            vendor: row.vendor.as_deref(),
            lot: row.lot.as_deref(),
            density_mg_per_cm3: row.density_mg_per_cm3,
            diameter_um: row.diameter_um,
            archived: row.archived,
            created_at: TimeOut(row.created_at_ms),
            revision: row.revision.0,
        }
    }
}

/// A filament, as the classic API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct FilamentClassic<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    material: &'a str,
    color: &'a str,
    total_weight_in_grams: GramsOut,
    remaining_weight_in_grams: GramsOut,
}

impl<'a> From<&'a Filament> for FilamentClassic<'a> {
    fn from(row: &'a Filament) -> Self {
        Self {
            id: row.id.as_str(),
            material: &row.material,
            color: &row.color,
            total_weight_in_grams: GramsOut(row.total),
            remaining_weight_in_grams: GramsOut(row.remaining),
        }
    }
}

/// Reads the body that creates a filament.
pub(crate) fn read_create(mut body: Fields<'_>, door: Door) -> Result<CreateFilament, Problem> {
    let mut create = CreateFilament {
        id: body.id("id")?.map(FilamentId::new),
        material: body.required_text("type")?,
        color: body.required_text("color")?,
        total: body.required_grams("total_weight_in_grams")?,
        remaining: body.grams("remaining_weight_in_grams")?,
        ..CreateFilament::default()
    };
    if door == Door::V1 {
        let range = "of at least 0";
        create.vendor = body.text("vendor")?;
        create.lot = body.text("lot")?;
        create.density_mg_per_cm3 = body.integer("density_mg_per_cm3", range)?;
        create.diameter_um = body.integer("diameter_um", range)?;
    }
    body.finish(door)?;
    Ok(create)
}
