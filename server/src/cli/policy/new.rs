//! `raft3d policy new`: a crate to begin with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use raft3d_engine::sdk::limits::CODE_BYTES_MAX;

/// What `new` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Folder to write; its name becomes the policy's
    dir: PathBuf,
    /// Folder of the SDK [default: the one of the checkout that DIR stands in]
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

/// File, and its text with `{{…}}` where names go.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    ("src/manifest.rs", include_str!("template/manifest.rs.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
];

/// Writes the crate, into a folder that is not there yet or is empty.
pub(super) fn run(args: &Args) -> Result<()> {
    let dir = std::path::absolute(&args.dir)?;
    let name = name_of(&dir)?;
    let is_taken = dir.exists() && std::fs::read_dir(&dir)?.next().is_some();
    ensure!(
        !is_taken,
        "{} is there already and not empty",
        args.dir.display()
    );
    let sdk = dependency(&dir, args.sdk.as_deref())?;
    for (file, text) in FILES {
        let path = dir.join(file);
        let folder = path.parent().unwrap_or(&dir);
        let about = || format!("cannot write {}", path.display());
        std::fs::create_dir_all(folder).with_context(about)?;
        std::fs::write(&path, filled(text, name, &sdk)).with_context(about)?;
    }
    let shown = args.dir.display();
    crate::cli::print(&format!(
        "wrote the policy {name} to {shown}\n\
         next: `cargo test --manifest-path {shown}/Cargo.toml`, `raft3d policy build {shown}`\n"
    ))
}

/// The policy's name: one that cargo and a manifest take.
fn name_of(dir: &Path) -> Result<&str> {
    let name = dir
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(letters)
        && !name.ends_with('-')
        && name.len() <= CODE_BYTES_MAX;
    ensure!(
        good,
        "{}: a policy is named like its folder, which must be 1 to {CODE_BYTES_MAX} of a-z, 0-9 \
         and -, beginning with a letter",
        dir.display()
    );
    // The library and the SDK would have one name in the compiler's eyes.
    ensure!(
        name != "raft3d-sdk",
        "raft3d-sdk is the SDK's name: choose another"
    );
    Ok(name)
}

fn filled(text: &str, name: &str, sdk: &str) -> String {
    text.replace("{{name}}", name)
        .replace("{{crate}}", &name.replace('-', "_"))
        .replace("{{type}}", &type_name(name))
        .replace("{{sdk}}", sdk)
}

/// `spare-filament` as `SpareFilament`.
fn type_name(name: &str) -> String {
    let mut next_is_upper = true;
    let mut camel = String::new();
    for c in name.chars() {
        if c == '-' {
            next_is_upper = true;
            continue;
        }
        camel.push(if next_is_upper {
            c.to_ascii_uppercase()
        } else {
            c
        });
        next_is_upper = false;
    }
    // What the template imports by these names must stay what it is.
    let imported = [
        "AdmissionInput",
        "Config",
        "Deny",
        "Grams",
        "Hook",
        "HookSet",
        "Policy",
        "RuleOutput",
        "String",
    ];
    if imported.contains(&camel.as_str()) {
        camel.push_str("Policy");
    }
    camel
}

/// The line of `Cargo.toml` that says where the SDK is.
fn dependency(dir: &Path, given: Option<&Path>) -> Result<String> {
    let sdk = match given {
        Some(sdk) => {
            let sdk = sdk
                .canonicalize()
                .with_context(|| format!("--sdk {}", sdk.display()))?;
            ensure!(
                is_sdk(&sdk),
                "--sdk {}: it has no Cargo.toml of raft3d-sdk",
                sdk.display()
            );
            Some(sdk)
        }
        None => dir
            .ancestors()
            .map(|above| above.join("sdk"))
            .find(|sdk| is_sdk(sdk)),
    };
    // Nothing is published yet: a name on a registry or a forge could be anybody's.
    let sdk = sdk.with_context(|| {
        format!(
            "no folder above {} has the SDK (sdk/Cargo.toml of this program's sources): write the \
             crate inside a checkout, or give --sdk PATH",
            dir.display()
        )
    })?;
    let Some(path) = sdk.to_str() else {
        bail!(
            "{}: the SDK's path is not UTF-8, which Cargo.toml cannot hold",
            sdk.display()
        );
    };
    // A TOML basic string escapes as JSON does.
    let path = serde_json::to_string(path)?;
    Ok(format!("raft3d-sdk = {{ path = {path} }}"))
}

fn is_sdk(dir: &Path) -> bool {
    std::fs::read_to_string(dir.join("Cargo.toml"))
        .is_ok_and(|text| text.contains("name = \"raft3d-sdk\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_are_those_that_cargo_and_manifests_take() {
        assert_eq!(
            name_of(Path::new("/a/spare-filament")).unwrap(),
            "spare-filament"
        );
        for bad in ["/", "/a/Spare", "/a/2b", "/a/a_b", "/a/b-", "/a/raft3d-sdk"] {
            assert!(name_of(Path::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(type_name("spare-filament-2"), "SpareFilament2");
        assert_eq!(type_name("deny"), "DenyPolicy");
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for (file, text) in FILES {
            let text = filled(text, "night-shift", "raft3d-sdk = \"1\"");
            assert!(!text.contains("{{"), "{file}: {text}");
        }
    }

    #[test]
    fn the_sdk_of_the_checkout_is_taken_and_must_be_named_elsewhere() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let line = dependency(&here.join("new-one"), None).unwrap();
        let sdk = here.parent().unwrap().join("sdk");
        assert_eq!(
            line,
            format!("raft3d-sdk = {{ path = {:?} }}", sdk.to_str().unwrap())
        );
        let elsewhere = tempfile::tempdir().unwrap();
        let error = dependency(elsewhere.path(), None).unwrap_err().to_string();
        assert!(error.contains("--sdk PATH"), "{error}");
        let named = dependency(elsewhere.path(), Some(&sdk)).unwrap();
        assert_eq!(named, line);
        assert!(dependency(elsewhere.path(), Some(elsewhere.path())).is_err());
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("mine");
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
        let args = Args {
            dir: dir.clone(),
            sdk: Some(sdk),
        };
        run(&args).unwrap();
        std::fs::write(dir.join("src/lib.rs"), "my work").unwrap();
        assert!(run(&args).is_err());
        assert_eq!(
            std::fs::read_to_string(dir.join("src/lib.rs")).unwrap(),
            "my work"
        );
    }
}
