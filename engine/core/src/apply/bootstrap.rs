//! `Bootstrap`: the first command of a cluster gives it its identity, modules and ruleset.

use super::activation::{self, Activation};
use super::tx::{Done, Tx};
use super::upload_module;
use crate::command::Bootstrap;
use crate::epoch::Epochs;
use crate::outcome::Accepted;
use crate::policy::PolicyHost;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::meta;

pub(super) fn run(
    tx: &mut Tx<'_>,
    command: &Bootstrap,
    host: &dyn PolicyHost,
    supported: Epochs,
) -> Done {
    if let Some(id) = meta::cluster_id(&tx.rows)? {
        let message = format!("the cluster is bootstrapped already; its id is {id}");
        return Err(Rejection::new(RejectionKind::AlreadyBootstrapped, message).into());
    }
    if command.epoch == 0 {
        let message = "engine epochs begin with 1";
        return Err(Rejection::new(RejectionKind::InvalidField, message)
            .at("/epoch")
            .into());
    }
    supported.check(command.epoch)?;
    tx.totals.epoch = command.epoch;
    for module in &command.modules {
        upload_module::add(tx, module)?;
    }
    let activation = Activation {
        ruleset: &command.ruleset,
        force: false,
        reason: Some("bootstrap"),
        rollback_of: None,
    };
    let active = activation::activate(tx, &activation, host)?;
    meta::put_cluster_id(&mut tx.rows, command.cluster_id)?;
    Ok(Accepted::Ruleset(active))
}
