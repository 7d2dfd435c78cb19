//! The file system: every call goes to the folder behind it, every change through the journal.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::journal::{Cut, Journal, Taken};
use super::tree::Tree;
use crate::rng::Rng;

/// The kernel remembers no name and no length: a power cut changes both behind its back.
const REMEMBERED: Duration = Duration::ZERO;
/// What the disk says that it holds, in blocks.
const BLOCKS: u64 = 1 << 24;
/// Its blocks, in bytes.
const BLOCK_BYTES: u32 = 4_096;
/// Longest name, in bytes.
const NAME_BYTES_MAX: u32 = 255;

/// What the disk does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ills {
    /// Bytes that files may still grow by; none: no limit.
    pub(super) room: Option<u64>,
    /// Every write and every sync takes so much longer.
    pub(super) delay: Duration,
    /// Syncs fail.
    pub(super) syncs_fail: bool,
}

/// How often the disk did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: u64,
    /// Syncs of files and folders.
    pub syncs: u64,
    /// Calls refused for want of room.
    pub refused: u64,
    /// Syncs that failed.
    pub failed: u64,
    /// Calls that were made to take longer.
    pub delayed: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            writes: self.writes + other.writes,
            syncs: self.syncs + other.syncs,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
            delayed: self.delayed + other.delayed,
        }
    }
}

struct Open {
    ino: u64,
    file: Arc<File>,
}

struct Inner {
    tree: Tree,
    journal: Journal,
    open: BTreeMap<u64, Open>,
    next_handle: u64,
    ills: Ills,
    counts: Counts,
}

/// What the file system and the one who makes it ill share.
pub(super) struct Shared(Mutex<Inner>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.counts()).finish()
    }
}

impl Shared {
    pub(super) fn new(root: PathBuf, kept: PathBuf) -> Self {
        Self(Mutex::new(Inner {
            tree: Tree::new(root),
            journal: Journal::new(kept),
            open: BTreeMap::new(),
            next_handle: 1,
            ills: Ills::default(),
            counts: Counts::default(),
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ill(&self, change: impl FnOnce(&mut Ills)) {
        change(&mut self.lock().ills);
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    pub(super) fn cut(&self, cut: Cut, rng: &mut Rng) -> io::Result<Taken> {
        let mut inner = self.lock();
        inner.open.clear();
        inner.tree.reset();
        inner.journal.cut(cut, rng)
    }

    /// Waits as long as the disk takes longer than it should. Nothing is locked meanwhile.
    fn take_long(&self) {
        let delay = {
            let mut inner = self.lock();
            if !inner.ills.delay.is_zero() {
                inner.counts.delayed += 1;
            }
            inner.ills.delay
        };
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }
}

impl Inner {
    fn path(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        self.tree.path(ino.0).ok_or(Errno::ENOENT)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.path(parent)?.join(name))
    }

    fn entry(&mut self, path: &Path) -> Result<FileAttr, Errno> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(attributes(self.tree.number(path), &metadata))
    }

    fn handle(&self, handle: FileHandle) -> Result<(u64, Arc<File>), Errno> {
        let open = self.open.get(&handle.0).ok_or(Errno::EBADF)?;
        Ok((open.ino, Arc::clone(&open.file)))
    }

    /// Any handle of a file: it may have no name any more.
    fn any_handle(&self, ino: u64) -> Option<Arc<File>> {
        let open = self.open.values().find(|open| open.ino == ino);
        open.map(|open| Arc::clone(&open.file))
    }

    fn file_of(&self, ino: INodeNo) -> Result<Arc<File>, Errno> {
        if let Some(file) = self.any_handle(ino.0) {
            return Ok(file);
        }
        let path = self.path(ino)?;
        Ok(Arc::new(
            OpenOptions::new().read(true).write(true).open(path)?,
        ))
    }

    fn opened(&mut self, ino: u64, file: File) -> FileHandle {
        let handle = self.next_handle;
        self.next_handle += 1;
        let file = Arc::new(file);
        self.open.insert(handle, Open { ino, file });
        FileHandle(handle)
    }

    /// Takes room for a file that grows to `end`.
    fn take_room(&mut self, size: u64, end: u64) -> Result<(), Errno> {
        let Some(room) = &mut self.ills.room else {
            return Ok(());
        };
        let growth = end.saturating_sub(size);
        if growth > *room {
            self.counts.refused += 1;
            return Err(Errno::ENOSPC);
        }
        *room -= growth;
        Ok(())
    }

    fn make_room_for_a_name(&mut self) -> Result<(), Errno> {
        if self.ills.room == Some(0) {
            self.counts.refused += 1;
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn write(&mut self, handle: FileHandle, at: u64, bytes: &[u8]) -> Result<u32, Errno> {
        let (ino, file) = self.handle(handle)?;
        let end = at.saturating_add(bytes.len() as u64);
        self.take_room(file.metadata()?.len(), end)?;
        self.journal.write(ino, &file, at, bytes)?;
        self.counts.writes += 1;
        u32::try_from(bytes.len()).map_err(|_| Errno::EINVAL)
    }

    fn resize(&mut self, ino: INodeNo, size: u64) -> Result<(), Errno> {
        let file = self.file_of(ino)?;
        self.take_room(file.metadata()?.len(), size)?;
        Ok(self.journal.resize(ino.0, &file, size)?)
    }

    fn sync(&mut self, change: impl FnOnce(&mut Self) -> Result<(), Errno>) -> Result<(), Errno> {
        if self.ills.syncs_fail {
            self.counts.failed += 1;
            return Err(Errno::EIO);
        }
        self.counts.syncs += 1;
        change(self)
    }

    fn create(&mut self, path: &Path, mode: u32) -> Result<(FileAttr, FileHandle), Errno> {
        self.make_room_for_a_name()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        let file = options.open(path)?;
        self.journal.created(path.to_owned());
        let attributes = self.entry(path)?;
        let handle = self.opened(attributes.ino.0, file);
        Ok((attributes, handle))
    }

    fn mkdir(&mut self, path: &Path, mode: u32) -> Result<FileAttr, Errno> {
        self.make_room_for_a_name()?;
        fs::DirBuilder::new().mode(mode).create(path)?;
        self.journal.created(path.to_owned());
        self.entry(path)
    }

    fn remove(&mut self, path: PathBuf) -> Result<(), Errno> {
        if path.is_dir() && fs::read_dir(&path)?.next().is_some() {
            return Err(Errno::ENOTEMPTY);
        }
        self.tree.removed(&path);
        Ok(self.journal.remove(path)?)
    }

    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<(), Errno> {
        if to.is_dir() && fs::read_dir(&to)?.next().is_some() {
            return Err(Errno::ENOTEMPTY);
        }
        self.tree.renamed(&from, &to);
        Ok(self.journal.rename(from, to)?)
    }

    fn list(&mut self, folder: &Path) -> Result<Vec<(u64, FileType, std::ffi::OsString)>, Errno> {
        let mut names: Vec<_> = fs::read_dir(folder)?.flatten().collect();
        names.sort_by_key(fs::DirEntry::file_name);
        let mut listed = Vec::new();
        for name in names {
            let kind = kind_of(&name.metadata()?);
            listed.push((self.tree.number(&name.path()), kind, name.file_name()));
        }
        Ok(listed)
    }
}

fn kind_of(metadata: &Metadata) -> FileType {
    if metadata.is_dir() {
        FileType::Directory
    } else {
        FileType::RegularFile
    }
}

fn attributes(ino: u64, metadata: &Metadata) -> FileAttr {
    let time = |time: io::Result<SystemTime>| time.unwrap_or(SystemTime::UNIX_EPOCH);
    FileAttr {
        ino: INodeNo(ino),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.accessed()),
        mtime: time(metadata.modified()),
        ctime: time(metadata.modified()),
        crtime: time(metadata.created()),
        kind: kind_of(metadata),
        perm: u16::try_from(metadata.permissions().mode() & 0o7777).unwrap_or(0o600),
        nlink: u32::try_from(metadata.nlink()).unwrap_or(1),
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// The file system as FUSE asks it.
#[derive(Debug)]
pub(super) struct FaultyFs(pub(super) Arc<Shared>);

/// Answers with what `result` holds.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $ok:expr) => {
        match $result {
            Ok($value) => $ok,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for FaultyFs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut inner = self.0.lock();
        let found = inner
            .child(parent, name)
            .and_then(|path| inner.entry(&path));
        answer!(reply, found, found => reply.entry(&REMEMBERED, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let inner = self.0.lock();
        let metadata = match inner.tree.path(ino.0) {
            Some(path) => fs::symlink_metadata(path),
            None => match inner.any_handle(ino.0) {
                Some(file) => file.metadata(),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        };
        match metadata {
            Ok(metadata) => reply.attr(&REMEMBERED, &attributes(ino.0, &metadata)),
            Err(_) => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut inner = self.0.lock();
        // Owners, modes and times are nothing that a node relies on.
        let done = size.map_or(Ok(()), |size| inner.resize(ino, size));
        let metadata = done.and_then(|()| match inner.tree.path(ino.0) {
            Some(path) => Ok(fs::symlink_metadata(path)?),
            None => Ok(inner.file_of(ino)?.metadata()?),
        });
        answer!(reply, metadata, metadata => {
            reply.attr(&REMEMBERED, &attributes(ino.0, &metadata));
        });
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mut inner = self.0.lock();
        let path = inner.child(parent, name);
        let made = path.and_then(|path| inner.mkdir(&path, mode & !umask));
        answer!(reply, made, made => reply.entry(&REMEMBERED, &made, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut inner = self.0.lock();
        let removed = inner
            .child(parent, name)
            .and_then(|path| inner.remove(path));
        answer!(reply, removed, () => reply.ok());
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let mut inner = self.0.lock();
        let paths = inner.child(parent, name).and_then(|from| {
            let to = inner.child(new_parent, new_name)?;
            Ok((from, to))
        });
        let renamed = paths.and_then(|(from, to)| inner.rename(from, to));
        answer!(reply, renamed, () => reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut inner = self.0.lock();
        let opened = inner.path(ino).and_then(|path| {
            // Whatever it is opened for: to take a write back it must be read and written.
            Ok(OpenOptions::new().read(true).write(true).open(path)?)
        });
        answer!(reply, opened, file => {
            reply.opened(inner.opened(ino.0, file), FopenFlags::empty());
        });
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut inner = self.0.lock();
        let path = inner.child(parent, name);
        let made = path.and_then(|path| inner.create(&path, mode & !umask));
        answer!(reply, made, (attributes, handle) => {
            let flags = FopenFlags::empty();
            reply.created(&REMEMBERED, &attributes, Generation(0), handle, flags);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let file = self.0.lock().handle(handle);
        let bytes = file.and_then(|(_, file)| {
            let left = file.metadata()?.len().saturating_sub(at);
            let len = left.min(u64::from(size));
            let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::EINVAL)?];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        });
        answer!(reply, bytes, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.0.take_long();
        let written = self.0.lock().write(handle, at, bytes);
        answer!(reply, written, written => reply.written(written));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // What `close` calls. It syncs nothing.
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.lock().open.remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.take_long();
        let mut inner = self.0.lock();
        let synced = inner.sync(|inner| {
            inner.journal.synced(ino.0);
            Ok(())
        });
        answer!(reply, synced, () => reply.ok());
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        after: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut inner = self.0.lock();
        let listed = inner.path(ino).and_then(|path| inner.list(&path));
        answer!(reply, listed, listed => {
            let skipped = usize::try_from(after).unwrap_or(usize::MAX);
            for (place, (ino, kind, name)) in listed.into_iter().enumerate().skip(skipped) {
                if reply.add(INodeNo(ino), place as u64 + 1, kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.take_long();
        let mut inner = self.0.lock();
        let synced = inner.sync(|inner| {
            let folder = inner.path(ino)?;
            inner.journal.synced_names(&folder);
            Ok(())
        });
        answer!(reply, synced, () => reply.ok());
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let room = self.0.lock().ills.room;
        let free = room.map_or(BLOCKS, |room| room / u64::from(BLOCK_BYTES));
        let size = BLOCK_BYTES;
        reply.statfs(
            BLOCKS,
            free,
            free,
            BLOCKS,
            BLOCKS,
            size,
            NAME_BYTES_MAX,
            size,
        );
    }
}
