//! Table files are synced while they grow.
//!
//! fjall syncs a table file once, when it is whole. Tens of megabytes go to the disk together then,
//! and the log's syncs wait behind them: for a tenth of a second where three nodes merged at once on
//! a disk that writes 500 MB/s.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::verify::{KEYSPACES_DIR, TABLES_DIR};
use crate::storage::files::Trickle;

/// Bytes of rows that are written between two looks at the files. Compressed, they are less than
/// what is worth a sync.
pub(super) const BYTES_BETWEEN_LOOKS: usize = 512 * 1024;

/// The table files that came since it was made. A merge and a write of rows at the same time see
/// each other's, which costs a few syncs and does no harm.
pub(super) struct GrowingTables {
    keyspaces: PathBuf,
    /// By path; none for those that do not grow: they were there before, or are whole by now.
    seen: HashMap<PathBuf, Option<Trickle>>,
    /// Bytes of rows since the last look.
    unseen: usize,
}

impl GrowingTables {
    /// Those of the database in `dir`.
    pub(super) fn of(dir: &Path) -> Self {
        let keyspaces = dir.join(KEYSPACES_DIR);
        let seen = table_files(&keyspaces).map(|path| (path, None)).collect();
        Self {
            keyspaces,
            seen,
            unseen: 0,
        }
    }

    /// So many bytes of rows were written: syncs what has come to the files, where it is time.
    ///
    /// # Errors
    /// What the operating system said. It may say so once, here and not to fjall.
    pub(super) fn wrote(&mut self, bytes: usize) -> io::Result<()> {
        self.unseen += bytes;
        if self.unseen < BYTES_BETWEEN_LOOKS {
            return Ok(());
        }
        self.unseen = 0;
        self.look();
        for file in self.seen.values_mut() {
            if let Some(growing) = file
                && !growing.go_on()?
            {
                *file = None;
            }
        }
        Ok(())
    }

    /// Syncs all that has come.
    ///
    /// # Errors
    /// As [`GrowingTables::wrote`].
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.look();
        self.seen.values_mut().flatten().try_for_each(Trickle::sync)
    }

    fn look(&mut self) {
        for path in table_files(&self.keyspaces) {
            self.seen
                .entry(path)
                .or_insert_with_key(|path| File::open(path).ok().map(Trickle::new));
        }
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
            paths.clone().map(|path| {
                growing
                    .seen
                    .get(&path)
                    .unwrap()
                    .as_ref()
                    .map(Trickle::synced)
            })
        };
        let is_time = |growing: &mut GrowingTables| {
            growing.wrote(BYTES_BETWEEN_LOOKS - 1).unwrap();
            growing.wrote(1).unwrap();
        };
        is_time(&mut growing);
        write(&mut files, 600 * 1024);
        is_time(&mut growing);
        assert_eq!(synced(&growing), [Some(0); 2], "less than a piece");
        write(&mut files, 600 * 1024);
        growing.wrote(1).unwrap();
        assert_eq!(synced(&growing), [Some(0); 2], "not the time to look");
        is_time(&mut growing);
        assert_eq!(synced(&growing), [Some(1_200 * 1024); 2]);
        write(&mut files, 1);
        growing.sync().unwrap();
        assert_eq!(synced(&growing), [Some(1_200 * 1024 + 1); 2]);
        is_time(&mut growing);
        assert_eq!(synced(&growing), [None; 2], "whole: no more is kept open");
        assert!(growing.seen.get(&old).unwrap().is_none());
    }
}
