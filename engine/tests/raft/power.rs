//! A disk for logs that knows which bytes were never synced, and loses them when power is cut.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use raft3d_engine::storage::log::{Disk, LogOptions};

use crate::folders::files;
use crate::random::Random;

/// The least that a disk tears, bytes.
const SECTOR_BYTES: usize = 512;

/// A write that no sync covers yet.
#[derive(Debug)]
struct Unsynced {
    offset: u64,
    /// What stood there.
    before: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inner {
    off: bool,
    full: bool,
    /// Syncs below this folder take long: that node is not part of the majority.
    slow: Option<PathBuf>,
    /// Syncs below this folder wait.
    held: Option<PathBuf>,
    unsynced: BTreeMap<PathBuf, Vec<Unsynced>>,
    syncs: u64,
}

/// The disk of every node, on one switch.
#[derive(Debug, Default)]
pub struct Power {
    inner: Mutex<Inner>,
}

impl Power {
    /// Small segments, so that cuts also hit their switch.
    pub fn log_options() -> LogOptions {
        LogOptions {
            segment_bytes: 128 << 10,
            batch_bytes_max: 32 << 10,
            watermark_sync: Duration::from_millis(20),
            idle_seal: Some(Duration::from_millis(20)),
            ..LogOptions::default()
        }
    }

    pub fn slow_down(&self, folder: Option<PathBuf>) {
        self.inner.lock().unwrap().slow = folder;
    }

    /// Syncs below the folder wait until it is none.
    pub fn hold(&self, folder: Option<PathBuf>) {
        self.inner.lock().unwrap().held = folder;
    }

    fn is_held(&self, path: &Path) -> bool {
        let inner = self.inner.lock().unwrap();
        inner
            .held
            .as_ref()
            .is_some_and(|held| path.starts_with(held))
    }

    /// From now on nothing is written, and no sync returns well.
    pub fn cut(&self) {
        self.inner.lock().unwrap().off = true;
    }

    /// From now on every write finds the disk full.
    pub fn fill(&self) {
        self.inner.lock().unwrap().full = true;
    }

    pub fn free(&self) {
        self.inner.lock().unwrap().full = false;
    }

    /// Damages what was never synced, sector by sector, and switches on again. Answers how many
    /// bytes may have been touched.
    pub fn damage_and_restore(&self, random: &mut Random) -> usize {
        let mut inner = self.inner.lock().unwrap();
        inner.off = false;
        let mut touched = 0;
        for (path, writes) in std::mem::take(&mut inner.unsynced) {
            // Removed meanwhile: a purged segment.
            let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else {
                continue;
            };
            for write in writes {
                touched += write.before.len();
                tear(random, &file, &write);
            }
        }
        touched
    }
}

/// Each sector is the new one, the old one, zeros, garbage, or has a bit flipped; or all of them
/// are one of these.
fn tear(random: &mut Random, file: &File, write: &Unsynced) {
    let whole = (random.below(2) == 0).then(|| random.below(5));
    for (nth, before) in write.before.chunks(SECTOR_BYTES).enumerate() {
        let offset = write.offset + (nth * SECTOR_BYTES) as u64;
        let mut bytes = vec![0; before.len()];
        file.read_exact_at(&mut bytes, offset).unwrap();
        match whole.unwrap_or_else(|| random.below(5)) {
            0 => {}
            1 => bytes.copy_from_slice(before),
            2 => bytes.fill(0),
            3 => bytes.fill_with(|| random.next() as u8),
            _ => {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
            }
        }
        file.write_all_at(&bytes, offset).unwrap();
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is off (test)")
}

impl Disk for Power {
    fn write_all_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        if inner.off {
            return Err(gone());
        }
        if inner.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut before = vec![0; bytes.len()];
        file.read_exact_at(&mut before, offset)?;
        let write = Unsynced { offset, before };
        inner
            .unsynced
            .entry(path.to_owned())
            .or_default()
            .push(write);
        file.write_all_at(bytes, offset)
    }

    fn sync_data(&self, _file: &File, path: &Path) -> io::Result<()> {
        let pause = {
            let mut inner = self.inner.lock().unwrap();
            inner.syncs += 1;
            let is_slow = inner
                .slow
                .as_ref()
                .is_some_and(|slow| path.starts_with(slow));
            Duration::from_micros(if is_slow {
                60_000
            } else {
                300 * (inner.syncs % 7)
            })
        };
        thread::sleep(pause);
        while self.is_held(path) {
            thread::sleep(Duration::from_millis(2));
        }
        let mut inner = self.inner.lock().unwrap();
        if inner.off {
            return Err(gone());
        }
        inner.unsynced.remove(path);
        Ok(())
    }
}

/// What may happen to a state database, which is never synced: anything.
pub fn damage_state(random: &mut Random, state: &Path, older: &Path) -> &'static str {
    match random.below(5) {
        // As far as the process came: ahead of its log, where that lost the end.
        0 | 1 => "kept",
        2 => {
            fs::remove_dir_all(state).unwrap();
            "lost"
        }
        3 => {
            copy_folder(older, state);
            "as it was at the start"
        }
        _ => {
            for path in files(state) {
                let mut bytes = fs::read(&path).unwrap_or_default();
                if bytes.is_empty() {
                    continue;
                }
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(3) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes.truncate(at),
                    _ => bytes[at..].fill(0),
                }
                fs::write(&path, bytes).unwrap();
            }
            "damaged in every file"
        }
    }
}

/// A copy of a state database that may be in use: files that go meanwhile are not in it.
pub fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        match fs::copy(&path, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
}
