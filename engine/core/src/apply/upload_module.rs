//! `UploadModule`: adds a module. The proposer validated and compiled it; what can be checked
//! without WebAssembly is checked here again.

use raft3d_sdk::manifest::ABI_VERSION;
use sha2::{Digest as _, Sha256};

use super::lifecycle;
use super::tx::{Done, Stop, Tx, check_cap};
use crate::command::UploadModule;
use crate::event::EventKind;
use crate::limits::{MANIFEST_BYTES_MAX, MANIFEST_TEXT_BYTES_MAX, MODULE_BYTES_MAX, MODULES_MAX};
use crate::outcome::Accepted;
use crate::rejection::{Rejection, RejectionKind};
use crate::review::manifest_problem;
use crate::state::encode;
use crate::state::modules::{self, ModuleInfo};

pub(super) fn run(tx: &mut Tx<'_>, command: &UploadModule) -> Done {
    let (info, new) = add(tx, command)?;
    Ok(Accepted::Module(info, new))
}

/// Adds the module unless it is known, and answers whether it was new.
pub(super) fn add(tx: &mut Tx<'_>, command: &UploadModule) -> Result<(ModuleInfo, bool), Stop> {
    check(command)?;
    if let Some(known) = modules::get(&tx.rows, command.digest)? {
        return Ok((known, false));
    }
    check_cap("modules", tx.totals.modules, MODULES_MAX)?;
    let info = ModuleInfo {
        digest: command.digest,
        size_bytes: command.bytes.len() as u64,
        manifest: command.manifest.clone(),
        uploaded_by: tx.actor.clone(),
        uploaded_at_ms: tx.now_ms(),
        revision: tx.revision,
    };
    modules::put(&mut tx.rows, &info, command.bytes.clone())?;
    tx.totals.modules += 1;
    tx.emit(EventKind::ModuleUploaded(info.digest));
    Ok((info, true))
}

fn check(command: &UploadModule) -> Result<(), Stop> {
    let invalid =
        |message: String| Err(Rejection::new(RejectionKind::InvalidField, message).into());
    let size = command.bytes.len();
    if size == 0 || size > MODULE_BYTES_MAX {
        return invalid(format!(
            "a module has 1 to {MODULE_BYTES_MAX} bytes; this one has {size}"
        ));
    }
    let actual: [u8; 32] = Sha256::digest(&command.bytes).into();
    if actual != command.digest.0 {
        return invalid("the module's bytes do not have the SHA-256 that was given".to_owned());
    }
    let manifest = &command.manifest;
    if manifest.abi != ABI_VERSION {
        return invalid(format!(
            "the module speaks ABI {}; this cluster speaks ABI {ABI_VERSION}",
            manifest.abi
        ));
    }
    if manifest.name.is_empty() {
        return invalid("the manifest's name is empty".to_owned());
    }
    let texts = [&manifest.name, &manifest.version, &manifest.description];
    if texts
        .iter()
        .any(|text| text.len() > MANIFEST_TEXT_BYTES_MAX)
    {
        return invalid(format!(
            "the manifest's name, version and description must not exceed \
             {MANIFEST_TEXT_BYTES_MAX} bytes"
        ));
    }
    if encode(manifest)?.len() > MANIFEST_BYTES_MAX {
        return invalid(format!("the manifest exceeds {MANIFEST_BYTES_MAX} bytes"));
    }
    if let Some(problem) = manifest_problem(manifest) {
        return invalid(format!("the manifest: {problem}"));
    }
    match manifest
        .lifecycle
        .as_ref()
        .map(lifecycle::problems)
        .unwrap_or_default()
    {
        problems if problems.is_empty() => Ok(()),
        problems => {
            let message = "the module's lifecycle is not sound";
            let mut rejection = Rejection::new(RejectionKind::InvalidField, message);
            rejection.details = problems;
            Err(rejection.into())
        }
    }
}
