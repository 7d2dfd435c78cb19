//! The two file operations on which durability hangs, behind a trait so that tests can make them
//! slow, make them fail, and see what was written but not synced.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes and syncs of the log's segments and of its watermark.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Whatever the system says. The caller never tries again.
    fn write_all_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written to `file` would survive a power cut.
    ///
    /// # Errors
    /// Whatever the system says. The caller never tries again.
    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()>;
}

/// The machine's own disk: `pwrite` and `fdatasync`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write_all_at(&self, file: &File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync_data(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }
}
