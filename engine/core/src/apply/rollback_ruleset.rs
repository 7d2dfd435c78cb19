//! `RollbackRuleset`: makes an earlier revision the active one again, as a new revision.
//!
//! The same checks are made as for an activation: what was sound may no longer be, for example
//! because open jobs are in states of the newer lifecycle. No policy hook is ever asked.

use super::activation::{self, Activation};
use super::tx::{Done, Tx};
use crate::command::RollbackRuleset;
use crate::outcome::Accepted;
use crate::policy::PolicyHost;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::rulesets;

pub(super) fn run(tx: &mut Tx<'_>, command: &RollbackRuleset, host: &dyn PolicyHost) -> Done {
    let active = tx.ruleset()?.revision;
    activation::check_expected(active, command.expected)?;
    let earlier = match command.to {
        Some(to) => rulesets::get(&tx.rows, to)?,
        None => rulesets::history(&tx.rows, Some(active), 1)?.pop(),
    };
    let earlier = earlier.ok_or_else(|| match command.to {
        Some(to) => {
            let message = format!("ruleset revision {to} is not kept");
            Rejection::new(RejectionKind::NotFound, message).at("/to")
        }
        None => Rejection::new(
            RejectionKind::NotFound,
            "there is no earlier ruleset revision",
        ),
    })?;
    let activation = Activation {
        ruleset: &earlier.ruleset,
        force: command.force,
        reason: command.reason.as_deref(),
        rollback_of: Some(earlier.revision),
    };
    Ok(Accepted::Ruleset(activation::activate(
        tx,
        &activation,
        host,
    )?))
}
