//! `DeleteModule`: removes a module that no kept ruleset revision names.

use super::tx::{Done, Tx};
use crate::command::DeleteModule;
use crate::event::EventKind;
use crate::limits::RULESET_REVISIONS_MAX;
use crate::outcome::Accepted;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::{modules, rulesets};

pub(super) fn run(tx: &mut Tx<'_>, command: &DeleteModule) -> Done {
    let digest = command.digest;
    if modules::get(&tx.rows, digest)?.is_none() {
        let message = format!("there is no module {digest}");
        return Err(Rejection::new(RejectionKind::NotFound, message).into());
    }
    let kept = rulesets::history(&tx.rows, None, RULESET_REVISIONS_MAX as usize)?;
    let names_it = kept.iter().find(|kept| {
        kept.ruleset
            .bindings
            .iter()
            .any(|binding| binding.module == digest)
    });
    if let Some(kept) = names_it {
        let message = format!("ruleset revision {} names the module", kept.revision);
        return Err(Rejection::new(RejectionKind::ModuleInUse, message).into());
    }
    modules::delete(&mut tx.rows, digest);
    tx.totals.modules = tx.totals.modules.saturating_sub(1);
    tx.emit(EventKind::ModuleDeleted(digest));
    Ok(Accepted::ModuleDeleted(digest))
}
