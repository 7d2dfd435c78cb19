//! Asking without applying: what policies would say to a request, by the code that applies it, with
//! every change thrown away.

use std::mem;

use raft3d_sdk::{AdmissionInput, Hook, Label, TransitionInput};

use super::entry_gas::EntryGas;
use super::policies::Panel;
use super::recorder::{Asked, Recorder};
use super::run;
use super::set_job_status::no_policy_bound;
use super::tx::{Stop, Tx};
use crate::command::{Actor, Command, Labels};
use crate::epoch::EPOCHS;
use crate::error::LocalFault;
use crate::ids::{JobId, Revision};
use crate::policy::PolicyHost;
use crate::rejection::Rejection;
use crate::state::decisions::Decision;
use crate::state::meta;
use crate::state::overlay::Overlay;
use crate::state::rows::ReadRows;
use crate::state::rulesets::{self, DecodedRuleset, Ruleset, RulesetRevision};

/// What a question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What policies were asked, as CBOR (`DecisionRecord::input`); none where the engine itself
    /// refused the request before it came to them.
    pub input: Option<Vec<u8>>,
    /// Every evaluation, in the order in which they were made.
    pub decisions: Vec<Decision>,
    /// Why the request would be refused; none where it would be accepted.
    pub rejection: Option<Rejection>,
}

impl Answered {
    fn new(asked: Option<Asked>, rejection: Option<Rejection>) -> Self {
        let (input, decisions) = match asked {
            Some(asked) => (Some(asked.input), asked.decisions),
            None => (None, Vec::new()),
        };
        Self {
            input,
            decisions,
            rejection,
        }
    }
}

/// Runs `command` of `actor` as if it were the entry at `index` and `ruleset` the active one, at
/// the log time of `rows`, and changes nothing: policies are asked exactly as apply would ask them.
///
/// # Errors
/// A fault of this replica.
pub fn rehearse(
    rows: &dyn ReadRows,
    index: Revision,
    actor: &Actor,
    command: &Command,
    ruleset: &RulesetRevision,
    host: &dyn PolicyHost,
) -> Result<Answered, LocalFault> {
    let mut overlay = Overlay::new(rows);
    rulesets::pretend_active(&mut overlay, ruleset)?;
    let mut decoded = DecodedRuleset::default();
    let totals = meta::totals(rows)?;
    let mut tx = Tx::new(&overlay, totals, index, actor, &mut decoded);
    let ran = run(&mut tx, command, host, EPOCHS);
    let asked = mem::take(&mut tx.recorder).into_question();
    let rejection = rejection_of(ran.map(drop))?;
    Ok(Answered::new(asked, rejection))
}

/// What policies would be asked about `command`, without asking them: `ruleset` only says which
/// lifecycle holds.
///
/// # Errors
/// A fault of this replica.
pub fn question(
    rows: &dyn ReadRows,
    index: Revision,
    actor: &Actor,
    command: &Command,
    ruleset: &RulesetRevision,
    host: &dyn PolicyHost,
) -> Result<Answered, LocalFault> {
    let unbound = RulesetRevision {
        ruleset: Ruleset::default(),
        ..ruleset.clone()
    };
    rehearse(rows, index, actor, command, &unbound, host)
}

/// Asks the bindings of `ruleset` for `hook` about `input`, as apply would in its place: the
/// enforcing ones in order, up to the one that decides, then the shadow ones.
///
/// # Errors
/// A fault of this replica, or `input` is not the CBOR of that hook's input.
pub fn ask(
    rows: &dyn ReadRows,
    ruleset: &RulesetRevision,
    hook: Hook,
    input: &[u8],
    host: &dyn PolicyHost,
) -> Result<Answered, LocalFault> {
    let about = About::read(hook, input)?;
    let recorder = Recorder::default();
    recorder.question_encoded(&about.job, ruleset, input.to_vec());
    let panel = Panel {
        host,
        rows,
        recorder: &recorder,
        gas: &EntryGas::default(),
        ruleset: &ruleset.ruleset,
        job: &about.job,
        printer_labels: &about.printer_labels,
        material: &about.material,
    };
    let rejection = rejection_of(ask_panel(&panel, hook))?;
    Ok(Answered::new(recorder.into_question(), rejection))
}

fn ask_panel(panel: &Panel<'_>, hook: Hook) -> Result<(), Stop> {
    match hook {
        Hook::Admission | Hook::Transition => {
            if panel.rule(hook)? == 0 && hook == Hook::Transition {
                return Err(no_policy_bound().into());
            }
            panel.shadow_rule(hook)?;
        }
        Hook::Deduction => {
            let (taken, _) = panel.deduction()?.unwrap_or_default();
            panel.shadow_deduction(taken)?;
        }
    }
    Ok(())
}

fn rejection_of(ran: Result<(), Stop>) -> Result<Option<Rejection>, LocalFault> {
    match ran {
        Ok(()) => Ok(None),
        Err(Stop::Rejected(rejection)) => Ok(Some(*rejection)),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

/// What of an input says which bindings are in scope.
struct About {
    job: JobId,
    printer_labels: Labels,
    material: String,
}

impl About {
    fn read(hook: Hook, input: &[u8]) -> Result<Self, LocalFault> {
        let malformed = |error: minicbor::decode::Error| {
            LocalFault::Runtime(format!("the input of {}: {error}", hook.name()))
        };
        let (job, printer, filament) = match hook {
            Hook::Admission => {
                let input: AdmissionInput<'_> = minicbor::decode(input).map_err(malformed)?;
                (input.job, input.printer, input.filament)
            }
            Hook::Transition | Hook::Deduction => {
                let input: TransitionInput<'_> = minicbor::decode(input).map_err(malformed)?;
                (input.job, input.printer, input.filament)
            }
        };
        let pair = |label: &Label<'_>| (label.key.to_owned(), label.value.to_owned());
        Ok(Self {
            job: JobId::new(job.id),
            printer_labels: printer.labels.iter().map(pair).collect(),
            material: filament.material.to_owned(),
        })
    }
}
