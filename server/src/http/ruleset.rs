//! `/api/v1/ruleset`: which modules decide what.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use raft3d_engine::core::state::modules::{self, ModuleInfo};
use raft3d_engine::core::state::rulesets::{self, Binding, Ruleset};
use raft3d_engine::core::{Accepted, Command, ModuleDigest, Revision};
use raft3d_engine::raft::api::{Consistency, ReadOptions};

use super::extract::{Caller, IfMatch, JsonBody, Params};
use super::fields::Door;
use super::limits::READ_TIME_MAX;
use super::problem::{Kind, Problem};
use super::wire::config;
use super::wire::ruleset::{RulesetV1, read_activate, read_rollback};
use super::{App, page_of, reply};
use crate::config_schema::{ConfigSchema, FAILURES_MAX, Failure};

pub(super) async fn show(State(app): State<App>, mut params: Params) -> Result<Response, Problem> {
    let options = params.read_options()?;
    params.finish(Door::V1)?;
    let read = app.read(options, |rows| {
        rulesets::active(rows)?
            .ok_or_else(|| Problem::new(Kind::NotBootstrapped, "the cluster has no ruleset yet"))
    });
    let (revision, active) = read.await?;
    let response = reply::json(StatusCode::OK, revision, &RulesetV1::from(&active))?;
    Ok(reply::with_etag(response, active.revision))
}

/// Two operators who edit at once must not undo each other's work unseen, so If-Match is required.
pub(super) async fn activate(
    State(app): State<App>,
    mut caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let if_match = caller.if_match.take().ok_or_else(|| {
        let detail = "send If-Match with the ETag of the ruleset that you have seen";
        Problem::new(Kind::PreconditionRequired, detail).with("field", "If-Match")
    })?;
    let activate = read_activate(body.fields(Door::V1)?, if_match.expected())?;
    if !app.is_answered(&caller).await {
        prepare(&app, &activate.ruleset).await?;
    }
    answer(&app, caller, Command::ActivateRuleset(activate)).await
}

pub(super) async fn rollback(
    State(app): State<App>,
    mut caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let expected = caller.if_match.take().and_then(IfMatch::expected);
    let rollback = read_rollback(body.optional_fields(Door::V1)?, expected)?;
    answer(&app, caller, Command::RollbackRuleset(rollback)).await
}

/// Compares configurations with their modules' schemas, and waits for the modules: no replica is to
/// compile in the middle of apply. A module that this node does not know is left to apply, which
/// says so.
async fn prepare(app: &App, ruleset: &Ruleset) -> Result<(), Problem> {
    let bindings = ruleset.bindings.clone();
    let options = ReadOptions {
        consistency: Consistency::Linearizable,
        min_revision: None,
        timeout: READ_TIME_MAX,
    };
    let known = app.read(options, move |rows| {
        let mut known = BTreeSet::new();
        let mut failures = Vec::new();
        for (place, binding) in bindings.iter().enumerate() {
            if let Some(info) = modules::get(rows, binding.module)? {
                known.insert(binding.module);
                failures.extend(config_failures(place, binding, &info));
            }
        }
        match refused(failures) {
            Some(problem) => Err(problem),
            None => Ok(known.into_iter().collect::<Vec<ModuleDigest>>()),
        }
    });
    let (_, known) = known.await?;
    Ok(app.backend.await_compiled(known).await?)
}

/// What the schema of a binding's module says against its configuration. A schema that this server
/// would not take today says nothing.
fn config_failures(place: usize, binding: &Binding, info: &ModuleInfo) -> Vec<Failure> {
    let schema = info.manifest.config_schema.as_deref();
    let Some(schema) = schema.and_then(|text| ConfigSchema::parse(text).ok()) else {
        return Vec::new();
    };
    let failures = schema.failures(&config::to_json(&binding.config));
    let whole = failures.into_iter().map(|failure| Failure {
        pointer: format!("/bindings/{place}/config{}", failure.pointer),
        message: format!("{} (binding '{}')", failure.message, binding.id),
    });
    whole.collect()
}

/// All failures as one problem: the first is its field, `details` lists as many as are told.
fn refused(failures: Vec<Failure>) -> Option<Problem> {
    let first = failures.first()?;
    let problem = Problem::field(&first.pointer, &first.message);
    let details: Vec<_> = failures
        .iter()
        .take(FAILURES_MAX)
        .map(Failure::to_string)
        .collect();
    Some(problem.with("details", details))
}

async fn answer(app: &App, caller: Caller, command: Command) -> Result<Response, Problem> {
    let written = app.write(caller, command).await?;
    let Accepted::Ruleset(active) = &written.accepted else {
        return Err(written.unexpected());
    };
    let response = reply::json(StatusCode::OK, written.revision, &RulesetV1::from(active))?;
    Ok(written.mark(reply::with_etag(response, active.revision)))
}

/// Newest first.
pub(super) async fn history(
    State(app): State<App>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (options, page) = (params.read_options()?, params.page()?);
    params.finish(Door::V1)?;
    let (limit, before) = (page.limit + 1, page.after_key()?.map(Revision));
    let read = app.read(options, move |rows| {
        Ok(rulesets::history(rows, before, limit)?)
    });
    let (revision, revisions) = read.await?;
    let items: Vec<_> = revisions.iter().map(RulesetV1::from).collect();
    page_of(&params, &page, revision, items, |item| {
        item.revision.to_string()
    })
}
