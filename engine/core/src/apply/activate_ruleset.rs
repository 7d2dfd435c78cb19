//! `ActivateRuleset`: makes a ruleset the active one, as a new revision.

use super::activation::{self, Activation};
use super::tx::{Done, Tx};
use crate::command::ActivateRuleset;
use crate::outcome::Accepted;
use crate::policy::PolicyHost;

pub(super) fn run(tx: &mut Tx<'_>, command: &ActivateRuleset, host: &dyn PolicyHost) -> Done {
    activation::check_expected(tx.ruleset()?.revision, command.expected)?;
    let activation = Activation {
        ruleset: &command.ruleset,
        force: command.force,
        reason: command.reason.as_deref(),
        rollback_of: None,
    };
    Ok(Accepted::Ruleset(activation::activate(
        tx,
        &activation,
        host,
    )?))
}
