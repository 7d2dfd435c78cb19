//! Builds policy crates to WebAssembly modules.
//!
//! A module is the crate's `cdylib`, without any custom section of the compiler, and with its
//! manifest as the section `raft3d:manifest`. The manifest comes from the crate's own binary
//! `<package>-manifest`, which runs natively.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use raft3d_sdk::manifest::SECTION;

mod module;
mod package;

use package::Package;

/// The target of every guest.
const TARGET: &str = "wasm32-unknown-unknown";
/// Stack of a guest, in bytes; it is the first thing in memory, so that an overflow traps.
const STACK_BYTES: usize = 32 * 1024;
/// Oldest compiler that knows the language of this workspace: (major, minor).
const RUSTC_MIN: (u32, u32) = (1, 95);
/// The profile that guests are built with, whatever workspace they stand in.
const PROFILE: &str = "guest";
const PROFILE_SETTINGS: [&str; 7] = [
    "inherits='release'",
    "opt-level=3",
    "lto=true",
    "codegen-units=1",
    "panic='abort'",
    "strip=true",
    "overflow-checks=true",
];

/// A compiler that can make guests.
#[derive(Clone, Debug)]
pub struct Toolchain {
    rustc: PathBuf,
    sysroot: PathBuf,
    /// None where the compiler brings a linker for the target.
    linker: Option<PathBuf>,
    /// Whether `core` and `alloc` are compiled from source.
    builds_std: bool,
    /// Lines of `rustc -vV` that decide the output, and where `core` comes from.
    version: String,
}

impl Toolchain {
    /// The first compiler here that can make guests: the usual one where it has the target or its
    /// library's source, otherwise the system's (Debian's `rustc-web` with `rust-web-src`).
    ///
    /// # Errors
    /// There is none; the error says what to install.
    pub fn find() -> Result<Self> {
        let usual = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let candidates = [PathBuf::from(usual), PathBuf::from("/usr/bin/rustc")];
        let linker = find_linker(&candidates);
        for rustc in candidates {
            if let Some(toolchain) = Self::probe(rustc, linker.as_deref()) {
                return Ok(toolchain);
            }
        }
        bail!(
            "no Rust compiler here can make {TARGET} modules. With rustup, run\n    \
             rustup target add {TARGET}\nOn Debian without rustup's downloads, run\n    \
             apt-get install rustc-web rust-web-src lld\n(rustc {}.{} or newer; the linker \
             `rust-lld` of a rustup toolchain does as well as `lld`)",
            RUSTC_MIN.0,
            RUSTC_MIN.1
        )
    }

    fn probe(rustc: PathBuf, linker: Option<&Path>) -> Option<Self> {
        let verbose = stdout_of(Command::new(&rustc).arg("-vV")).ok()?;
        let sysroot = sysroot_of(&rustc)?;
        let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name));
        if !is_new_enough(field("release: ")?) {
            return None;
        }
        let rustlib = sysroot.join("lib/rustlib");
        let has_target = rustlib.join(TARGET).join("lib").is_dir();
        let has_source = rustlib.join("src/rust/library/core/Cargo.toml").is_file();
        let can_build_std = has_source && linker.is_some();
        if !has_target && !can_build_std {
            return None;
        }
        let version = format!(
            "rustc {} {}\nLLVM {}\ncore and alloc {}\n",
            field("release: ")?,
            field("commit-hash: ").unwrap_or("unknown"),
            field("LLVM version: ").unwrap_or("unknown"),
            if has_target {
                "as shipped"
            } else {
                "built from source"
            },
        );
        let linker = linker.filter(|_| !has_target).map(Path::to_path_buf);
        Some(Self {
            rustc,
            sysroot,
            linker,
            builds_std: !has_target,
            version,
        })
    }

    /// What two builds must have in common to be equal byte for byte.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Compiles the crate's library and gives the linker's output.
    fn compile(&self, package: &Package, target_dir: &Path) -> Result<Vec<u8>> {
        let mut command = package.cargo("rustc", target_dir);
        command.args(["--lib", "--crate-type", "cdylib", "--target", TARGET]);
        command.args(["--profile", PROFILE]);
        for setting in PROFILE_SETTINGS {
            command
                .arg("--config")
                .arg(format!("profile.{PROFILE}.{setting}"));
        }
        if self.builds_std {
            command
                .arg("-Zbuild-std=core,alloc")
                .env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(linker) = &self.linker {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command.env("RUSTC", &self.rustc);
        command.env("CARGO_ENCODED_RUSTFLAGS", self.remap_flags(package));
        command
            .arg("--")
            .arg(format!("-Clink-arg=-zstack-size={STACK_BYTES}"));
        command.arg(remap_flag(&package.dir, "/policy"));
        run(&mut command)?;
        let file = format!("{}.wasm", package.name.replace('-', "_"));
        let path = target_dir.join(TARGET).join(PROFILE).join(file);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Flags that keep this machine's folders out of the module. They are the same for every
    /// policy of one workspace, or `core` would be built anew for each; the crate's own folder,
    /// which differs, is given to its own compilation alone. Where several fit, the last counts.
    fn remap_flags(&self, package: &Package) -> OsString {
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| Some(home()?.join(".cargo")));
        let sdk_root = package.sdk_root();
        let workspace = Some(&package.workspace).filter(|root| Some(*root) != sdk_root.as_ref());
        let mut flags = remap_flag(&self.sysroot, "/rust");
        for (prefix, name) in [
            (cargo_home.as_ref(), "/cargo"),
            (workspace, "/workspace"),
            (sdk_root.as_ref(), "/raft3d"),
        ] {
            if let Some(prefix) = prefix {
                flags.push("\u{1f}");
                flags.push(remap_flag(prefix, name));
            }
        }
        flags
    }
}

fn remap_flag(prefix: &Path, name: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(prefix);
    flag.push("=");
    flag.push(name);
    flag
}

/// A module that was built from a policy crate.
#[derive(Clone, Debug)]
pub struct Built {
    /// Name of the crate's package.
    pub package: String,
    /// The module with its manifest.
    pub bytes: Vec<u8>,
}

/// Builds the policy crate at `crate_dir`. Intermediate files go to `target_dir`, by default to
/// `guests` in the target folder of the crate's workspace, apart from native builds with other
/// flags. Needs no network once the dependencies are there.
///
/// # Errors
/// There is no such crate, or it does not compile; the compiler's words are in the error.
pub fn build(toolchain: &Toolchain, crate_dir: &Path, target_dir: Option<&Path>) -> Result<Built> {
    let package = Package::at(crate_dir)?;
    let target_dir = match target_dir {
        Some(dir) => dir.to_owned(),
        None => package.target_dir.join("guests"),
    };
    let compiled = toolchain.compile(&package, &target_dir)?;
    let mut bytes = module::without_custom_sections(&compiled)?;
    module::push_custom_section(&mut bytes, SECTION, &package.manifest(&target_dir)?);
    Ok(Built {
        package: package.name,
        bytes,
    })
}

/// Cargo, free of what the cargo that runs us (or the shell) says about flags and targets.
fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for name in [
        "RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    for name in [
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from)
}

/// A linker for WebAssembly: `rust-lld` of one of the compilers, or LLVM's own.
fn find_linker(compilers: &[PathBuf]) -> Option<PathBuf> {
    let bundled = compilers.iter().filter_map(|rustc| {
        let host = stdout_of(Command::new(rustc).args(["--print", "host-tuple"])).ok()?;
        Some(
            sysroot_of(rustc)?
                .join("lib/rustlib")
                .join(host.trim())
                .join("bin/rust-lld"),
        )
    });
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).collect();
    let versions = [
        "wasm-ld",
        "wasm-ld-22",
        "wasm-ld-21",
        "wasm-ld-20",
        "wasm-ld-19",
    ];
    let installed = versions
        .iter()
        .flat_map(|name| folders.iter().map(move |dir| dir.join(name)));
    bundled.chain(installed).find(|path| path.is_file())
}

fn sysroot_of(rustc: &Path) -> Option<PathBuf> {
    let sysroot = stdout_of(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(sysroot.trim()))
}

fn is_new_enough(release: &str) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(a), Some(b)) if (a, b) >= RUSTC_MIN)
}

fn run(command: &mut Command) -> Result<()> {
    output_of(command).map(drop)
}

fn stdout_of(command: &mut Command) -> Result<String> {
    String::from_utf8(output_of(command)?).context("output is not UTF-8")
}

/// Standard output of a command that must succeed; its errors become part of ours.
fn output_of(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_os_string();
    let output = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot run {}", name.display()))?;
    ensure!(
        output.status.success(),
        "{} {} failed: {}\n{}",
        name.display(),
        command
            .get_args()
            .next()
            .unwrap_or(OsStr::new(""))
            .display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_compared_by_number() {
        for release in ["1.95.0", "1.96.0", "1.100.0-nightly", "2.0.0"] {
            assert!(is_new_enough(release), "{release}");
        }
        for release in ["1.63.0", "1.94.1", "1", "unknown"] {
            assert!(!is_new_enough(release), "{release}");
        }
    }
}
