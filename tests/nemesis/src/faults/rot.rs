//! Bits of a node's files that change by themselves, while it is down.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Fault, STEP_PATIENCE, Stage};

/// Folders of the data folder that rot is put into.
const FOLDERS: [&str; 3] = ["log", "state", "snapshots"];
/// Bits that change.
const BITS: u64 = 4;

/// Changes bits in a stopped node's files. The node may bear it, rebuild what is a cache, or
/// refuse to run; where it refuses it is replaced, as its message says.
#[derive(Debug, Default)]
pub(super) struct BitRot {
    place: usize,
}

impl Fault for BitRot {
    fn inject(&mut self, stage: &mut Stage<'_>) -> Result<String, String> {
        self.place = stage.any();
        let place = self.place;
        stage.fleet.kill9(&[place]);
        let folder = stage
            .fleet
            .node(place)
            .data()
            .join(*stage.rng.pick(&FOLDERS));
        let mut files = Vec::new();
        list(&folder, &mut files);
        files.sort();
        let mut rotten = Vec::new();
        for _ in 0..BITS {
            let Some(path) = files.get(stage.rng.place(files.len())) else {
                break;
            };
            rotten.push(flip(path, stage)?);
        }
        stage.fleet.start_nodes(&[place]);
        Ok(format!(
            "node {place} was killed and bits changed in {}",
            rotten.join(", ")
        ))
    }

    fn heal(&mut self, stage: &mut Stage<'_>) -> Result<(), String> {
        let place = self.place;
        let Err(why) = stage.fleet.wait_ready(&[place], STEP_PATIENCE) else {
            return Ok(());
        };
        if !why.contains(" ended ") || stage.fleet.tail(place).contains("panicked at") {
            return Err(format!(
                "a node with damaged files neither runs nor says why not: {why}"
            ));
        }
        stage.remove(place)?;
        stage.join_and_promote()?;
        Ok(())
    }
}

/// Every file under a folder.
fn list(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn flip(path: &Path, stage: &mut Stage<'_>) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = fs::read(path).map_err(failed)?;
    // A log's segment is mostly zeros that were never written: rot in there hurts nobody.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let at = stage.rng.place(used + 1);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << stage.rng.below(8);
        fs::write(path, &bytes).map_err(failed)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{name} at {at}"))
}
