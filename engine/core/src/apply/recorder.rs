//! Notes what the policies are asked about an entry and what they say, for its decision record.

use std::cell::RefCell;

use minicbor::Encode;
use raft3d_sdk::manifest::ABI_VERSION;
use raft3d_sdk::{Hook, Warning};

use crate::error::LocalFault;
use crate::ids::{JobId, Revision};
use crate::state::decisions::{self, Decision, Evaluations, Verdict};
use crate::state::encode;
use crate::state::rulesets::{Binding, DecisionsKept, RulesetRevision};

/// What policies were asked about one entry, and what they said.
pub(super) struct Asked {
    job: JobId,
    ruleset: Revision,
    kept: DecisionsKept,
    /// CBOR of the hooks' input: the same for every binding and hook that is asked.
    pub(super) input: Vec<u8>,
    pub(super) decisions: Vec<Decision>,
}

impl Asked {
    /// The job in question, the entry's record, and what the active ruleset keeps of records.
    pub(super) fn into_parts(self, epoch: u32) -> (JobId, Evaluations, DecisionsKept) {
        let evaluations = Evaluations {
            epoch,
            ruleset: self.ruleset,
            input: self.input,
            decisions: self.decisions,
        };
        (self.job, evaluations, self.kept)
    }
}

/// Takes the notes. Behind a `RefCell`, because who asks the policies holds the transaction's rows
/// at the same time.
#[derive(Default)]
pub(super) struct Recorder(RefCell<Option<Asked>>);

impl Recorder {
    /// Begins: this is what is asked.
    pub(super) fn question<T: Encode<()>>(
        &self,
        job: &JobId,
        active: &RulesetRevision,
        input: &T,
    ) -> Result<(), LocalFault> {
        self.question_encoded(job, active, encode(input)?);
        Ok(())
    }

    /// Begins with an input that is CBOR already.
    pub(super) fn question_encoded(&self, job: &JobId, active: &RulesetRevision, input: Vec<u8>) {
        *self.0.borrow_mut() = Some(Asked {
            job: job.clone(),
            ruleset: active.revision,
            kept: active.ruleset.decisions_kept,
            input,
            decisions: Vec::new(),
        });
    }

    /// What the binding's module is sent.
    pub(super) fn call(&self, binding: &Binding) -> Result<Vec<u8>, LocalFault> {
        let asked = self.0.borrow();
        // Invariant: the question comes first (every command that asks begins with it).
        let input = asked.as_ref().map(|asked| asked.input.as_slice());
        decisions::call(input.unwrap_or_default(), &binding.config)
    }

    /// Notes one evaluation; `call` is what the module was sent.
    pub(super) fn decision(
        &self,
        binding: &Binding,
        hook: Hook,
        call: &[u8],
        gas: u64,
        (verdict, warnings): (Verdict, Vec<Warning>),
    ) {
        let mut asked = self.0.borrow_mut();
        let Some(asked) = asked.as_mut() else { return };
        asked.decisions.push(Decision {
            binding: binding.id.clone(),
            module: binding.module,
            abi: ABI_VERSION,
            hook,
            mode: binding.mode,
            input_digest: decisions::call_digest(call),
            verdict,
            warnings,
            gas,
        });
    }

    /// What was noted; none where no policy was asked.
    pub(super) fn into_asked(self) -> Option<Asked> {
        let asked = self.into_question();
        asked.filter(|asked| !asked.decisions.is_empty())
    }

    /// The question and what was noted; none where it did not come to a question.
    pub(super) fn into_question(self) -> Option<Asked> {
        self.0.into_inner()
    }
}
