//! The client API: a router over one table of calls, one file per resource.
//!
//! Architecture Invariant: nothing here knows a rule of the print shop. Handlers check shapes,
//! build a [`Command`] and show what came of it; every rule is checked where entries are applied.

mod classic;
mod clock;
mod cluster;
mod decisions;
mod docs;
mod evaluate;
mod extract;
mod fields;
mod filaments;
mod health;
mod limits;
mod listener;
mod metrics;
mod nearly_full;
mod pace;
mod places;
mod policies;
mod print_jobs;
mod printers;
mod problem;
mod reply;
mod ruleset;
mod stall;
mod turns;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use raft3d_engine::core::state::requests;
use raft3d_engine::core::{Accepted, Command, ReadRows, Rejection, Response as Answer, Revision};
use raft3d_engine::raft::api::{Consistency, ReadOptions, WriteRequest};

use crate::backend::{Backend, DRY_RUNS_MAX, UPLOADS_MAX};
use extract::{Caller, Page, Params};
use limits::{ANSWERED_TIME_MAX, DRY_RUN_WAIT_MAX, UPLOAD_WAIT_MAX, WRITE_TIME_MAX};
use pace::Pace;
use problem::{Kind, Problem};
use turns::Turns;

pub(crate) use fields::Fields;
pub use listener::serve;
pub use wire::config::EMPTY_CONFIG;
pub(crate) use wire::config::{to_cbor as config_to_cbor, to_json as config_to_json};
#[cfg(test)]
pub(crate) use wire::decision::record_to_json;
pub(crate) use wire::decision::verdict_to_json;
pub(crate) use wire::hook_input::HookInput;
pub(crate) use wire::ruleset::read_activate;
pub(crate) use wire::time::{TimeOut, parse_time};

/// What every handler gets: the node.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) backend: Arc<dyn Backend>,
    pace: Arc<Pace>,
    dry_runs: Arc<Turns>,
    uploads: Arc<Turns>,
}

/// What a call takes as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// None; what is sent is ignored.
    None,
    /// A JSON object.
    Json,
    /// A JSON object or nothing.
    JsonOptional,
    /// A module.
    Wasm,
}

/// One call of the API.
pub(crate) struct Call {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the tests that walk the table")
    )]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the tests that walk the table")
    )]
    pub(crate) body: BodyKind,
    handler: MethodRouter<App>,
}

/// Every call of the API. Tests walk through this table too, so that no call is forgotten.
pub(crate) fn calls() -> Vec<Call> {
    use BodyKind::{Json, JsonOptional, None, Wasm};
    let read = |path, handler| Call {
        method: Method::GET,
        path,
        body: None,
        handler,
    };
    let write = |path, body, handler| Call {
        method: Method::POST,
        path,
        body,
        handler,
    };
    let remove = |path, handler| Call {
        method: Method::DELETE,
        path,
        body: None,
        handler,
    };
    let v1_ruleset = "/api/v1/ruleset";
    vec![
        write("/printers", Json, post(classic::create_printer)),
        read("/printers", get(classic::list_printers)),
        write("/filaments", Json, post(classic::create_filament)),
        read("/filaments", get(classic::list_filaments)),
        write("/printjobs", Json, post(classic::create_job)),
        read("/printjobs", get(classic::list_jobs)),
        write(
            "/printjobs/{id}/status",
            JsonOptional,
            post(classic::set_job_status),
        ),
        write("/api/v1/printers", Json, post(printers::create)),
        read("/api/v1/printers", get(printers::list)),
        read("/api/v1/printers/{id}", get(printers::show)),
        write("/api/v1/filaments", Json, post(filaments::create)),
        read("/api/v1/filaments", get(filaments::list)),
        read("/api/v1/filaments/{id}", get(filaments::show)),
        write("/api/v1/print_jobs", Json, post(print_jobs::create)),
        read("/api/v1/print_jobs", get(print_jobs::list)),
        read("/api/v1/print_jobs/{id}", get(print_jobs::show)),
        write(
            "/api/v1/print_jobs/{id}/status",
            JsonOptional,
            post(print_jobs::set_status),
        ),
        read("/api/v1/print_jobs/{id}/decisions", get(decisions::of_job)),
        read("/api/v1/decisions", get(decisions::list)),
        write("/api/v1/policies", Wasm, post(policies::upload)),
        read("/api/v1/policies", get(policies::list)),
        write("/api/v1/policies/evaluate", Json, post(evaluate::evaluate)),
        read("/api/v1/policies/{id}", get(policies::show)),
        read("/api/v1/policies/{id}/module", get(policies::module)),
        remove("/api/v1/policies/{id}", delete(policies::remove)),
        read(v1_ruleset, get(ruleset::show)),
        Call {
            method: Method::PUT,
            path: v1_ruleset,
            body: Json,
            handler: put(ruleset::activate),
        },
        read("/api/v1/ruleset/revisions", get(ruleset::history)),
        write(
            "/api/v1/ruleset/rollback",
            JsonOptional,
            post(ruleset::rollback),
        ),
        read("/api/v1/cluster", get(cluster::show)),
        read("/api/v1/cluster/clock", get(clock::show)),
        Call {
            method: Method::PUT,
            path: "/api/v1/cluster/clock",
            body: Json,
            handler: put(clock::adjust),
        },
        write("/api/v1/cluster/members", Json, post(cluster::add_member)),
        write(
            "/api/v1/cluster/members/{id}/promote",
            None,
            post(cluster::promote),
        ),
        remove("/api/v1/cluster/members/{id}", delete(cluster::remove)),
        Call {
            method: Method::PATCH,
            path: "/api/v1/cluster/members/{id}",
            body: Json,
            handler: patch(cluster::readdress),
        },
        write("/api/v1/cluster/leader", Json, post(cluster::transfer)),
        read("/docs/problems", get(docs::problems)),
        read("/docs/problems/{slug}", get(docs::problem)),
        read("/healthz", get(health::healthz)),
        read("/readyz", get(health::readyz)),
        read("/metrics", get(metrics::metrics)),
    ]
}

/// The whole API on top of `backend`.
pub fn router(backend: Arc<dyn Backend>) -> Router {
    let app = App {
        backend,
        pace: Arc::default(),
        dry_runs: Turns::new(DRY_RUNS_MAX as usize, DRY_RUN_WAIT_MAX),
        uploads: Turns::new(UPLOADS_MAX, UPLOAD_WAIT_MAX),
    };
    let mut router = Router::new();
    for call in calls() {
        router = router.route(call.path, call.handler);
    }
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(app.clone(), stamp))
        .with_state(app)
}

async fn no_such_path(request: Request) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("there is nothing at {}", request.uri().path()),
    )
}

async fn no_such_method(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(
        Kind::MethodNotAllowed,
        format!("{method} is not allowed at {path}"),
    )
}

/// Puts the revision on every answer that has none yet: what this node has applied.
async fn stamp(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if !response.headers().contains_key(reply::REVISION) {
        reply::insert_revision(response.headers_mut(), app.backend.status().applied);
    }
    response
}

/// A write that was accepted.
pub(crate) struct Written {
    pub(crate) revision: Revision,
    pub(crate) replayed: bool,
    pub(crate) accepted: Accepted,
    certain_since_ms: Option<u64>,
}

impl Written {
    /// `response` with the mark of a stored answer, if it is one, and what the client is to know of its
    /// keys.
    pub(crate) fn mark(&self, mut response: Response) -> Response {
        if self.replayed {
            reply::mark_replayed(response.headers_mut());
        }
        reply::insert_certain_since(response.headers_mut(), self.certain_since_ms);
        response
    }

    /// An answer of another kind than the command asks for: a fault.
    pub(crate) fn unexpected(&self) -> Problem {
        Problem::internal(format!("an entry was answered with {:?}", self.accepted))
    }
}

impl App {
    /// Makes a write that says what the client asked for and nothing else; a rejection is a problem.
    pub(crate) async fn write(&self, caller: Caller, command: Command) -> Result<Written, Problem> {
        self.write_as(caller, command, None).await
    }

    /// [`Self::write`] of a command that holds more than the client asked for: what a look at the
    /// state or at this node found for it. A retry, which finds something else, is known by `asked`:
    /// the call and all that the client said of it.
    pub(crate) async fn write_found(
        &self,
        caller: Caller,
        command: Command,
        asked: &impl serde::Serialize,
    ) -> Result<Written, Problem> {
        let asked = serde_json::to_vec(asked).map_err(Problem::internal)?;
        self.write_as(caller, command, Some(asked)).await
    }

    /// Whether a write under the caller's key has its answer already: it must not be looked at again
    /// whether it can be done. A node that cannot read does not know of it.
    pub(crate) async fn is_answered(&self, caller: &Caller) -> bool {
        let Some(key) = caller.key.clone() else {
            return false;
        };
        let actor = caller.actor.clone();
        let options = ReadOptions {
            consistency: Consistency::Linearizable,
            min_revision: None,
            timeout: ANSWERED_TIME_MAX,
        };
        let read = self.read_row(options, move |rows| Ok(requests::get(rows, &actor, &key)?));
        matches!(read.await, Ok((_, Some(_))))
    }

    async fn write_as(
        &self,
        caller: Caller,
        command: Command,
        asked: Option<Vec<u8>>,
    ) -> Result<Written, Problem> {
        if caller.if_match.is_some() {
            return Err(Problem::header("If-Match", "is not supported on this call"));
        }
        let client_key = caller.key.is_some();
        let request = WriteRequest {
            command,
            asked,
            actor: caller.actor,
            idempotency_key: caller.key,
            timeout: WRITE_TIME_MAX,
        };
        let outcome = self.backend.write(request).await;
        let outcome = outcome.map_err(|error| Problem::from_write(error, client_key))?;
        let (revision, replayed) = (outcome.revision, outcome.replayed);
        let certain_since_ms = outcome.certain_since_ms;
        match outcome.response {
            Answer::Accepted(accepted) => Ok(Written {
                revision,
                replayed,
                accepted,
                certain_since_ms,
            }),
            Answer::Rejected(rejection) => Err(Problem::from(self.with_true_wait(rejection))
                .revision(revision)
                .replayed(replayed)
                .certain_since(certain_since_ms)),
        }
    }

    /// The rejection with the time to wait on this node's clock. The state names it in log time, which
    /// may stand still until the clocks have caught up with it.
    fn with_true_wait(&self, rejection: Rejection) -> Rejection {
        let retry_after_ms = rejection.retry_after_ms.map(|wait_ms| {
            let stands_ms = self.backend.status().clock.log_time_ahead_ms();
            wait_ms.saturating_add(stands_ms)
        });
        Rejection {
            retry_after_ms,
            ..rejection
        }
    }

    /// Reads a row or two from one view. That is less work than handing it to another thread, as
    /// long as the disk is not slow.
    pub(crate) async fn read_row<T: Send + 'static>(
        &self,
        options: ReadOptions,
        read: impl FnOnce(&dyn ReadRows) -> Result<T, Problem> + Send + 'static,
    ) -> Result<(Revision, T), Problem> {
        if self.pace.is_slow() {
            return self.read(options, read).await;
        }
        let view = self.backend.read(options).await?;
        let begun = Instant::now();
        let result = read(&*view.rows);
        self.pace.note(begun);
        match result {
            Ok(value) => Ok((view.revision, value)),
            Err(problem) => Err(problem.revision(view.revision)),
        }
    }

    /// Reads from one view, on a thread that may wait for the disk.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        options: ReadOptions,
        read: impl FnOnce(&dyn ReadRows) -> Result<T, Problem> + Send + 'static,
    ) -> Result<(Revision, T), Problem> {
        let view = self.backend.read(options).await?;
        let revision = view.revision;
        let result = tokio::task::spawn_blocking(move || read(&*view.rows)).await;
        match result.map_err(Problem::internal)? {
            Ok(value) => Ok((revision, value)),
            Err(problem) => Err(problem.revision(revision)),
        }
    }
}

/// Shows up to `page.limit` of `items` and links to the next page where there are more; `key`
/// names an item's place in the order.
pub(crate) fn page_of<T: serde::Serialize>(
    params: &Params,
    page: &Page,
    revision: Revision,
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
) -> Result<Response, Problem> {
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let next = items.last().filter(|_| more).map(key);
    list_of(params, revision, &items, next)
}

/// Shows `items`, and links to the page after `next` where there is one.
pub(crate) fn list_of<T: serde::Serialize>(
    params: &Params,
    revision: Revision,
    items: &[T],
    next: Option<String>,
) -> Result<Response, Problem> {
    let mut response = reply::json(axum::http::StatusCode::OK, revision, &items)?;
    if let Some(last) = next {
        let link = params
            .next_page(&last)
            .try_into()
            .map_err(Problem::internal)?;
        response
            .headers_mut()
            .insert(axum::http::header::LINK, link);
    }
    Ok(response)
}
