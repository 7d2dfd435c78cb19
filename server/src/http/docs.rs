//! `/docs/problems`: what each kind of problem means. Pages for people, made of the same table as
//! the answers.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::extract::PathId;
use super::problem::{Kind, Problem, TYPE_PREFIX};
use super::{App, reply};

/// All kinds, one a line.
pub(super) async fn problems(State(app): State<App>) -> Response {
    let line = |kind: &Kind| {
        let row = kind.row();
        let status = row.status.as_u16();
        format!("{status}  {TYPE_PREFIX}{}  {}\n", row.slug, row.title)
    };
    let page: String = Kind::ALL.iter().map(line).collect();
    reply::text(StatusCode::OK, Some(app.backend.status().applied), &page)
}

/// One kind: what is the matter, and what to do about it.
pub(super) async fn problem(
    State(app): State<App>,
    PathId(slug): PathId,
) -> Result<Response, Problem> {
    let mut kinds = Kind::ALL.iter().map(|kind| kind.row());
    let row = kinds
        .find(|row| row.slug == slug)
        .ok_or_else(|| Problem::not_found("kind of problem", slug))?;
    let page = format!(
        "{}\n\nType:    {TYPE_PREFIX}{}\nStatus:  {}\n\n{}\n",
        row.title, row.slug, row.status, row.advice
    );
    let revision = app.backend.status().applied;
    Ok(reply::text(StatusCode::OK, Some(revision), &page))
}
