//! Operations as requests of the HTTP API, and answers as answers of a history.

use raft3d_checkers::history::{Answer, Consistency, Facts, Op, Refusal};
use raft3d_cluster_tests::client::{self, Client};
use serde_json::{Value, json};

use super::facts;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) content: &'static str,
    pub(super) if_match: Option<u64>,
    pub(super) body: Option<Vec<u8>>,
}

const JSON: &str = "application/json";

impl Request {
    fn get(path: String, consistency: Consistency) -> Self {
        let fresh = match consistency {
            Consistency::Linearizable => String::new(),
            Consistency::Stale { min_revision: None } => "?consistency=stale".to_owned(),
            Consistency::Stale {
                min_revision: Some(revision),
            } => format!("?consistency=stale&min_revision={revision}"),
        };
        Self {
            method: "GET",
            path: format!("{path}{fresh}"),
            content: JSON,
            if_match: None,
            body: None,
        }
    }

    fn post(path: String, body: String) -> Self {
        Self {
            method: "POST",
            path,
            content: JSON,
            if_match: None,
            body: Some(body.into_bytes()),
        }
    }
}

/// `{"id":…` or nothing, where the cluster is to make the id.
fn id_member(id: Option<&String>) -> String {
    id.map_or_else(String::new, |id| format!("\"id\":{},", json!(id)))
}

/// Milligrams as the JSON number of grams.
fn grams(mg: u64) -> String {
    match mg % 1_000 {
        0 => (mg / 1_000).to_string(),
        rest => format!("{}.{rest:03}", mg / 1_000),
    }
}

/// The request for an operation whose body follows from it; none for uploads and activations.
pub(super) fn request(op: &Op) -> Option<Request> {
    Some(match op {
        Op::CreatePrinter { id } => {
            let id = id_member(id.as_ref());
            let body = format!("{{{id}\"company\":\"Prusa\",\"model\":\"MK4\"}}");
            Request::post("/api/v1/printers".to_owned(), body)
        }
        Op::CreateFilament {
            id,
            total_mg,
            remaining_mg,
        } => {
            let (id, total, left) = (
                id_member(id.as_ref()),
                grams(*total_mg),
                grams(*remaining_mg),
            );
            let body = format!(
                "{{{id}\"type\":\"PLA\",\"color\":\"Red\",\"total_weight_in_grams\":{total},\
                 \"remaining_weight_in_grams\":{left}}}"
            );
            Request::post("/api/v1/filaments".to_owned(), body)
        }
        Op::CreateJob {
            id,
            printer,
            filament,
            weight_mg,
            priority,
            tag,
        } => {
            let (id, weight) = (id_member(id.as_ref()), grams(*weight_mg));
            let body = format!(
                "{{{id}\"printer_id\":\"{printer}\",\"filament_id\":\"{filament}\",\
                 \"filepath\":\"{tag}\",\"print_weight_in_grams\":{weight},\
                 \"priority\":{priority}}}"
            );
            Request::post("/api/v1/print_jobs".to_owned(), body)
        }
        Op::SetStatus {
            job,
            to,
            used_mg,
            wants_override,
        } => {
            let used = used_mg.map_or_else(String::new, |mg| {
                format!(",\"used_weight_in_grams\":{}", grams(mg))
            });
            let body = format!("{{\"status\":\"{to}\",\"override\":{wants_override}{used}}}");
            Request::post(format!("/api/v1/print_jobs/{job}/status"), body)
        }
        Op::ReadJob { job, consistency } => {
            Request::get(format!("/api/v1/print_jobs/{job}"), *consistency)
        }
        Op::ReadFilament {
            filament,
            consistency,
        } => Request::get(format!("/api/v1/filaments/{filament}"), *consistency),
        Op::ReadPrinter {
            printer,
            consistency,
        } => Request::get(format!("/api/v1/printers/{printer}"), *consistency),
        Op::ReadRuleset { consistency } => Request::get("/api/v1/ruleset".to_owned(), *consistency),
        Op::ListJobs { consistency, .. } => {
            Request::get("/api/v1/print_jobs".to_owned(), *consistency)
        }
        _ => return None,
    })
}

/// What an answer, or none, means for the history.
pub(super) fn answer(op: &Op, result: Result<client::Answer, ureq::Error>) -> Answer {
    match result {
        Ok(answer) if (200..300).contains(&answer.status) => accepted(op, &answer),
        Ok(answer) => refused(op, &answer),
        // Nobody listened, so nothing was sent.
        Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Answer::Never
        }
        Err(_) => Answer::Unknown,
    }
}

fn accepted(op: &Op, answer: &client::Answer) -> Answer {
    let Some(revision) = revision(answer) else {
        return Answer::Unknown;
    };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let facts = match op {
        Op::CreatePrinter { .. } | Op::ReadPrinter { .. } => {
            facts::printer(&body).map(Facts::Printer)
        }
        Op::CreateFilament { .. } | Op::ReadFilament { .. } => {
            facts::filament(&body).map(Facts::Filament)
        }
        Op::CreateJob { .. } | Op::SetStatus { .. } | Op::ReadJob { .. } => {
            facts::job(&body).map(Facts::Job)
        }
        Op::ListJobs { .. } => body
            .as_array()
            .map(|jobs| Facts::Jobs(jobs.iter().filter_map(facts::job).collect())),
        Op::ActivateRuleset { .. } | Op::ReadRuleset { .. } => {
            let name = body["reason"].as_str().unwrap_or_default();
            Some(Facts::Ruleset(name.to_owned()))
        }
        _ => Some(Facts::None),
    };
    match facts {
        Some(facts) => Answer::Accepted {
            revision,
            replayed: replayed(answer),
            facts,
        },
        // An accepted body that does not read would be a violation of its own.
        None => panic!("an accepted answer does not show what it should: {answer}"),
    }
}

fn refused(op: &Op, answer: &client::Answer) -> Answer {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let slug = body["type"].as_str().unwrap_or_default();
    let slug = slug.rsplit('/').next().unwrap_or_default();
    let revision = revision(answer);
    match slug {
        "outcome-unknown" | "internal" | "" => Answer::Unknown,
        // Said of calls that came to nothing before an entry was proposed.
        "no-leader" | "overloaded" | "unavailable" | "replica-behind" | "not-bootstrapped"
        | "request-timeout" => Answer::Never,
        "not-found" if !op.is_write() => match revision {
            Some(revision) => Answer::Accepted {
                revision,
                replayed: false,
                facts: Facts::Absent,
            },
            None => Answer::Unknown,
        },
        slug => Answer::Rejected {
            why: Refusal::from_slug(slug),
            code: body["code"].as_str().map(str::to_owned),
            revision,
            replayed: replayed(answer),
        },
    }
}

fn revision(answer: &client::Answer) -> Option<u64> {
    answer.header("raft3d-revision")?.parse().ok()
}

fn replayed(answer: &client::Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

/// Every page of a list, as one replica has it once it has applied `min_revision`.
pub(super) fn list(
    client: &Client,
    resource: &str,
    min_revision: u64,
) -> Result<Vec<Value>, String> {
    let mut items: Vec<Value> = Vec::new();
    let first =
        format!("/api/v1/{resource}?consistency=stale&min_revision={min_revision}&limit=1000");
    let mut path = Some(first);
    while let Some(at) = path.take() {
        let answer = client.try_call("GET", &at, &[], None);
        let answer = answer.map_err(|error| format!("GET {at}: {error}"))?;
        if answer.status != 200 {
            return Err(answer.to_string());
        }
        match answer.json() {
            Value::Array(page) => items.extend(page),
            other => return Err(format!("GET {at} is no list: {other}")),
        }
        path = answer.header("link").and_then(client::next_page);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_sent_to_the_milligram() {
        assert_eq!(grams(120_000), "120");
        assert_eq!(grams(120_250), "120.250");
        assert_eq!(grams(7), "0.007");
    }

    #[test]
    fn every_body_is_json() {
        let ops = [
            Op::CreatePrinter { id: None },
            Op::CreateFilament {
                id: Some("f".to_owned()),
                total_mg: 1_500,
                remaining_mg: 1,
            },
            Op::CreateJob {
                id: None,
                printer: "p".to_owned(),
                filament: "f".to_owned(),
                weight_mg: 1_001,
                priority: -1,
                tag: "/t".to_owned(),
            },
            Op::SetStatus {
                job: "j".to_owned(),
                to: "Done".to_owned(),
                used_mg: Some(1),
                wants_override: false,
            },
        ];
        for op in ops {
            let body = request(&op).unwrap().body.unwrap();
            let read: Result<Value, _> = serde_json::from_slice(&body);
            assert!(read.is_ok(), "{op:?}: {}", String::from_utf8_lossy(&body));
        }
    }
}
