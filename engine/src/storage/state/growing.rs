//! Table files are synced while they grow.
//!
//! fjall syncs a table file once, when it is whole. Tens of megabytes go to the disk together then,
//! and the log's syncs wait behind them: for a tenth of a second where three nodes merged at once on
//! a disk that writes 500 MB/s.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::verify::{KEYSPACES_DIR, TABLES_DIR};
use crate::storage::files::Trickle;

/// Rows that are written between two looks at the files: less than a piece that is synced.
pub(super) const ROWS_BETWEEN_LOOKS: u64 = 4_096;

/// The table files that came since it was made. A merge and a write of rows at the same time see
/// each other's, which costs a few syncs and does no harm.
pub(super) struct GrowingTables {
    keyspaces: PathBuf,
    /// By path; none for those that were there before.
    seen: HashMap<PathBuf, Option<Trickle>>,
}

impl GrowingTables {
    /// Those of the database in `dir`.
    pub(super) fn of(dir: &Path) -> Self {
        let keyspaces = dir.join(KEYSPACES_DIR);
        let seen = table_files(&keyspaces).map(|path| (path, None)).collect();
        Self { keyspaces, seen }
    }

    /// Syncs what has come, where that is a piece that is worth it. What fails here is met by
    /// fjall's own sync.
    pub(super) fn go_on(&mut self) {
        for path in table_files(&self.keyspaces) {
            self.seen
                .entry(path)
                .or_insert_with_key(|path| File::open(path).ok().map(Trickle::new));
        }
        self.seen.values_mut().flatten().for_each(Trickle::go_on);
    }

    /// Syncs all that has come.
    pub(super) fn sync(&mut self) {
        self.go_on();
        self.seen.values_mut().flatten().for_each(Trickle::sync);
    }
}

/// The table files of all keyspaces; none where they cannot be listed.
fn table_files(keyspaces: &Path) -> impl Iterator<Item = PathBuf> {
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    list(keyspaces)
        .flat_map(move |keyspace| list(&keyspace.path().join(TABLES_DIR)))
        .map(|file| file.path())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use std::io::Write;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn new_files_are_synced_piece_by_piece_and_old_ones_are_left_alone() {
        let dir = tempdir().unwrap();
        let tables = |keyspace: &str| {
            dir.path()
                .join(KEYSPACES_DIR)
                .join(keyspace)
                .join(TABLES_DIR)
        };
        assert_eq!(
            table_files(&dir.path().join(KEYSPACES_DIR)).count(),
            0,
            "no database yet"
        );
        for keyspace in ["1", "2"] {
            fs::create_dir_all(tables(keyspace)).unwrap();
        }
        let old = tables("1").join("7");
        fs::write(&old, [0; 10]).unwrap();
        let mut growing = GrowingTables::of(dir.path());

        let paths = [tables("1").join("8"), tables("2").join("0")];
        let mut files = paths.clone().map(|path| File::create(path).unwrap());
        let write = |files: &mut [File; 2], bytes: usize| {
            for file in files {
                file.write_all(&vec![1; bytes]).unwrap();
            }
        };
        let synced = |growing: &GrowingTables| {
            paths
                .clone()
                .map(|path| growing.seen.get(&path).unwrap().as_ref().unwrap().synced())
        };
        growing.go_on();
        write(&mut files, 600 * 1024);
        growing.go_on();
        assert_eq!(synced(&growing), [0, 0], "less than a piece");
        write(&mut files, 600 * 1024);
        growing.go_on();
        assert_eq!(synced(&growing), [1_200 * 1024; 2]);
        write(&mut files, 1);
        growing.sync();
        assert_eq!(synced(&growing), [1_200 * 1024 + 1; 2]);
        assert!(growing.seen.get(&old).unwrap().is_none());
    }
}
