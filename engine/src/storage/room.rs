//! Room on the disk: who is told that there is none, and how much is left.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Whether the system says that there is no room. Nothing is damaged then, and what was asked for
/// may be asked for again.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// Bytes that are free for this process on the disk of `path`; none if the system does not say, as
/// some file systems of programs do not.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes in words that people read.
#[must_use]
pub fn in_words(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        MIB..GIB => format!("{} MiB", bytes / MIB),
        _ => format!("{} GiB", bytes / GIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_says_how_much_is_left() {
        assert!(free_bytes(Path::new("/")).is_some_and(|bytes| bytes > 0));
        assert_eq!(free_bytes(Path::new("/there/is/no/such/folder")), None);
        let words = [900, 2 << 10, 64 << 20, 3 << 30].map(in_words);
        assert_eq!(words, ["900 bytes", "2 KiB", "64 MiB", "3 GiB"]);
    }
}
