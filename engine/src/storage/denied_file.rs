//! The file that remembers denied entries, in a node's data folder and in its state's folder.
//!
//! ```text
//! raft3d denied 1
//! INDEX TERM HASH     one line for each, by index; decimal, decimal, 64 hex digits
//! blake3 CHECKSUM
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use raft3d_core::Revision;
use raft3d_core::command::DeniedEntry;

use super::data_dir::{DataDirError, read_small};
use super::files::write_atomic;
use super::newer::{NewerFormat, Unsealed, seal, unseal};

const KIND: &str = "denied";
const FORMAT: u32 = 1;

/// Denied entries by log index.
pub(crate) type DeniedEntries = BTreeMap<u64, DeniedEntry>;

/// Reads the file at `path`; nothing is denied if there is none.
///
/// # Errors
/// It cannot be read, is damaged, or is of a later version: without it a replica would run an entry
/// that the others do not.
pub(crate) fn read(path: &Path) -> Result<DeniedEntries, DataDirError> {
    let Some(text) = read_small(path)? else {
        return Ok(DeniedEntries::new());
    };
    let damaged = || DataDirError::Damaged {
        path: path.to_owned(),
        detail: "the list of denied log entries is not readable".to_owned(),
    };
    let body = match unseal(KIND, FORMAT, &text) {
        Unsealed::Body(body) => body,
        Unsealed::Damaged => return Err(damaged()),
        Unsealed::Newer(found) => {
            let (path, known) = (path.to_owned(), FORMAT);
            return Err(NewerFormat { path, found, known }.into());
        }
    };
    let entries = body.lines().map(|line| parse(line).ok_or_else(damaged));
    entries.collect()
}

/// Replaces the file at `path`, durably.
///
/// # Errors
/// What the operating system said.
pub(crate) fn write(path: &Path, entries: &DeniedEntries) -> io::Result<()> {
    let line = |entry: &DeniedEntry| {
        let hash = hex::encode(entry.hash);
        format!("{} {} {hash}\n", entry.index, entry.term)
    };
    let body: String = entries.values().map(line).collect();
    write_atomic(path, seal(KIND, FORMAT, &body).as_bytes())
}

fn parse(line: &str) -> Option<(u64, DeniedEntry)> {
    let mut words = line.split(' ');
    let index = words.next()?.parse().ok()?;
    let term = words.next()?.parse().ok()?;
    let mut hash = [0; 32];
    hex::decode_to_slice(words.next()?, &mut hash).ok()?;
    let entry = DeniedEntry {
        index: Revision(index),
        term,
        hash,
    };
    words.next().is_none().then_some((index, entry))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use raft3d_core::limits::DENIED_ENTRIES_MAX;

    use super::*;

    fn entries(count: u64) -> DeniedEntries {
        let entry = |n: u64| DeniedEntry {
            index: Revision(u64::MAX - n),
            term: u64::MAX,
            hash: [0xab; 32],
        };
        (0..count).map(|n| (u64::MAX - n, entry(n))).collect()
    }

    /// As many as there may be, with the largest numbers, are read again.
    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("denied");
        assert_eq!(read(&path).unwrap(), DeniedEntries::new());
        for count in [0, 1, DENIED_ENTRIES_MAX as u64] {
            write(&path, &entries(count)).unwrap();
            assert_eq!(read(&path).unwrap(), entries(count));
        }
    }

    #[test]
    fn a_damaged_list_and_a_newer_one_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("denied");
        write(&path, &entries(2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let error = read(&path).unwrap_err();
            assert!(
                matches!(error, DataDirError::Damaged { .. }),
                "{at}: {error}"
            );
        }
        std::fs::write(&path, seal(KIND, 2, "something else\n")).unwrap();
        assert!(read(&path).unwrap_err().is_of_other_version());
    }
}
