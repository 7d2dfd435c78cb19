//! Asking the policies: which bindings are in scope, what they are sent, how an answer is read.

use raft3d_sdk::wire::{self, OutputProblem};
use raft3d_sdk::{
    ConfigVerdict, DeductionOutput, Deny, DenyClass, Grams, Hook, RuleOutput, Warning,
};

use super::entry_gas::EntryGas;
use super::recorder::Recorder;
use super::tx::Stop;
use crate::command::Labels;
use crate::error::LocalFault;
use crate::event::EventKind;
use crate::ids::{BindingId, JobId, ModuleDigest};
use crate::limits::{GAS_PER_ENTRY_MAX, GAS_PER_EVALUATION_MAX};
use crate::policy::{
    Decided, Evaluation, Export, ModuleSource, PolicyCall, PolicyError, PolicyHost, Said,
};
use crate::rejection::{PolicyRefusal, Rejection, RejectionKind};
use crate::state::decisions::Verdict;
use crate::state::modules;
use crate::state::rows::ReadRows;
use crate::state::rulesets::{Binding, Mode, Ruleset, SHARE_ALL, Scope};

/// An answer to a hook.
trait Answer: Sized {
    /// Reads it, with every limit of its fields.
    fn read(bytes: &[u8]) -> Result<Self, OutputProblem>;

    /// What its record says.
    fn noted(&self) -> (Verdict, Vec<Warning>);
}

impl Answer for RuleOutput {
    fn read(bytes: &[u8]) -> Result<Self, OutputProblem> {
        wire::decode_rule_output(bytes)
    }

    fn noted(&self) -> (Verdict, Vec<Warning>) {
        (Verdict::from(self), self.warnings.clone())
    }
}

impl Answer for DeductionOutput {
    fn read(bytes: &[u8]) -> Result<Self, OutputProblem> {
        wire::decode_deduction_output(bytes)
    }

    fn noted(&self) -> (Verdict, Vec<Warning>) {
        (Verdict::from(self), Vec::new())
    }
}

/// The rows, as the host sees them.
struct Modules<'a>(&'a dyn ReadRows);

impl ModuleSource for Modules<'_> {
    fn module_bytes(&self, module: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault> {
        modules::bytes(self.0, module)
    }
}

/// Asks the binding's module whether it takes its configuration.
pub(super) fn check_config(
    host: &dyn PolicyHost,
    rows: &dyn ReadRows,
    gas: &EntryGas,
    binding: &Binding,
) -> Result<Result<ConfigVerdict, PolicyError>, LocalFault> {
    let asking = Asking { host, rows, gas };
    let output = asking
        .evaluate(binding, Export::CheckConfig, &binding.config)?
        .output;
    Ok(output
        .and_then(|bytes| wire::decode_config_verdict(&bytes).map_err(|_| PolicyError::BadOutput)))
}

/// What an evaluation needs beside the question.
struct Asking<'a> {
    host: &'a dyn PolicyHost,
    rows: &'a dyn ReadRows,
    gas: &'a EntryGas,
}

impl Asking<'_> {
    /// Makes one evaluation, with what is left of the entry's gas.
    ///
    /// Whether the state holds the module is decided here, by its row, and not by the host: one that
    /// is compiled already is not looked up again, so a deleted module would still answer on a
    /// replica that has it in memory and not on one that restarted.
    fn evaluate(
        &self,
        binding: &Binding,
        export: Export,
        input: &[u8],
    ) -> Result<Evaluation, LocalFault> {
        let without = |error| Evaluation {
            gas: 0,
            output: Err(error),
        };
        if !modules::is_there(self.rows, binding.module)? {
            return Ok(without(PolicyError::UnknownModule));
        }
        let gas = self.gas.of_next(binding.mode);
        if gas == 0 {
            return Ok(without(PolicyError::EntryOutOfGas));
        }
        let call = PolicyCall {
            module: binding.module,
            export,
            input,
            gas,
        };
        let mut evaluation = self.host.evaluate(&call, &Modules(self.rows))?;
        self.gas.spend(binding.mode, evaluation.gas);
        if gas < GAS_PER_EVALUATION_MAX && evaluation.output == Err(PolicyError::OutOfGas) {
            evaluation.output = Err(PolicyError::EntryOutOfGas);
        }
        Ok(evaluation)
    }
}

/// The policies that are asked one question ([`Recorder::question`]).
pub(super) struct Panel<'a> {
    pub(super) host: &'a dyn PolicyHost,
    pub(super) rows: &'a dyn ReadRows,
    pub(super) recorder: &'a Recorder,
    pub(super) gas: &'a EntryGas,
    pub(super) ruleset: &'a Ruleset,
    pub(super) job: &'a JobId,
    /// Labels of the printer.
    pub(super) printer_labels: &'a Labels,
    /// Material of the filament.
    pub(super) material: &'a str,
}

impl<'a> Panel<'a> {
    /// Asks the enforcing bindings in order; the first denial is the answer. Answers how many were
    /// asked: what none means is for the caller to say.
    pub(super) fn rule(&self, hook: Hook) -> Result<usize, Stop> {
        let mut asked = 0;
        for binding in self.bound(hook, Mode::Enforce) {
            asked += 1;
            match self.ask::<RuleOutput>(binding, hook)? {
                Ok(RuleOutput { deny: None, .. }) => {}
                Ok(RuleOutput {
                    deny: Some(deny), ..
                }) => {
                    return Err(self.denied(binding, hook, deny)?.into());
                }
                Err(error) => return Err(self.failed(binding, hook, error)?.into()),
            }
        }
        Ok(asked)
    }

    /// Asks the enforcing bindings in order what to take; the first that does not pass decides.
    pub(super) fn deduction(&self) -> Result<Option<(Grams, String)>, Stop> {
        let hook = Hook::Deduction;
        for binding in self.bound(hook, Mode::Enforce) {
            match self.ask::<DeductionOutput>(binding, hook)? {
                Ok(DeductionOutput { take: None, .. }) => {}
                Ok(DeductionOutput {
                    take: Some(grams),
                    reason,
                }) => {
                    return Ok(Some((grams, reason)));
                }
                Err(error) => return Err(self.failed(binding, hook, error)?.into()),
            }
        }
        Ok(None)
    }

    /// Asks the shadow bindings what they would have said to an allowed question.
    pub(super) fn shadow_rule(&self, hook: Hook) -> Result<Vec<EventKind>, LocalFault> {
        let mut verdicts = Vec::new();
        for binding in self.bound(hook, Mode::Shadow) {
            match self.ask::<RuleOutput>(binding, hook)? {
                Ok(RuleOutput { deny: None, .. }) => {}
                Ok(RuleOutput {
                    deny: Some(deny), ..
                }) => {
                    verdicts.push(self.verdict(binding, hook, &deny.code));
                }
                Err(error) => verdicts.push(self.verdict(binding, hook, error.code())),
            }
        }
        Ok(verdicts)
    }

    /// Asks the shadow bindings what they would have taken; another amount than `taken` is recorded
    /// under the code [`OTHER_DEDUCTION`]. One that passes has no opinion.
    pub(super) fn shadow_deduction(&self, taken: Grams) -> Result<Vec<EventKind>, LocalFault> {
        let hook = Hook::Deduction;
        let mut verdicts = Vec::new();
        for binding in self.bound(hook, Mode::Shadow) {
            match self.ask::<DeductionOutput>(binding, hook)? {
                Ok(DeductionOutput {
                    take: Some(grams), ..
                }) if grams != taken => {
                    verdicts.push(self.verdict(binding, hook, OTHER_DEDUCTION));
                }
                Ok(_) => {}
                Err(error) => verdicts.push(self.verdict(binding, hook, error.code())),
            }
        }
        Ok(verdicts)
    }

    /// The bindings that answer `hook` in this mode for this job.
    fn bound(&self, hook: Hook, mode: Mode) -> impl Iterator<Item = &'a Binding> {
        let in_scope = |scope: &Scope| match scope {
            Scope::All => true,
            Scope::PrinterLabel { key, value } => self.printer_labels.get(key) == Some(value),
            Scope::FilamentType(material) => self.material.eq_ignore_ascii_case(material),
        };
        self.ruleset.bindings.iter().filter(move |binding| {
            binding.mode == mode
                && binding.hooks.contains(hook)
                && in_scope(&binding.scope)
                && in_share(&binding.id, binding.share, self.job)
        })
    }

    fn ask<A: Answer>(
        &self,
        binding: &Binding,
        hook: Hook,
    ) -> Result<Result<A, PolicyError>, LocalFault> {
        let input = self.recorder.call(binding)?;
        let asking = Asking {
            host: self.host,
            rows: self.rows,
            gas: self.gas,
        };
        let Evaluation { gas, output } = asking.evaluate(binding, Export::Hook(hook), &input)?;
        let answer = output.and_then(|bytes| A::read(&bytes).map_err(|_| PolicyError::BadOutput));
        let noted = match &answer {
            Ok(answer) => answer.noted(),
            Err(error) => (Verdict::Failed(*error), Vec::new()),
        };
        self.host.decided(&Decided {
            binding: &binding.id,
            module: binding.module,
            hook,
            is_shadow: binding.mode == Mode::Shadow,
            said: said(&noted.0),
        });
        self.recorder.decision(binding, hook, &input, gas, noted);
        Ok(answer)
    }

    fn denied(&self, binding: &Binding, hook: Hook, deny: Deny) -> Result<Rejection, LocalFault> {
        let policy = self.refusal(binding, hook, deny.class, deny.code)?;
        let mut rejection = Rejection::new(RejectionKind::PolicyDenied, deny.message);
        rejection.field = deny.field;
        rejection.policy = Some(policy);
        Ok(rejection)
    }

    fn failed(
        &self,
        binding: &Binding,
        hook: Hook,
        error: PolicyError,
    ) -> Result<Rejection, LocalFault> {
        let code = error.code();
        let policy = self.refusal(binding, hook, DenyClass::Denied, code.to_owned())?;
        let mut message = format!(
            "the policy '{}' (binding '{}') gave no answer to {}: {code}",
            policy.module_name,
            binding.id,
            hook.name()
        );
        if error == PolicyError::EntryOutOfGas {
            message.push_str(&format!(
                "; the bindings before it left too little of the {GAS_PER_ENTRY_MAX} gas of one \
                 request: bind fewer policies, or cheaper ones"
            ));
        }
        let mut rejection = Rejection::new(RejectionKind::PolicyFailed, message);
        rejection.policy = Some(policy);
        Ok(rejection)
    }

    fn refusal(
        &self,
        binding: &Binding,
        hook: Hook,
        class: DenyClass,
        code: String,
    ) -> Result<PolicyRefusal, LocalFault> {
        let info = modules::get(self.rows, binding.module)?;
        Ok(PolicyRefusal {
            binding: binding.id.clone(),
            module: binding.module,
            module_name: info.map(|info| info.manifest.name).unwrap_or_default(),
            hook: hook.name().to_owned(),
            class,
            code,
        })
    }

    fn verdict(&self, binding: &Binding, hook: Hook, code: &str) -> EventKind {
        EventKind::ShadowVerdict {
            binding: binding.id.clone(),
            job: self.job.clone(),
            hook,
            code: Some(code.to_owned()),
        }
    }
}

/// A verdict in a word.
fn said(verdict: &Verdict) -> Said<'_> {
    match verdict {
        Verdict::Allow => Said::Allow,
        Verdict::Deny { code, .. } => Said::Deny(code),
        Verdict::Pass => Said::Pass,
        Verdict::Take { .. } => Said::Take,
        Verdict::Failed(error) => Said::Failed(*error),
    }
}

/// Code of a shadow verdict: it would have taken another amount.
const OTHER_DEDUCTION: &str = "other_deduction";

/// Whether `job` belongs to the binding's share of all jobs: the first eight bytes of
/// BLAKE3(binding id, 0, job id) as a little-endian number, modulo 10,000, is below the share.
fn in_share(binding: &BindingId, share: u16, job: &JobId) -> bool {
    if share >= SHARE_ALL {
        return true;
    }
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(binding.as_str().as_bytes())
        .update(&[0])
        .update(job.as_str().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) % u64::from(SHARE_ALL) < u64::from(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_same_jobs_every_time() {
        let binding = BindingId::new("b1");
        let chosen = |share| {
            let jobs = (0..10_000).map(|n| JobId::new(format!("job{n}")));
            jobs.filter(|job| in_share(&binding, share, job)).count()
        };
        assert_eq!(chosen(0), 0);
        assert_eq!(chosen(SHARE_ALL), 10_000);
        // A replicated choice: this number changes only if the formula does.
        assert_eq!(chosen(2_500), SHARE_GOLDEN);
    }

    const SHARE_GOLDEN: usize = 2_542;
}
