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

const FILAMENT: &str = r#"{"id":"f2","type":"PETG","color":"Blue","total_weight_in_grams":"750.5",
"remaining_weight_in_grams":1e2,"vendor":"Acme","lot":"7","density_mg_per_cm3":1240,"diameter_um":1750}"#;
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

pub(super) fn http() -> Vec<Seed> {
    let mut seeds = writes();
    seeds.extend(reads());
    seeds
}

fn writes() -> Vec<Seed> {
    let printer = r#"{"company":"HP","model":"DeskJet","labels":{"a":"b"},"status":"maintenance"}"#;
    let status = "/api/v1/print_jobs/j1/status";
    let dashes = "-".repeat(60_000);
    let nested = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    vec![
        seed("create-printer", json("POST /api/v1/printers", printer)),
        seed("create-filament", json("POST /api/v1/filaments", FILAMENT)),
        seed("create-job", json("POST /api/v1/print_jobs", JOB)),
        seed("classic-printer", request("POST /printers", printer)),
        seed("classic-filament", request("POST /filaments", FILAMENT)),
        seed("classic-job", request("POST /printjobs", CLASSIC_JOB)),
        seed(
            "classic-status",
            request("POST /printjobs/j1/status?status='running'", ""),
        ),
        seed(
            "set-status",
            json(
                &format!("POST {status}"),
                r#"{"status":"Canceled","used_weight_in_grams":3,"reason":"jam","override":true}"#,
            ),
        ),
        seed(
            "done-too-early",
            json(&format!("POST {status}?status=Done"), ""),
        ),
        seed(
            "upload",
            request(
                "POST /api/v1/policies\ncontent-type: application/wasm",
                "\0asm",
            ),
        ),
        seed(
            "delete-module",
            request(&format!("DELETE /api/v1/policies/{}", "00".repeat(32)), ""),
        ),
        seed(
            "activate",
            json("PUT /api/v1/ruleset\nif-match: \"1\"", RULESET),
        ),
        seed(
            "rollback",
            json("POST /api/v1/ruleset/rollback\nif-match: *", r#"{"to":1}"#),
        ),
        seed("add-member", json("POST /api/v1/cluster/members", MEMBER)),
        seed(
            "promote",
            request(
                "POST /api/v1/cluster/members/2/promote\nif-match: \"1\"",
                "",
            ),
        ),
        seed(
            "remove-member",
            request("DELETE /api/v1/cluster/members/2", ""),
        ),
        seed(
            "transfer",
            json("POST /api/v1/cluster/leader", r#"{"node_id":2}"#),
        ),
        // 60,000 minus signs once went through a recursion of that depth.
        seed(
            "many-minus-signs",
            request(
                "POST /filaments",
                &format!(r#"{{"type":"PLA","color":"x","total_weight_in_grams":"{dashes}"}}"#),
            ),
        ),
        seed(
            "deep-config",
            json("PUT /api/v1/ruleset", &RULESET.replace("null", &nested)),
        ),
    ]
}

fn reads() -> Vec<Seed> {
    let list = "GET /api/v1/print_jobs?status=queued&printer_id=p1&label=site=north&limit=1";
    vec![
        seed(
            "classic-list",
            request("GET /printjobs?consistency=stale", ""),
        ),
        seed("list", request(list, "")),
        seed(
            "list-page",
            request("GET /api/v1/printers?page_token=17031", ""),
        ),
        seed("show-job", request("GET /api/v1/print_jobs/j1", "")),
        seed(
            "show-filament",
            request("GET /api/v1/filaments/f1?min_revision=3", ""),
        ),
        seed(
            "behind",
            request("GET /api/v1/filaments?min_revision=99", ""),
        ),
        seed("policies", request("GET /api/v1/policies", "")),
        seed("ruleset", request("GET /api/v1/ruleset", "")),
        seed(
            "history",
            request("GET /api/v1/ruleset/revisions?limit=2", ""),
        ),
        seed("cluster", request("GET /api/v1/cluster", "")),
        seed("docs", request("GET /docs/problems/invalid-field", "")),
        seed("ready", request("GET /readyz", "")),
        seed(
            "escaped-path",
            request("GET /api/v1/printers/%70%31%ff", ""),
        ),
    ]
}
