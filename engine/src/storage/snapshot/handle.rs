//! Handles to snapshot files: what openraft passes around, and what the network streams.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use raft3d_core::state::digest::Digest;

use super::SnapshotMeta;
use super::format::{SnapshotError, SnapshotHeader, SnapshotReader, io_error};
use crate::storage::files::Trickle;

/// A whole, verified snapshot file. Cheap to clone; it stays readable when the file is deleted.
#[derive(Clone)]
pub struct SnapshotHandle {
    file: Arc<OpenFile>,
    path: PathBuf,
}

struct OpenFile {
    file: File,
    bytes: u64,
    header: SnapshotHeader,
    /// Deleted with the last handle, unless it was given its final name meanwhile.
    temporary: Option<PathBuf>,
}

impl SnapshotHandle {
    /// Opens a file that was whole once, and reads all of it: its bytes are compared with their
    /// hash. That its rows add up to their digest was seen before it got its name, and is seen
    /// again before they are loaded.
    ///
    /// # Errors
    /// It cannot be read, is of another format, or its bytes are not what was once written.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let (file, bytes) = open_file(path)?;
        let reader = SnapshotReader::open(path, reopen(path)?)?;
        let header = reader.header().clone();
        reader.for_each_row(|_, _| Ok::<_, SnapshotError>(()))?;
        Ok(Self::new(path, file, bytes, header, None))
    }

    /// Opens a file that is new, and is deleted with its last handle unless it is given its name:
    /// reads it, and compares its rows with their digest too.
    pub(super) fn open_temporary(path: &Path) -> Result<Self, SnapshotError> {
        let (file, bytes) = open_file(path)?;
        let reader = SnapshotReader::open(path, reopen(path)?)?;
        let header = reader.header().clone();
        let mut digest = Digest::default();
        reader.for_each_row(|key, value| {
            digest.add(key, value);
            Ok::<_, SnapshotError>(())
        })?;
        if digest != header.digest {
            let detail = format!("its rows have digest {digest} instead of {}", header.digest);
            return Err(SnapshotError::Damaged {
                path: path.to_owned(),
                detail,
            });
        }
        let temporary = Some(path.to_owned());
        Ok(Self::new(path, file, bytes, header, temporary))
    }

    fn new(
        path: &Path,
        file: File,
        bytes: u64,
        header: SnapshotHeader,
        temporary: Option<PathBuf>,
    ) -> Self {
        let file = Arc::new(OpenFile {
            file,
            bytes,
            header,
            temporary,
        });
        let path = path.to_owned();
        Self { file, path }
    }

    /// What it is of.
    #[must_use]
    pub fn header(&self) -> &SnapshotHeader {
        &self.file.header
    }

    /// What openraft knows of it.
    #[must_use]
    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.header().last_log_id,
            last_membership: self.header().membership.clone(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.file.bytes
    }

    /// Up to `max` bytes from `offset` on; none at the end. Blocks for a read of the disk.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn read_at(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        let left = self.file.bytes.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(max);
        let mut bytes = vec![0; length];
        self.file.file.read_exact_at(&mut bytes, offset)?;
        Ok(Bytes::from(bytes))
    }

    /// A reader of its rows.
    ///
    /// # Errors
    /// The file is not readable any more.
    pub fn reader(&self) -> Result<SnapshotReader, SnapshotError> {
        SnapshotReader::open(&self.path, reopen(&self.path)?)
    }

    /// The same file under its final name.
    pub(super) fn renamed(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // After a rename there is nothing under that name any more: names are not used twice.
        if let Some(path) = &self.temporary {
            drop(fs::remove_file(path));
        }
    }
}

impl fmt::Debug for SnapshotHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotHandle")
            .field("path", &self.path)
            .field("bytes", &self.file.bytes)
            .field("last_log_id", &self.file.header.last_log_id)
            .finish_non_exhaustive()
    }
}

fn open_file(path: &Path) -> Result<(File, u64), SnapshotError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    let bytes = file.metadata().map_err(io_error("read", path))?.len();
    Ok((file, bytes))
}

/// A file of its own for a reader: handles share one without a position.
fn reopen(path: &Path) -> Result<File, SnapshotError> {
    File::open(path).map_err(io_error("open", path))
}

/// A snapshot that arrives in pieces. Deleted where it is dropped before it is finished.
#[derive(Debug)]
pub struct IncomingSnapshot {
    path: PathBuf,
    file: Option<File>,
    trickle: Trickle,
    bytes: u64,
}

impl IncomingSnapshot {
    pub(super) fn create(path: PathBuf) -> Result<Self, SnapshotError> {
        let file = File::create(&path).map_err(io_error("create", &path))?;
        let trickle = Trickle::new(file.try_clone().map_err(io_error("create", &path))?);
        Ok(Self {
            path,
            file: Some(file),
            trickle,
            bytes: 0,
        })
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the next piece. Blocks for a write to the disk, and syncs now and then.
    ///
    /// # Errors
    /// The disk refused it.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)
                .map_err(io_error("write", &self.path))?;
            self.bytes += bytes.len() as u64;
            self.trickle.go_on().map_err(io_error("sync", &self.path))?;
        }
        Ok(())
    }

    /// Syncs the file, reads all of it back and checks it. Blocks for as long as that takes.
    ///
    /// # Errors
    /// The disk failed, or what arrived is not a whole snapshot.
    pub fn finish(mut self) -> Result<SnapshotHandle, SnapshotError> {
        if let Some(file) = &self.file {
            file.sync_all().map_err(io_error("sync", &self.path))?;
        }
        let handle = SnapshotHandle::open_temporary(&self.path)?;
        self.file = None;
        Ok(handle)
    }
}

impl Drop for IncomingSnapshot {
    fn drop(&mut self) {
        if self.file.is_some() {
            drop(fs::remove_file(&self.path));
        }
    }
}
