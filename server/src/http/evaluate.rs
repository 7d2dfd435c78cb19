//! `POST /api/v1/policies/evaluate`: what policies would say. Nothing is written, and nothing that
//! is written waits for it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::core::apply::dry_run::{self, Answered};
use raft3d_engine::core::command::Actor;
use raft3d_engine::core::review::review_config;
use raft3d_engine::core::state::rulesets::RulesetRevision;
use raft3d_engine::core::state::rulesets::{self, Binding, Mode, Ruleset, SHARE_ALL, Scope};
use raft3d_engine::core::state::{decisions, meta, modules};
use raft3d_engine::core::{
    BindingId, Command, Export, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyHost,
    ReadRows, Rejection, Revision,
};
use raft3d_engine::policy::Listener;
use raft3d_engine::sdk::{Hook, HookSet, wire as guest};

use super::extract::{Caller, JsonBody, Params};
use super::fields::Door;
use super::places::Sender;
use super::problem::{Kind, Problem};
use super::wire::evaluate::{Asked, Evaluate, EvaluateOut, Question, Rules, read_evaluate};
use super::wire::hook_input::HookInput;
use super::{App, reply};
use crate::backend::DRY_RUNS_MAX;

/// The binding of a module that is asked by itself.
const ALONE: &str = "dry-run";

pub(super) async fn evaluate(
    State(app): State<App>,
    sender: Sender,
    caller: Caller,
    mut params: Params,
    body: JsonBody,
) -> Result<Response, Problem> {
    let options = params.read_options()?;
    params.finish(Door::V1)?;
    if caller.if_match.is_some() {
        return Err(Problem::header("If-Match", "is not supported on this call"));
    }
    let asked = read_evaluate(body.fields(Door::V1)?)?;
    let busy = || {
        let detail = format!(
            "this node answers {DRY_RUNS_MAX} dry runs at once, and one of an address; try again"
        );
        Problem::new(Kind::Overloaded, detail)
    };
    let turn = app.dry_runs.take(sender.source()).await;
    let turn = turn.ok_or_else(busy)?;
    let leave = app.backend.dry_run().ok_or_else(busy)?;
    let view = app.backend.read(options).await?;
    let revision = view.revision;
    let answer = tokio::task::spawn_blocking(move || {
        let listener = Listener::new(&*leave.host);
        let desk = Desk {
            rows: &*view.rows,
            revision,
            actor: &caller.actor,
            host: &listener,
        };
        let answer = desk.answer(&asked);
        // The view, the leave and the turn last as long as the work.
        drop((leave.permit, turn));
        answer
    });
    let answer = answer.await.map_err(Problem::internal)?;
    answer.map_err(|problem| problem.revision(revision))
}

/// The state that is asked about, and who asks whom.
struct Desk<'a> {
    rows: &'a dyn ReadRows,
    revision: Revision,
    actor: &'a Actor,
    host: &'a Listener<'a>,
}

impl Desk<'_> {
    fn answer(&self, evaluate: &Evaluate) -> Result<Response, Problem> {
        let (rules, ruleset) = self.rules(&evaluate.rules, evaluate.hook)?;
        let (answered, hook) = self.ask(evaluate, &rules)?;
        let Some(input) = &answered.input else {
            // What the engine refuses before it asks is refused here, too.
            return Err(match answered.rejection {
                Some(rejection) => refused(&evaluate.question, rejection),
                None => Problem::internal("nothing was asked"),
            });
        };
        let asked = Asked {
            revision: self.revision,
            ruleset,
            log_time_ms: meta::log_time_ms(self.rows)?,
            input: HookInput::from_cbor(hook, input).map_err(Problem::internal)?,
        };
        let rejection = answered.rejection.clone();
        let problem = rejection.map(|rejection| refused(&evaluate.question, rejection));
        let out = EvaluateOut::new(asked, &answered, problem.as_ref(), |decision| {
            self.host.panic_of(decision.module, &decision.input_digest)
        });
        reply::json(StatusCode::OK, self.revision, &out)
    }

    /// The rules to ask, and their revision; for a module by itself, a ruleset that binds it to
    /// `hook` alone.
    fn rules(
        &self,
        rules: &Rules,
        hook: Option<Hook>,
    ) -> Result<(RulesetRevision, Option<Revision>), Problem> {
        let active = rulesets::active(self.rows)?;
        let active = active
            .ok_or_else(|| Problem::new(Kind::NotBootstrapped, "the cluster has no ruleset yet"));
        match rules {
            Rules::Active => active.map(|active| (active.clone(), Some(active.revision))),
            Rules::Revision(revision) => {
                let kept = rulesets::get(self.rows, *revision)?;
                let kept = kept.ok_or_else(|| Problem::not_found("kept ruleset", revision))?;
                Ok((kept, Some(*revision)))
            }
            Rules::Module(module, config) => {
                let alone = self.alone(active?, *module, config, hook)?;
                Ok((alone, None))
            }
        }
    }

    fn alone(
        &self,
        active: RulesetRevision,
        module: ModuleDigest,
        config: &[u8],
        hook: Option<Hook>,
    ) -> Result<RulesetRevision, Problem> {
        let info = modules::get(self.rows, module)?.ok_or_else(|| {
            let detail = format!("there is no module {module}; upload it first");
            Problem::new(Kind::UnknownReference, detail).at("/module")
        })?;
        let hooks = HookSet::of(hook.as_slice());
        if !info.manifest.hooks.contains_all(hooks) {
            let known: Vec<_> = info.manifest.hooks.iter().map(Hook::name).collect();
            let why = format!("the module answers only: {}", known.join(", "));
            return Err(Problem::field("/hook", why));
        }
        // A module that brings its states is asked about those.
        let own = info.manifest.lifecycle.as_ref();
        let lifecycle = own.unwrap_or(&active.lifecycle);
        let reviewed = review_config(config, &info.manifest, lifecycle);
        if let Some(finding) = reviewed.problems.first() {
            let at = format!("/config{}", finding.pointer);
            return Err(Problem::field(&at, &finding.message));
        }
        self.check_config(module, &reviewed.config)?;
        let binding = Binding {
            id: BindingId::new(ALONE),
            module,
            hooks,
            scope: Scope::All,
            mode: Mode::Enforce,
            share: SHARE_ALL,
            lifecycle: false,
            config: reviewed.config,
        };
        let ruleset = Ruleset {
            bindings: vec![binding],
            ..Ruleset::default()
        };
        Ok(RulesetRevision {
            ruleset,
            lifecycle: lifecycle.clone(),
            ..active
        })
    }

    /// A configuration that could not be activated is not worth an answer.
    fn check_config(&self, module: ModuleDigest, config: &[u8]) -> Result<(), Problem> {
        let call = PolicyCall::new(module, Export::CheckConfig, config);
        let output = self.host.evaluate(&call, &Modules(self.rows))?.output;
        let failed = |code: &str| {
            let digest = decisions::call_digest(config);
            let said = self.host.panic_of(module, &digest).unwrap_or_default();
            let why = format!("check_config gave no answer: {code} {said}");
            Problem::field("/config", why.trim_end())
        };
        let bytes = output.map_err(|error| failed(error.code()))?;
        let verdict = guest::decode_config_verdict(&bytes).map_err(|_| failed("bad_output"))?;
        match verdict.problem {
            None => Ok(()),
            Some(problem) => {
                let at = format!("/config{}", verdict.pointer.unwrap_or_default());
                Err(Problem::field(&at, problem))
            }
        }
    }

    /// The answer, and one of the hooks that its input is for.
    fn ask(
        &self,
        evaluate: &Evaluate,
        rules: &RulesetRevision,
    ) -> Result<(Answered, Hook), Problem> {
        let index = Revision(self.revision.0 + 1);
        let command = match &evaluate.question {
            Question::Given(input) => {
                let hook = evaluate.hook.unwrap_or(Hook::Admission);
                let input = input.to_cbor();
                let answered = dry_run::ask(self.rows, rules, hook, &input, self.host)?;
                return Ok((answered, hook));
            }
            Question::Real(command) => command,
        };
        let kind = match &**command {
            Command::CreateJob(_) => Hook::Admission,
            _ => Hook::Transition,
        };
        let Some(hook) = evaluate.hook else {
            let all = dry_run::rehearse(self.rows, index, self.actor, command, rules, self.host)?;
            return Ok((all, kind));
        };
        let question = dry_run::question(self.rows, index, self.actor, command, rules, self.host)?;
        let Some(input) = &question.input else {
            return Ok((question, kind));
        };
        let answered = dry_run::ask(self.rows, rules, hook, input, self.host)?;
        Ok((answered, hook))
    }
}

/// A rejection, with the places of this call's body.
fn refused(question: &Question, mut rejection: Rejection) -> Problem {
    let is_new =
        matches!(question, Question::Real(command) if matches!(**command, Command::CreateJob(_)));
    if is_new && let Some(field) = &mut rejection.field {
        field.insert_str(0, "/job");
    }
    Problem::from(rejection)
}

struct Modules<'a>(&'a dyn ReadRows);

impl ModuleSource for Modules<'_> {
    fn module_bytes(&self, module: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault> {
        modules::bytes(self.0, module)
    }
}
