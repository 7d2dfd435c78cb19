//! What the tests need and the machine may lack.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::guest::Toolchain;

use crate::steps::{cargo, run, succeeds};

/// Debian's packages with a compiler for guests and its library's source. For machines whose Rust
/// toolchain has no `wasm32-unknown-unknown` and no way to fetch it.
const GUEST_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
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
    let mut update = privileged("apt-get");
    update.args(["update", "--quiet"]);
    run("apt-get update", &mut update)?;
    let mut install = privileged("apt-get");
    install
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(GUEST_PACKAGES)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run("install a compiler for guests", &mut install)
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
