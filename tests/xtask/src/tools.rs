//! What the tests need and the machine may lack.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use raft3d_guest_build::Toolchain;

use crate::steps::{cargo, run, succeeds};

/// Debian's packages with a compiler for guests and its library's source. For machines whose Rust
/// toolchain has no `wasm32-unknown-unknown` and no way to fetch it.
const GUEST_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
/// Debian's packages for file systems of programs, and for clocks that are wrong.
const NEMESIS_PACKAGES: [&str; 2] = ["fuse3", "libfaketime"];
/// The test runner's version: a newer one may ask for a newer Rust.
const NEXTEST_VERSION: &str = "0.9.143";
/// Versions that the reports were made with.
const CARGO_FUZZ_VERSION: &str = "0.13.2";
const CARGO_MUTANTS_VERSION: &str = "27.1.0";

/// Sees to a compiler that can make guests.
///
/// # Errors
/// There is none and none can be installed; the error says what to install by hand.
pub(crate) fn guest_compiler() -> Result<()> {
    let Err(missing) = Toolchain::find() else {
        return Ok(());
    };
    // Debian's packages first: the prebuilt policies were made with them, byte for byte, and a
    // machine that mirrors Debian need not reach rustup's servers.
    let apt_get = Path::new("/usr/bin/apt-get");
    if !apt_get.is_file() || install_guest_packages().is_err() {
        let add = ["target", "add", "wasm32-unknown-unknown"];
        run("add the target", Command::new("rustup").args(add)).context(missing)?;
    }
    Toolchain::find().map(drop)
}

fn install_guest_packages() -> Result<()> {
    install_packages("install a compiler for guests", &GUEST_PACKAGES)
}

fn install_packages(what: &str, packages: &[&str]) -> Result<()> {
    let mut update = privileged("apt-get");
    update.args(["update", "--quiet"]);
    run("apt-get update", &mut update)?;
    let mut install = privileged("apt-get");
    install
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(what, &mut install)
}

/// Sees to the system that benchmarks measure beside ours.
///
/// # Errors
/// It is not there and cannot be installed.
pub(crate) fn etcd() -> Result<()> {
    let version = || succeeds(Command::new("etcd").arg("--version"));
    if !version() {
        install_packages("install etcd", &["etcd-server"])
            .context("there is no `etcd` to measure beside; install it (Debian: etcd-server)")?;
        ensure!(
            version(),
            "etcd-server was installed, but `etcd` does not run"
        );
    }
    Ok(())
}

/// A command as root: through sudo where we are not.
fn privileged(program: &str) -> Command {
    if succeeds(Command::new("test").args(["-w", "/var/lib/dpkg"])) {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}

/// Sees to what faults of disks and clocks need. A machine that cannot have it plays without, and
/// the nemesis says so.
pub(crate) fn nemesis() {
    let fuse = succeeds(Command::new("fusermount3").arg("-V"));
    let clock = library_is_there("faketime/libfaketimeMT.so.1");
    if fuse && clock || !Path::new("/usr/bin/apt-get").is_file() {
        return;
    }
    if let Err(error) = install_packages("install what faults need", &NEMESIS_PACKAGES) {
        eprintln!("{error:#}");
    }
}

/// Whether a library lies in the folder of any kind of machine.
fn library_is_there(name: &str) -> bool {
    let machines = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    machines
        .into_iter()
        .any(|machine| machine.path().join(name).is_file())
}

/// Sees to the test runner.
///
/// # Errors
/// It is not there and cannot be built.
pub(crate) fn nextest() -> Result<()> {
    subcommand("nextest", "cargo-nextest", NEXTEST_VERSION)
}

/// Sees to the fuzzer's driver.
///
/// # Errors
/// It is not there and cannot be built.
pub(crate) fn cargo_fuzz() -> Result<()> {
    subcommand("fuzz", "cargo-fuzz", CARGO_FUZZ_VERSION)
}

/// Sees to the tool that mutates sources.
///
/// # Errors
/// It is not there and cannot be built.
pub(crate) fn cargo_mutants() -> Result<()> {
    subcommand("mutants", "cargo-mutants", CARGO_MUTANTS_VERSION)
}

/// Sees to a subcommand of cargo.
fn subcommand(name: &str, package: &str, version: &str) -> Result<()> {
    if succeeds(&mut cargo(&[name, "--version"])?) {
        return Ok(());
    }
    let mut install = cargo(&["install", "--locked", package, "--version", version])?;
    run(&format!("install {package}"), &mut install)?;
    ensure!(
        succeeds(&mut cargo(&[name, "--version"])?),
        "{package} was installed, but cargo does not find it: add cargo's bin folder to PATH"
    );
    Ok(())
}
