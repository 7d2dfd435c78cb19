//! Native code on this node's disk, so that a restart compiles nothing.
//!
//! Native code is the one input of this crate that could do anything: wasmtime runs what it is
//! given. So a file is taken only with a keyed BLAKE3 over all of it, under a random key that
//! lies beside it, readable by this user alone. Whoever can read the key can also replace the
//! binary; anything less (a damaged file, one copied from another node, one put there by somebody
//! with write access to a backup) is compiled anew.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use raft3d_core::ModuleDigest;
use wasmtime::{Engine, Module};

use super::gas::GAS_TABLE_VERSION;
use super::instrument::INSTRUMENTATION_VERSION;
use super::runtime::lock;

/// Files kept; beyond it those go that were used longest ago, and none of the cluster's modules while
/// the node runs. Twice the modules that a cluster may hold, for an upgrade in between.
const FILES_MAX: usize = 512;
/// Bytes kept in them, in the same way: a refused or repeated upload leaves its code behind.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Largest file read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Length of the key and of a MAC, in bytes.
const KEY_BYTES: usize = blake3::KEY_LEN;
const KEY_FILE: &str = "key";
const CODE_EXTENSION: &str = "native";
const TEMPORARY_EXTENSION: &str = "tmp";

/// The folder of native code.
pub(crate) struct CodeCache {
    dir: PathBuf,
    secret: [u8; KEY_BYTES],
    bytes_max: u64,
    /// What the cluster's modules are kept under, those that were asked for last at the end.
    wanted: Mutex<VecDeque<CodeKey>>,
}

/// Under what a module's native code is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeKey([u8; blake3::OUT_LEN]);

impl CodeKey {
    /// The key of `module` in `engine`: another compiler, processor, instrumentation or gas table
    /// makes another key.
    pub(crate) fn new(module: ModuleDigest, engine: &Engine) -> Self {
        let compatibility = compatibility(engine);
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"raft3d native code 1");
        hasher.update(&module.0);
        hasher.update(compatibility.as_bytes());
        hasher.update(&INSTRUMENTATION_VERSION.to_be_bytes());
        hasher.update(&GAS_TABLE_VERSION.to_be_bytes());
        Self(hasher.finalize().into())
    }
}

/// What the native code of `engine` depends on beside the module: the compiler's version, its
/// settings, and the processor.
pub(super) fn compatibility(engine: &Engine) -> blake3::Hash {
    let mut hasher = HashInto(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize()
}

/// Lets `std::hash::Hash` feed BLAKE3, whose result does not depend on the Rust release.
struct HashInto(blake3::Hasher);

impl Hasher for HashInto {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        hash.as_bytes()
            .iter()
            .take(8)
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

impl CodeCache {
    /// Opens the folder, makes it where it is missing, and clears what was left half written.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let secret = match read_secret(&dir.join(KEY_FILE))? {
            Some(secret) => secret,
            None => make_secret(dir)?,
        };
        let cache = Self {
            dir: dir.to_owned(),
            secret,
            bytes_max: BYTES_MAX,
            wanted: Mutex::default(),
        };
        cache.clear()?;
        Ok(cache)
    }

    /// Opens the folder of another cache, to read. Where that has no key yet, nothing in it is
    /// taken.
    pub(crate) fn open_to_read(dir: &Path) -> io::Result<Self> {
        let mut unknown = [0; KEY_BYTES];
        getrandom::fill(&mut unknown).map_err(io::Error::other)?;
        Ok(Self {
            dir: dir.to_owned(),
            secret: read_secret(&dir.join(KEY_FILE))?.unwrap_or(unknown),
            bytes_max: BYTES_MAX,
            wanted: Mutex::default(),
        })
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().and_then(|text| text.to_str()) == Some(TEMPORARY_EXTENSION) {
                fs::remove_file(&path)?;
            }
        }
        self.trim()
    }

    /// Notes that the cluster has the module: its code stays, whatever is compiled meanwhile.
    pub(crate) fn want(&self, key: CodeKey) {
        let mut wanted = lock(&self.wanted);
        wanted.retain(|other| *other != key);
        wanted.push_back(key);
        if wanted.len() > FILES_MAX {
            wanted.pop_front();
        }
    }

    /// Deletes what was used longest ago, until the rest is within the limits.
    fn trim(&self) -> io::Result<()> {
        let wanted: HashSet<PathBuf> = {
            let wanted = lock(&self.wanted);
            wanted.iter().map(|key| self.path(*key)).collect()
        };
        let (mut files, mut bytes, mut unwanted) = (0_usize, 0_u64, Vec::new());
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().and_then(|text| text.to_str()) != Some(CODE_EXTENSION) {
                continue;
            }
            let about = path.metadata()?;
            files += 1;
            bytes = bytes.saturating_add(about.len());
            if !wanted.contains(&path) {
                let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                unwanted.push((used, path, about.len()));
            }
        }
        unwanted.sort();
        for (_, path, len) in unwanted {
            if files <= FILES_MAX && bytes <= self.bytes_max {
                break;
            }
            fs::remove_file(&path)?;
            files = files.saturating_sub(1);
            bytes = bytes.saturating_sub(len);
        }
        Ok(())
    }

    fn path(&self, key: CodeKey) -> PathBuf {
        self.dir
            .join(format!("{}.{CODE_EXTENSION}", hex::encode(key.0)))
    }

    fn mac(&self, key: CodeKey, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&key.0);
        hasher.update(code);
        hasher.finalize()
    }

    /// The module kept under `key`; none where there is none that is sound.
    pub(crate) fn load(&self, key: CodeKey, engine: &Engine) -> Option<Module> {
        let file = File::open(self.path(key)).ok()?;
        // It was used now. If that cannot be noted, it only looks older than it is.
        let _ = file.set_modified(SystemTime::now());
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let (mac, code) = bytes.split_first_chunk::<KEY_BYTES>()?;
        // `blake3::Hash` compares in constant time.
        if self.mac(key, code) != *mac {
            tracing::warn!(file = %self.path(key).display(), "damaged native code, compiling anew");
            return None;
        }
        adopt(code, engine).ok()
    }

    /// Keeps `code` under `key`: after a crash it is there as a whole or not at all.
    pub(crate) fn store(&self, key: CodeKey, code: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let temporary = path.with_extension(TEMPORARY_EXTENSION);
        let mut file = private().create(true).truncate(true).open(&temporary)?;
        file.write_all(self.mac(key, code).as_bytes())?;
        file.write_all(code)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.dir)?.sync_all()?;
        self.trim()
    }
}

/// Takes native code over into `engine`.
///
/// The caller vouches for the bytes: they come from this node's own compiler, either just now or
/// through a file that this node's key authenticates.
#[allow(
    unsafe_code,
    reason = "running native code that this node compiled itself"
)]
pub(crate) fn adopt(code: &[u8], engine: &Engine) -> Result<Module, String> {
    // SAFETY: `deserialize` asks for bytes that `Engine::precompile_module` made. These are: the
    // compiler's answer, complete (the child ended with success), or a file whose keyed BLAKE3
    // shows that this node wrote exactly these bytes. wasmtime itself compares version, features
    // and processor.
    unsafe { Module::deserialize(engine, code) }.map_err(|error| format!("{error:#}"))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// The key; none where it is missing, of the wrong length, or was open to others.
fn read_secret(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.mode() & 0o077 != 0 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
}

fn make_secret(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut secret = [0; KEY_BYTES];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let temporary = dir.join(KEY_FILE).with_extension(TEMPORARY_EXTENSION);
    // A new file: the mode of one that is there already would stay.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private().create_new(true).open(&temporary)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(KEY_FILE))?;
    File::open(dir)?.sync_all()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    const KEY: CodeKey = CodeKey([7; 32]);

    fn code(engine: &Engine) -> Vec<u8> {
        engine
            .precompile_module(&wasm_encoder::Module::new().finish())
            .unwrap()
    }

    #[test]
    fn what_was_stored_is_found_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        CodeCache::open(dir.path())
            .unwrap()
            .store(KEY, &code(&engine))
            .unwrap();
        assert!(
            CodeCache::open(dir.path())
                .unwrap()
                .load(KEY, &engine)
                .is_some()
        );
    }

    #[test]
    fn a_damaged_a_renamed_and_a_foreign_file_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = CodeCache::open(dir.path()).unwrap();
        cache.store(KEY, &code(&engine)).unwrap();
        let path = cache.path(KEY);

        let other = CodeKey([8; 32]);
        fs::copy(&path, cache.path(other)).unwrap();
        assert!(cache.load(other, &engine).is_none(), "another key's file");

        let sound = fs::read(&path).unwrap();
        for at in [0, KEY_BYTES, sound.len() / 2, sound.len() - 1] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(
                cache.load(KEY, &engine).is_none(),
                "flipped bit in byte {at}"
            );
        }
        fs::write(&path, &sound[..sound.len() - 1]).unwrap();
        assert!(cache.load(KEY, &engine).is_none(), "cut short");

        fs::write(&path, &sound).unwrap();
        assert!(cache.load(KEY, &engine).is_some());
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        let stranger = CodeCache::open(dir.path()).unwrap();
        assert!(
            stranger.load(KEY, &engine).is_none(),
            "written by another node"
        );
    }

    #[test]
    fn the_key_is_private_and_an_open_one_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let first = CodeCache::open(dir.path()).unwrap().secret;
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(CodeCache::open(dir.path()).unwrap().secret, first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(CodeCache::open(dir.path()).unwrap().secret, first);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    /// Uploads that are refused in the end, or sent again and again in another form, leave code behind.
    #[test]
    fn the_cache_is_bounded_while_it_runs_and_keeps_the_cluster_s_modules() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = CodeCache::open(dir.path()).unwrap();
        let code = vec![7; 1_000];
        cache.bytes_max = 5 * (1_000 + KEY_BYTES as u64);
        let key = |n: u8| CodeKey([n; 32]);
        let there = |cache: &CodeCache, n: u8| cache.path(key(n)).exists();
        let written = |cache: &CodeCache, n: u8, second: u64| {
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            let file = File::open(cache.path(key(n))).unwrap();
            file.set_modified(at).unwrap();
        };
        for n in 0..2 {
            cache.want(key(n));
            cache.store(key(n), &code).unwrap();
            written(&cache, n, 0);
        }
        for n in 2..40 {
            cache.store(key(n), &code).unwrap();
            written(&cache, n, u64::from(n));
            let kept = (0..=n).filter(|n| there(&cache, *n)).count();
            assert!(kept <= 5, "{kept} files after {n}");
            assert!(there(&cache, 0) && there(&cache, 1) && there(&cache, n));
        }
        assert_eq!((2..40).filter(|n| there(&cache, *n)).count(), 3);
        // The one that was used last stays.
        cache.load(key(37), &Engine::default());
        cache.store(key(50), &code).unwrap();
        assert!(there(&cache, 37) && !there(&cache, 38));
    }

    #[test]
    fn half_written_files_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.tmp"), b"half").unwrap();
        CodeCache::open(dir.path()).unwrap();
        assert!(!dir.path().join("x.tmp").exists());
    }
}
