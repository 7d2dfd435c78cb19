//! What has been written to a disk and not synced: how to take it back.
//!
//! The folder behind the disk always holds what a reader sees. Beside it this journal remembers,
//! for everything that no sync covers yet, what was there before; a power cut takes it back, all
//! of it or a part that is torn at sectors. A data sync covers the data of one file, the sync of a
//! folder covers the names in it: nothing more (POSIX `fsync`; real file systems often give more,
//! and a program must not rely on it).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::rng::Rng;

/// What disks write whole or not at all, in bytes.
const SECTOR_BYTES: u64 = 512;
/// Of the unsynced sectors that survive a cut of the kind [`Cut::Flipped`], one in so many has a
/// wrong bit.
const FLIPPED_ONE_IN: u64 = 4;

/// What a power cut does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it is gone.
    Lost,
    /// Each sector came through or did not; of the changed names the first ones did.
    Torn,
    /// The same, and some sectors that came through have a wrong bit.
    Flipped,
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Files whose data was not synced.
    pub files: u64,
    /// Sectors that are as they were before.
    pub sectors: u64,
    /// Sectors with a wrong bit.
    pub flipped: u64,
    /// Names that are as they were before.
    pub names: u64,
}

impl Taken {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            sectors: self.sectors + other.sectors,
            flipped: self.flipped + other.flipped,
            names: self.names + other.names,
        }
    }
}

#[derive(Debug)]
enum Change {
    /// `len` bytes were written at `at` over `old` (shorter where the file ended before).
    Write { at: u64, len: u64, old: Vec<u8> },
    /// The file was cut or extended; `cut` is what was cut off.
    Resize { cut: Vec<u8> },
}

#[derive(Debug)]
struct Data {
    /// Length of the file before the change.
    old_size: u64,
    change: Change,
}

#[derive(Debug)]
struct Unsynced {
    file: Arc<File>,
    changes: Vec<Data>,
}

#[derive(Debug)]
enum Name {
    Created(PathBuf),
    Removed {
        path: PathBuf,
        kept: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<PathBuf>,
    },
}

impl Name {
    fn is_in(&self, folder: &Path) -> bool {
        match self {
            Self::Created(path) | Self::Removed { path, .. } => path.parent() == Some(folder),
            Self::Renamed { from, to, .. } => {
                from.parent() == Some(folder) || to.parent() == Some(folder)
            }
        }
    }

    fn moved(&mut self, old: &Path, new: &Path) {
        match self {
            Self::Created(path) | Self::Removed { path, .. } => moved(path, old, new),
            Self::Renamed { from, to, .. } => {
                moved(from, old, new);
                moved(to, old, new);
            }
        }
    }
}

/// `path` after the folder `old` became `new`.
pub(super) fn moved(path: &mut PathBuf, old: &Path, new: &Path) {
    if let Ok(rest) = path.strip_prefix(old) {
        *path = if rest.as_os_str().is_empty() {
            new.to_owned()
        } else {
            new.join(rest)
        };
    }
}

/// Everything that is not synced.
#[derive(Debug)]
pub(super) struct Journal {
    /// Where removed files wait until their removal is synced.
    kept: PathBuf,
    next_kept: u64,
    data: BTreeMap<u64, Unsynced>,
    names: Vec<Name>,
}

impl Journal {
    pub(super) fn new(kept: PathBuf) -> Self {
        Self {
            kept,
            next_kept: 0,
            data: BTreeMap::new(),
            names: Vec::new(),
        }
    }

    /// Writes to a file and remembers what was there.
    pub(super) fn write(
        &mut self,
        ino: u64,
        file: &Arc<File>,
        at: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let old_size = file.metadata()?.len();
        let len = bytes.len() as u64;
        let mut old = vec![0; within(old_size.saturating_sub(at).min(len))];
        file.read_exact_at(&mut old, at)?;
        file.write_all_at(bytes, at)?;
        self.remember(ino, file, old_size, Change::Write { at, len, old });
        Ok(())
    }

    /// Sets a file's length and remembers what was cut off.
    pub(super) fn resize(&mut self, ino: u64, file: &Arc<File>, size: u64) -> io::Result<()> {
        let old_size = file.metadata()?.len();
        let mut cut = vec![0; within(old_size.saturating_sub(size))];
        file.read_exact_at(&mut cut, size)?;
        file.set_len(size)?;
        self.remember(ino, file, old_size, Change::Resize { cut });
        Ok(())
    }

    fn remember(&mut self, ino: u64, file: &Arc<File>, old_size: u64, change: Change) {
        let unsynced = self.data.entry(ino).or_insert_with(|| Unsynced {
            file: Arc::clone(file),
            changes: Vec::new(),
        });
        unsynced.changes.push(Data { old_size, change });
    }

    /// A file's data is synced.
    pub(super) fn synced(&mut self, ino: u64) {
        self.data.remove(&ino);
    }

    /// A file or folder was made.
    pub(super) fn created(&mut self, path: PathBuf) {
        self.names.push(Name::Created(path));
    }

    /// Removes a file or an empty folder, and keeps it.
    pub(super) fn remove(&mut self, path: PathBuf) -> io::Result<()> {
        let kept = self.place_to_keep();
        fs::rename(&path, &kept)?;
        self.names.push(Name::Removed { path, kept });
        Ok(())
    }

    /// Renames, and keeps what was at the new place.
    pub(super) fn rename(&mut self, from: PathBuf, to: PathBuf) -> io::Result<()> {
        let mut replaced = None;
        if to.exists() {
            let kept = self.place_to_keep();
            fs::rename(&to, &kept)?;
            replaced = Some(kept);
        }
        fs::rename(&from, &to)?;
        self.names.push(Name::Renamed { from, to, replaced });
        Ok(())
    }

    fn place_to_keep(&mut self) -> PathBuf {
        self.next_kept += 1;
        self.kept.join(self.next_kept.to_string())
    }

    /// The names in a folder are synced.
    pub(super) fn synced_names(&mut self, folder: &Path) {
        let mut left: Vec<Name> = Vec::new();
        for name in std::mem::take(&mut self.names) {
            if !name.is_in(folder) {
                left.push(name);
                continue;
            }
            match name {
                Name::Created(_) => {}
                Name::Removed { kept, .. } => discard(&kept),
                Name::Renamed { from, to, replaced } => {
                    // It will not be taken back, so what happened before it is elsewhere now.
                    left.iter_mut().for_each(|name| name.moved(&from, &to));
                    if let Some(kept) = replaced {
                        discard(&kept);
                    }
                }
            }
        }
        self.names = left;
    }

    /// The power is cut: takes back what was not synced.
    pub(super) fn cut(&mut self, cut: Cut, rng: &mut Rng) -> io::Result<Taken> {
        let mut taken = Taken::default();
        for unsynced in std::mem::take(&mut self.data).into_values() {
            taken.files += 1;
            take_back_data(unsynced, cut, rng, &mut taken)?;
        }
        let names = std::mem::take(&mut self.names);
        // Names change in the order in which they were changed, as in a journaling file system.
        let through = match cut {
            Cut::Lost => 0,
            Cut::Torn | Cut::Flipped => rng.place(names.len() + 1),
        };
        for (place, name) in names.into_iter().enumerate().rev() {
            if place >= through {
                taken.names += 1;
                take_back_name(name)?;
            }
        }
        for left in fs::read_dir(&self.kept)?.flatten() {
            discard(&left.path());
        }
        Ok(taken)
    }
}

/// A length that fits into memory: what was written came from there.
fn within(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

fn discard(path: &Path) {
    let _ = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}

fn take_back_name(name: Name) -> io::Result<()> {
    match name {
        // A folder goes with everything in it: nothing of it can be found again.
        Name::Created(path) => discard(&path),
        Name::Removed { path, kept } => fs::rename(kept, path)?,
        Name::Renamed { from, to, replaced } => {
            // It is not there where its own making was taken back through another name.
            if to.exists() {
                fs::rename(&to, from)?;
            }
            if let Some(kept) = replaced {
                fs::rename(kept, to)?;
            }
        }
    }
    Ok(())
}

fn take_back_data(
    unsynced: Unsynced,
    cut: Cut,
    rng: &mut Rng,
    taken: &mut Taken,
) -> io::Result<()> {
    let keeps_length = cut != Cut::Lost && rng.one_in(2);
    let mut came_through = BTreeSet::new();
    let mut size = unsynced.file.metadata()?.len();
    for Data { old_size, change } in unsynced.changes.into_iter().rev() {
        match change {
            // Whatever was written before the new length came through with it.
            Change::Resize { .. } if cut != Cut::Lost && rng.one_in(2) => break,
            Change::Resize { cut } => {
                unsynced.file.set_len(old_size)?;
                let at = old_size - cut.len() as u64;
                unsynced.file.write_all_at(&cut, at)?;
                size = old_size;
            }
            Change::Write { at, len, old } => {
                let mut torn = Tear {
                    file: &unsynced.file,
                    cut,
                    rng: &mut *rng,
                    came_through: &mut came_through,
                    taken: &mut *taken,
                };
                torn.write(at, len, &old)?;
                size = old_size;
            }
        }
    }
    if !keeps_length {
        unsynced.file.set_len(size)?;
    }
    Ok(())
}

/// Takes back one write, sector by sector.
struct Tear<'a> {
    file: &'a File,
    cut: Cut,
    rng: &'a mut Rng,
    /// Sectors that hold a newer write already: what is older is under it.
    came_through: &'a mut BTreeSet<u64>,
    taken: &'a mut Taken,
}

impl Tear<'_> {
    fn write(&mut self, at: u64, len: u64, old: &[u8]) -> io::Result<()> {
        let end = at + len;
        for sector in at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            if self.came_through.contains(&sector) {
                continue;
            }
            let from = at.max(sector * SECTOR_BYTES);
            let to = end.min((sector + 1) * SECTOR_BYTES);
            if self.cut != Cut::Lost && self.rng.one_in(2) {
                self.came_through.insert(sector);
                if self.cut == Cut::Flipped && self.rng.one_in(FLIPPED_ONE_IN) {
                    let place = from + self.rng.below(to - from);
                    self.flip(place)?;
                }
                continue;
            }
            let (first, last) = (within(from - at), within(to - at));
            let mut before = vec![0; last - first];
            let known = old.get(first.min(old.len())..last.min(old.len()));
            let known = known.unwrap_or_default();
            before[..known.len()].copy_from_slice(known);
            self.file.write_all_at(&before, from)?;
            self.taken.sectors += 1;
        }
        Ok(())
    }

    fn flip(&mut self, at: u64) -> io::Result<()> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << self.rng.below(8);
        self.file.write_all_at(&byte, at)?;
        self.taken.flipped += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
