//! That the files of the database are those that were written, before anything is read from them.
//!
//! fjall keeps a checksum of each table file in a manifest, and one of the manifest beside it, but
//! compares neither when it opens: damage would be met when somebody reads there, in the middle of
//! an apply. Everything is read here once, in order, at the speed of the disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use fjall::{AbstractTree, Keyspace};
use xxhash_rust::xxh3::Xxh3Default;

use super::error::{StateError, open_error};

/// Where fjall keeps its keyspaces, one folder each.
pub(super) const KEYSPACES_DIR: &str = "keyspaces";
/// In each of them: table files by number, and the file that names the manifest in force.
pub(super) const TABLES_DIR: &str = "tables";
const CURRENT_FILE: &str = "current";
/// The number of the manifest (8 bytes), its XXH3-128 (16), the kind of checksum (1, zero);
/// little-endian.
const CURRENT_BYTES: usize = 25;
const READ_BYTES: usize = 1024 * 1024;

/// Compares each manifest with its checksum. To be called before the database is opened, because
/// opening acts on what it reads there.
///
/// # Errors
/// [`StateError::Damaged`]; [`StateError::Refused`] where the fault lies elsewhere.
pub(super) fn manifests(dir: &Path) -> Result<(), StateError> {
    let keyspaces = dir.join(KEYSPACES_DIR);
    let folders = match fs::read_dir(&keyspaces) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(open_error(dir, error.into())),
    };
    for folder in folders {
        let folder = folder.map_err(|e| open_error(dir, e.into()))?.path();
        let current = match fs::read(folder.join(CURRENT_FILE)) {
            Ok(current) => current,
            // Made and not finished; fjall deletes it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(open_error(dir, error.into())),
        };
        let Ok::<[u8; CURRENT_BYTES], _>(current) = current.try_into() else {
            return Err(damaged(&folder.join(CURRENT_FILE)));
        };
        let [
            number @ ..,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = current;
        let [_, _, _, _, _, _, _, _, checksum @ .., kind] = current;
        let manifest = folder.join(format!("v{}", u64::from_le_bytes(number)));
        if kind != 0 || checksum_of(dir, &manifest)? != u128::from_le_bytes(checksum) {
            return Err(damaged(&manifest));
        }
    }
    Ok(())
}

/// Compares each table file of `rows` with its checksum.
///
/// # Errors
/// As [`manifests`].
pub(super) fn tables(dir: &Path, rows: &Keyspace) -> Result<(), StateError> {
    // Compaction may begin meanwhile: this keeps the files of the version that it holds.
    let version = rows.tree.current_version();
    for table in version.iter_tables() {
        let path = rows.path().join(TABLES_DIR).join(table.id().to_string());
        if checksum_of(dir, &path)? != table.checksum().into_u128() {
            return Err(damaged(&path));
        }
    }
    Ok(())
}

fn checksum_of(dir: &Path, path: &Path) -> Result<u128, StateError> {
    let read = || {
        let mut file = File::open(path)?;
        let mut hasher = Xxh3Default::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.digest128()),
                length => hasher.update(buffer.get(..length).unwrap_or_default()),
            }
        }
    };
    read().map_err(|error: io::Error| open_error(dir, error.into()))
}

fn damaged(path: &Path) -> StateError {
    StateError::Damaged(format!("{} is not as it was written", path.display()))
}
