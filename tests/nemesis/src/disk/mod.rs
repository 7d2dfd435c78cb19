//! A disk that can lose what was not synced, tear it, be full, be slow and fail: a small FUSE file
//! system over a folder.
//!
//! A node that runs on it needs no real `fsync`: what a sync covers is known here, and a power cut
//! is the end of the process and [`Disk::power_cut`].

mod fs;
mod journal;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};

pub use fs::Counts;
use fs::{FaultyFs, Shared};
pub use journal::{Cut, Taken};

use crate::rng::Rng;

/// The name that our mounts go by in the system's list.
const SOURCE: &str = "raft3d-nemesis";

/// What a node finds in `mount`, kept in `behind`.
#[derive(Debug)]
pub struct Disk {
    mount: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts a new, empty disk below `folder`.
    ///
    /// # Errors
    /// Where FUSE is not to be had: no `/dev/fuse`, no right to mount.
    pub fn mount(folder: &Path) -> io::Result<Self> {
        let (mount, behind) = (folder.join("disk"), folder.join("behind-the-disk"));
        let kept = folder.join("removed-not-synced");
        for folder in [&mount, &behind, &kept] {
            std::fs::create_dir_all(folder)?;
        }
        let shared = Arc::new(Shared::new(behind, kept));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName(SOURCE.to_owned())];
        let session = fuser::spawn_mount(FaultyFs(Arc::clone(&shared)), &mount, &config)?;
        Ok(Self {
            mount,
            shared,
            session: Some(session),
        })
    }

    /// Where its files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// The power is cut. Whoever uses the disk must have been killed before.
    ///
    /// # Errors
    /// Where the folder behind the disk cannot be changed.
    pub fn power_cut(&self, cut: Cut, rng: &mut Rng) -> io::Result<Taken> {
        self.shared.cut(cut, rng)
    }

    /// Files may grow by `room` bytes and no more; none: as much as they like.
    pub fn set_room(&self, room: Option<u64>) {
        self.shared.ill(|ills| ills.room = room);
    }

    /// Every write and every sync takes `delay` longer.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.ill(|ills| ills.delay = delay);
    }

    /// Whether syncs fail.
    pub fn set_syncs_fail(&self, fail: bool) {
        self.shared.ill(|ills| ills.syncs_fail = fail);
    }

    /// How often it did what.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Not for whoever still uses it to say: it is gone from here, and ends with its last user.
        unmount(&self.mount);
        self.session = None;
    }
}

fn unmount(mount: &Path) {
    let mut lazy = Command::new("fusermount3");
    let _ = lazy.arg("-uz").arg(mount).output();
}

/// Unmounts what processes left behind that were killed.
pub fn sweep() {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (source, mount) = (words.next(), words.next());
        let Some(mount) = mount.filter(|_| source == Some(SOURCE)).map(Path::new) else {
            continue;
        };
        let gone = std::fs::metadata(mount)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotConnected);
        if gone {
            unmount(mount);
        }
    }
}

/// Why disks cannot be made here; none where they can.
#[must_use]
pub fn missing() -> Option<String> {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return Some(error.to_string()),
    };
    match Disk::mount(folder.path()) {
        Ok(_) => None,
        Err(error) => Some(format!("/dev/fuse is not usable: {error}")),
    }
}

#[cfg(test)]
mod tests;
