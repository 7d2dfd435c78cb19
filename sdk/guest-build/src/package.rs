//! A policy crate: what cargo says about it, and its manifest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use raft3d_sdk::manifest::{ABI_VERSION, Manifest};
use serde_json::Value;

use crate::{cargo, output_of};

/// Name of the SDK's package.
const SDK: &str = "raft3d-sdk";

/// A policy crate.
pub(crate) struct Package {
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// Its package's name.
    pub(crate) name: String,
    /// Root of the workspace that it belongs to: its own folder where it stands alone.
    pub(crate) workspace: PathBuf,
    /// Where cargo puts what it builds natively.
    pub(crate) target_dir: PathBuf,
    /// The SDK's folder, where the crate takes it from a path.
    sdk: Option<PathBuf>,
}

impl Package {
    /// The crate in the folder `crate_dir`.
    pub(crate) fn at(crate_dir: &Path) -> Result<Self> {
        let dir = crate_dir
            .canonicalize()
            .with_context(|| format!("no policy crate at {}", crate_dir.display()))?;
        let file = dir.join("Cargo.toml");
        ensure!(
            file.is_file(),
            "no policy crate at {}: it has no Cargo.toml (`raft3d policy new DIR` writes a crate)",
            crate_dir.display()
        );
        let mut command = cargo();
        command
            .args(["metadata", "--quiet", "--no-deps", "--format-version", "1"])
            .arg("--manifest-path")
            .arg(&file);
        let printed = output_of(&mut command)?;
        let metadata: Value =
            serde_json::from_slice(&printed).context("cargo metadata did not print JSON")?;
        Self::from_metadata(dir, &file, &metadata).with_context(|| {
            format!(
                "cargo metadata does not know the package {}",
                file.display()
            )
        })
    }

    fn from_metadata(dir: PathBuf, file: &Path, metadata: &Value) -> Option<Self> {
        let path = |value: &Value| value.as_str().map(PathBuf::from);
        let packages = metadata.get("packages")?.as_array()?;
        let is_it =
            |package: &&Value| package.get("manifest_path").and_then(path).as_deref() == Some(file);
        let package = packages.iter().find(is_it)?;
        let dependencies = package.get("dependencies")?.as_array()?;
        let sdk = dependencies
            .iter()
            .find(|dependency| dependency.get("name").and_then(Value::as_str) == Some(SDK));
        Some(Self {
            dir,
            name: package.get("name")?.as_str()?.to_owned(),
            workspace: path(metadata.get("workspace_root")?)?,
            target_dir: path(metadata.get("target_directory")?)?,
            sdk: sdk.and_then(|sdk| sdk.get("path")).and_then(path),
        })
    }

    /// Root of the repository that the SDK stands in, where it comes from a path.
    pub(crate) fn sdk_root(&self) -> Option<PathBuf> {
        Some(self.sdk.as_ref()?.parent()?.to_path_buf())
    }

    /// Cargo with a subcommand on this crate.
    pub(crate) fn cargo(&self, subcommand: &str, target_dir: &Path) -> Command {
        let mut command = cargo();
        command
            .args([subcommand, "--quiet", "--manifest-path"])
            .arg(self.dir.join("Cargo.toml"));
        command.arg("--target-dir").arg(target_dir);
        command
    }

    /// Builds and runs the manifest binary.
    pub(crate) fn manifest(&self, target_dir: &Path) -> Result<Vec<u8>> {
        let mut command = self.cargo("run", target_dir);
        command
            .args(["--features", "manifest", "--bin"])
            .arg(format!("{}-manifest", self.name));
        let bytes = output_of(&mut command)?;
        let manifest: Manifest = minicbor::decode(&bytes)
            .with_context(|| format!("{}-manifest did not print a manifest", self.name))?;
        ensure!(
            manifest.abi == ABI_VERSION,
            "the SDK of {} speaks ABI {}, this program {ABI_VERSION}: use SDK and program of one \
             version",
            self.name,
            manifest.abi
        );
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "A test may end where a value is missing."
    )]
    use super::*;

    #[test]
    fn the_sdk_is_found_where_it_comes_from_a_path() {
        let metadata = |sdk: &str| {
            let text = format!(
                r#"{{"packages":[{{"name":"other","manifest_path":"/w/o/Cargo.toml","dependencies":[]}},
                    {{"name":"mine","manifest_path":"/w/m/Cargo.toml","dependencies":[{sdk}]}}],
                    "workspace_root":"/w","target_directory":"/w/target"}}"#
            );
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let read = |sdk: &str| {
            let file = Path::new("/w/m/Cargo.toml");
            Package::from_metadata("/w/m".into(), file, &metadata(sdk)).unwrap()
        };
        let package = read(r#"{"name":"raft3d-sdk","path":"/r/sdk"}"#);
        assert_eq!(package.name, "mine");
        assert_eq!(package.workspace, Path::new("/w"));
        assert_eq!(package.sdk_root(), Some("/r".into()));
        assert_eq!(
            read(r#"{"name":"raft3d-sdk","path":null}"#).sdk_root(),
            None
        );
        assert_eq!(read("").sdk_root(), None);
    }
}
