//! Requests of clients, as text.

use super::{Seed, seed};

/// Lines before the body, and the body.
fn request(head: &str, body: &str) -> Vec<u8> {
    format!("{head}\n\n{body}").into_bytes()
}

/// The same with a content type and a key.
fn json(head: &str, body: &str) -> Vec<u8> {
    let headers = "content-type: application/json\nidempotency-key: k1\nraft3d-actor: mia";
    request(&format!("{head}\n{headers}"), body)
}

const PRINTER: &str =
    r#"{"company":"HP","model":"DeskJet","labels":{"a":"b"},"status":"maintenance"}"#;
const STATUS: &str =
    r#"{"status":"Canceled","used_weight_in_grams":3,"reason":"jam","override":true}"#;
const FILAMENT: &str = r#"{"id":"f2","type":"PETG","color":"Blue","total_weight_in_grams":"750.5",
"remaining_weight_in_grams":1e2,"vendor":"Acme","lot":"7","density_mg_per_cm3":1240,
"diameter_um":1750}"#;
const JOB: &str = r#"{"printer_id":"p1","filament_id":"f1","filepath":"prints/a.gcode",
"print_weight_in_grams":120.25,"priority":-3,"labels":{"site":"north"},"status":"Queued"}"#;
const CLASSIC_JOB: &str = r#"{"id":7,"printer_id":"p1","filament_id":"f1","filepath":"a",
"print_weight_in_grams":1,"surprise":null}"#;
const RULESET: &str = r#"{"bindings":[{"id":"a","module":
"0000000000000000000000000000000000000000000000000000000000000000","hooks":["admission"],
"scope":{"printer_label":{"key":"site","value":"north"}},"mode":"shadow","percentage":12.5,
"config":{"materials":["PLA",null,{"deep":[1,true]}]}}],"force":true,"reason":"why"}"#;
const MEMBER: &str = r#"{"peer_address":"127.0.0.1:9003","http_address":"127.0.0.1:8003",
"incarnation":"00000000000000000000000000000000"}"#;

/// Name, method and URI with headers, body.
type Row = (&'static str, &'static str, &'static str);

/// Sent as JSON, under a key.
const KEYED: [Row; 9] = [
    ("create-printer", "POST /api/v1/printers", PRINTER),
    ("create-filament", "POST /api/v1/filaments", FILAMENT),
    ("create-job", "POST /api/v1/print_jobs", JOB),
    ("set-status", "POST /api/v1/print_jobs/j1/status", STATUS),
    (
        "done-too-early",
        "POST /api/v1/print_jobs/j1/status?status=Done",
        "",
    ),
    ("activate", "PUT /api/v1/ruleset\nif-match: \"1\"", RULESET),
    (
        "rollback",
        "POST /api/v1/ruleset/rollback\nif-match: *",
        r#"{"to":1}"#,
    ),
    ("add-member", "POST /api/v1/cluster/members", MEMBER),
    (
        "transfer",
        "POST /api/v1/cluster/leader",
        r#"{"node_id":2}"#,
    ),
];

/// A dry run of a job that is there.
const EVALUATE: &str = "POST /api/v1/policies/evaluate";
const EVALUATE_MOVE: &str = r#"{"job_id":"j1","status":"running","reason":"x","override":true}"#;
/// A dry run with every field of an input.
const EVALUATE_GIVEN: &str = r#"{"hook":"deduction","input":{"now_ms":5,"actor":"bo","to":"Done",
"job":{"id":"j","printer_id":"p","filament_id":"f","filepath":"/x","print_weight_in_grams":12.25,
"status":"Running","priority":-3,"labels":{"a":"1"},"created_by":"cy","created_at_ms":4,
"deducted_weight_in_grams":"0.5"},"printer":{"id":"p","company":"C","model":"M","status":"retired",
"labels":{},"open_jobs":3,"occupying_jobs":1},"filament":{"id":"f","type":"ABS","color":"Blue",
"total_weight_in_grams":9,"remaining_weight_in_grams":8,"reserved_by_others_in_grams":7,
"archived":true},"creator":{"open_jobs":2,"reserved_in_mg":90000},
"reported":{"used_weight_in_grams":1.5,"reason":"jam","override":true}}}"#;

/// Sent as it is.
const PLAIN: [Row; 20] = [
    ("classic-printer", "POST /printers", PRINTER),
    ("classic-filament", "POST /filaments", FILAMENT),
    ("classic-job", "POST /printjobs", CLASSIC_JOB),
    (
        "classic-status",
        "POST /printjobs/j1/status?status='running'",
        "",
    ),
    (
        "upload",
        "POST /api/v1/policies\ncontent-type: application/wasm",
        "\0asm",
    ),
    (
        "promote",
        "POST /api/v1/cluster/members/2/promote\nif-match: \"1\"",
        "",
    ),
    ("remove-member", "DELETE /api/v1/cluster/members/2", ""),
    ("classic-list", "GET /printjobs?consistency=stale", ""),
    (
        "list",
        "GET /api/v1/print_jobs?status=queued&label=site=north&limit=1",
        "",
    ),
    ("list-page", "GET /api/v1/printers?page_token=17031", ""),
    ("show-job", "GET /api/v1/print_jobs/j1", ""),
    (
        "show-filament",
        "GET /api/v1/filaments/f1?min_revision=3",
        "",
    ),
    ("behind", "GET /api/v1/filaments?min_revision=99", ""),
    ("policies", "GET /api/v1/policies", ""),
    ("ruleset", "GET /api/v1/ruleset", ""),
    ("history", "GET /api/v1/ruleset/revisions?limit=2", ""),
    ("cluster", "GET /api/v1/cluster", ""),
    ("docs", "GET /docs/problems/invalid-field", ""),
    ("ready", "GET /readyz", ""),
    ("escaped-path", "GET /api/v1/printers/%70%31%ff", ""),
];

pub(super) fn http() -> Vec<Seed> {
    let keyed = KEYED.map(|(name, head, body)| seed(name, json(head, body)));
    let plain = PLAIN.map(|(name, head, body)| seed(name, request(head, body)));
    let unknown = format!("DELETE /api/v1/policies/{}", "00".repeat(32));
    // So many minus signs once went through a recursion of that depth.
    let dashes = "-".repeat(60_000);
    let dashes = format!(r#"{{"type":"PLA","color":"x","total_weight_in_grams":"{dashes}"}}"#);
    let nested = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let deep = RULESET.replace("null", &nested);
    let more = [
        seed("delete-module", request(&unknown, "")),
        seed("many-minus-signs", request("POST /filaments", &dashes)),
        seed("evaluate-move", json(EVALUATE, EVALUATE_MOVE)),
        seed("evaluate-given", json(EVALUATE, EVALUATE_GIVEN)),
        seed("deep-config", json("PUT /api/v1/ruleset", &deep)),
    ];
    keyed.into_iter().chain(plain).chain(more).collect()
}
