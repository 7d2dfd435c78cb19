//! The library of policies on a real cluster: each is activated beside the standard ones, lets one
//! request pass and stops another.

use std::path::Path;

use raft3d_cluster_tests::client::job;
use raft3d_cluster_tests::{Answer, Client, Cluster, Options};
use serde_json::{Value, json};

use crate::support::{filament, prebuilt};

/// Weight of each new filament, in grams.
const SPOOL_G: u64 = 1_000;

/// A cluster whose ruleset is the standard one when a trial begins.
struct Shop {
    cluster: Cluster,
    standard: Vec<Value>,
}

impl Shop {
    fn open() -> Self {
        let cluster = Cluster::start("library", Options::nodes(3));
        let client = cluster.client(0);
        let standard = client.ruleset()["bindings"].as_array().unwrap().clone();
        client.create_printer("p1").expect(201);
        client.create_filament("f1", "PLA", SPOOL_G).expect(201);
        Self { cluster, standard }
    }

    /// A node that follows: what it answers was decided elsewhere.
    fn client(&self) -> Client {
        self.cluster.client(self.cluster.follower())
    }

    /// Uploads the shipped module of that name.
    fn upload(&self, name: &str) -> Value {
        let module = std::fs::read(prebuilt(name)).expect("the prebuilt module");
        self.upload_bytes(name, &module)
    }

    fn upload_bytes(&self, name: &str, module: &[u8]) -> Value {
        let answer = self.client().upload(module);
        // 200: it was there before.
        assert!(matches!(answer.status, 200 | 201), "{answer}");
        let uploaded = answer.json();
        assert_eq!(uploaded["name"], name);
        uploaded
    }

    fn put(&self, bindings: &[Value]) -> Answer {
        let client = self.client();
        let revision = client.ruleset()["revision"].as_u64().expect("a revision");
        client.put_ruleset(&json!(bindings), revision)
    }

    /// Activates the policy in front of the standard ones, and refuses `nonsense`, which is wrong
    /// at `pointer`, before.
    fn activate(&self, name: &str, config: &Value, nonsense: &Value, pointer: &str) {
        let module = self.upload(name);
        let bindings = |config: &Value| {
            let first = json!({
                "id": name, "module": module["sha256"], "hooks": module["hooks"], "config": config,
            });
            [vec![first], self.standard.clone()].concat()
        };
        let refused = self.put(&bindings(nonsense)).expect(409);
        assert!(refused.text().contains(pointer), "{pointer}: {refused}");
        self.put(&bindings(config)).expect(200);
    }

    /// The standard bindings with another lifecycle in front; of the standard one the admission
    /// stays.
    fn with_lifecycle(&self, name: &str, module: &Value, config: &Value) -> Vec<Value> {
        let mut bindings = self.standard.clone();
        let lifecycle = bindings.iter_mut().find(|b| b["lifecycle"] == true);
        let lifecycle = lifecycle.expect("the standard lifecycle");
        lifecycle["lifecycle"] = json!(false);
        lifecycle["hooks"] = json!(["admission"]);
        let first = json!({
            "id": name, "module": module["sha256"], "hooks": module["hooks"], "lifecycle": true,
            "config": config,
        });
        bindings.insert(0, first);
        bindings
    }

    fn deactivate(&self) {
        self.put(&self.standard).expect(200);
    }
}

/// Asks for a job's transition as `actor`, with more than the status in the body.
fn move_as(client: &Client, actor: &str, job: &str, body: &Value) -> Answer {
    let path = format!("/api/v1/print_jobs/{job}/status");
    client.post_with(&path, &[("raft3d-actor", actor)], body)
}

fn create_as(client: &Client, actor: &str, id: &str, grams: u64) -> Answer {
    let body = job(id, "p1", "f1", grams);
    client.post_with("/api/v1/print_jobs", &[("raft3d-actor", actor)], &body)
}

#[track_caller]
fn denied(answer: &Answer, code: &str) {
    assert_eq!(answer.status, 422, "{code}: {answer}");
    let codes = answer.codes();
    assert!(codes.iter().any(|c| c == code), "{code}: {answer}");
}

#[test]
fn each_policy_of_the_library_allows_and_denies() {
    let shop = Shop::open();
    the_page_is_true(&shop);
    exclusive_printer(&shop);
    waste_factor(&shop);
    material_match(&shop);
    quiet_hours(&shop);
    safety_margin(&shop);
    approval(&shop);
    quota(&shop);
    paused_and_failed(&shop);
    shop.cluster.wait_converged(0);
    every_replica_counts_the_same(&shop);
}

/// `policies/README.md` has a section for each policy: it names every field of the configuration,
/// and its example can be activated as it stands there.
fn the_page_is_true(shop: &Shop) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/README.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for name in xtask::prebuilt::POLICIES {
        let module = shop.upload(name);
        let (_, section) = page
            .split_once(&format!("\n## {name}\n"))
            .unwrap_or_else(|| panic!("no section about {name}"));
        let section = section.split("\n## ").next().expect("the first part");
        let path = format!("/api/v1/policies/{}", module["sha256"].as_str().unwrap());
        let detail = shop.client().get(&path).expect(200).json();
        let fields = detail["config_schema"]["properties"].as_object();
        assert_eq!(fields.is_none(), name == "standard-deduction", "{detail}");
        for field in fields.into_iter().flatten().map(|(field, _)| field) {
            let row = format!("| `{field}` |");
            assert!(section.contains(&row), "{name}: no row for {field}");
        }
        let example: Vec<_> = section.lines().filter(|l| l.starts_with("    ")).collect();
        // What the example does not bind stays as it is.
        let sha256 = |name: &str| shop.upload(name)["sha256"].clone();
        let mut bindings: Vec<Value> =
            serde_json::from_str(&format!("[{}]", example.join("\n"))).expect("JSON");
        for binding in &mut bindings {
            let id = binding["id"].as_str().expect("an id");
            let known = xtask::prebuilt::POLICIES.contains(&id);
            binding["module"] = sha256(if known { id } else { name });
        }
        let ids: Vec<_> = bindings.iter().map(|b| b["id"].clone()).collect();
        let rest = shop.standard.iter().filter(|b| !ids.contains(&b["id"]));
        let bindings = [bindings, rest.cloned().collect()].concat();
        shop.put(&bindings).expect(200);
    }
    shop.deactivate();
}

fn exclusive_printer(shop: &Shop) {
    let nonsense = json!({"states": []});
    shop.activate("exclusive-printer", &json!({}), &nonsense, "/states");
    let client = shop.client();
    for id in ["first", "second"] {
        client.create_job(id, "p1", "f1", 1).expect(201);
    }
    client.set_status("first", "running").expect(200);
    let busy = client.set_status("second", "running");
    denied(&busy, "printer_busy");
    assert!(busy.text().contains("p1"), "it names the printer: {busy}");
    client.set_status("first", "done").expect(200);
    client.set_status("second", "running").expect(200);
    client.set_status("second", "canceled").expect(200);
    shop.deactivate();
}

/// It denies nothing: what a job takes tells whether it was asked.
fn waste_factor(shop: &Shop) {
    let config = json!({
        "materials": {"PLA": {"factor_per_mille": 1050, "purge_mg": 2500}},
        "partial_states": {"Canceled": 250},
    });
    let nonsense = json!({"default": {"factor_per_mille": 0}});
    shop.activate(
        "waste-factor",
        &config,
        &nonsense,
        "/default/factor_per_mille",
    );
    let client = shop.client();
    client.create_filament("wasted", "PLA", 120).expect(201);
    let remaining = || filament(&client, "wasted")["remaining_weight_in_grams"].clone();
    for (id, grams) in [("printed", 100), ("given-up", 10)] {
        client.create_job(id, "p1", "wasted", grams).expect(201);
        client.set_status(id, "running").expect(200);
    }
    client.set_status("printed", "done").expect(200);
    assert_eq!(remaining(), json!(12.5), "100 g and 7.5 g of waste");
    client.set_status("given-up", "canceled").expect(200);
    assert_eq!(remaining(), json!(10), "a quarter of 10 g");
    shop.deactivate();
}

fn material_match(shop: &Shop) {
    let nonsense = json!({"label": ""});
    shop.activate("material-match", &json!({}), &nonsense, "/label");
    let client = shop.client();
    let printer = json!({
        "id": "petg", "company": "Prusa", "model": "MK4", "labels": {"materials": "petg, TPU"},
    });
    client.post("/api/v1/printers", &printer).expect(201);
    client
        .create_filament("f-petg", "PETG", SPOOL_G)
        .expect(201);
    let other = client.create_job("other", "petg", "f1", 1);
    denied(&other, "material_not_on_printer");
    client
        .create_job("matching", "petg", "f-petg", 1)
        .expect(201);
    client.set_status("matching", "running").expect(200);
    client.create_job("unlabelled", "p1", "f1", 1).expect(201);
    shop.deactivate();
}

/// The whole day is quiet, so that the test has no clock.
fn quiet_hours(shop: &Shop) {
    let day = json!([{"from_minute": 0, "to_minute": 1440}]);
    let config = json!({
        "intervals": day, "utc_offset_minutes": -300, "override_reason_chars_min": 8,
    });
    let nonsense = json!({"intervals": [{"from_minute": 60, "to_minute": 60}]});
    shop.activate("quiet-hours", &config, &nonsense, "/intervals/0/to_minute");
    let client = shop.client();
    client.create_job("loud", "p1", "f1", 1).expect(201);
    let start = |body| move_as(&client, "ada", "loud", &body);
    denied(&start(json!({"status": "running"})), "quiet_hours");
    let urgent = json!({"status": "running", "override": true, "reason": "urgent"});
    denied(&start(urgent), "quiet_hours");
    let reason = "the customer waits";
    start(json!({"status": "running", "override": true, "reason": reason})).expect(200);
    client.set_status("loud", "done").expect(200);
    shop.deactivate();
}

fn safety_margin(shop: &Shop) {
    let config = json!({"margin_mg": 50_000, "materials": {"TPU": 0}});
    let nonsense = json!({"margin_mg": 0});
    shop.activate("safety-margin", &config, &nonsense, "/margin_mg");
    let client = shop.client();
    client.create_filament("low", "PLA", 200).expect(201);
    let too_much = client.create_job("too-much", "p1", "low", 151);
    denied(&too_much, "below_safety_margin");
    client.create_job("enough", "p1", "low", 150).expect(201);
    client.set_status("enough", "running").expect(200);
    client.set_status("enough", "canceled").expect(200);
    shop.deactivate();
}

/// It brings the lifecycle, so that the standard one keeps the admission only.
fn approval(shop: &Shop) {
    let module = shop.upload("approval");
    let bindings = |config: &Value| shop.with_lifecycle("approval", &module, config);
    let refused = shop.put(&bindings(&json!({"approvers": []}))).expect(409);
    assert!(refused.text().contains("/approvers"), "{refused}");
    shop.put(&bindings(&json!({"approvers": ["bob", "cy"]})))
        .expect(200);

    let client = shop.client();
    let created = create_as(&client, "bob", "asked-for", 1).expect(201).json();
    assert_eq!(created["status"], "AwaitingApproval");
    let approve = |actor| move_as(&client, actor, "asked-for", &json!({"status": "queued"}));
    denied(&approve("ada"), "not_an_approver");
    denied(&approve("bob"), "own_job");
    let start = move_as(&client, "cy", "asked-for", &json!({"status": "running"}));
    assert_eq!(start.status, 409, "an approval is not skipped: {start}");
    approve("cy").expect(200);
    client.set_status("asked-for", "running").expect(200);
    client.set_status("asked-for", "done").expect(200);
    create_as(&client, "ada", "unwanted", 1).expect(201);
    let rejected = move_as(&client, "cy", "unwanted", &json!({"status": "rejected"}));
    assert_eq!(rejected.expect(200).json()["status"], "Rejected");
    shop.deactivate();
}

/// The sums are those of the job's creator, whoever moves it, and without the job itself.
fn quota(shop: &Shop) {
    let client = shop.client();
    for (id, grams) in [("kim-1", 1), ("kim-2", 20)] {
        create_as(&client, "kim", id, grams).expect(201);
    }
    let config = json!({
        "default": {"open_jobs_max": 1, "reserved_mg_max": 20_000},
        "actors": {"eve": {"reserved_mg_max": 30_000}},
        "states": ["Running"],
    });
    shop.activate("quota", &config, &json!({}), "/default");
    denied(&create_as(&client, "kim", "kim-3", 1), "too_many_open_jobs");
    create_as(&client, "eve", "eve-1", 10).expect(201);
    create_as(&client, "eve", "eve-2", 20).expect(201);
    denied(&create_as(&client, "eve", "eve-3", 1), "too_much_reserved");

    let start = |actor, job| move_as(&client, actor, job, &json!({"status": "running"}));
    start("kim", "eve-1").expect(200);
    denied(&start("eve", "kim-2"), "too_many_open_jobs");
    // A job that is over counts no more.
    client.set_status("kim-1", "canceled").expect(200);
    start("eve", "kim-2").expect(200);
    denied(&create_as(&client, "kim", "kim-3", 1), "too_many_open_jobs");
    client.set_status("kim-2", "done").expect(200);
    create_as(&client, "kim", "kim-3", 20).expect(201);
    shop.deactivate();
}

/// The example of a lifecycle, compiled from its source.
fn paused_and_failed(shop: &Shop) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let name = "paused-and-failed";
    let module = xtask::build_policy(&root.join("examples").join(name)).expect("it compiles");
    let module = shop.upload_bytes(name, &module);
    let config = json!({"failed_share_per_mille": 400});
    shop.put(&shop.with_lifecycle(name, &module, &config))
        .expect(200);

    let client = shop.client();
    client.create_filament("jammed", "PLA", 100).expect(201);
    let spool = || {
        let row = filament(&client, "jammed");
        ["remaining_weight_in_grams", "reserved_weight_in_grams"].map(|field| row[field].clone())
    };
    client.create_job("jam", "p1", "jammed", 50).expect(201);
    let early = client.set_status("jam", "failed");
    assert_eq!(
        early.status, 409,
        "what was not started does not fail: {early}"
    );
    for status in ["running", "paused"] {
        client.set_status("jam", status).expect(200);
    }
    assert_eq!(
        spool(),
        [json!(100), json!(50)],
        "a pause takes and frees nothing"
    );
    client.set_status("jam", "failed").expect(200);
    assert_eq!(spool(), [json!(80), json!(0)], "two fifths of 50 g");
    client.create_job("fine", "p1", "jammed", 50).expect(201);
    client.set_status("fine", "running").expect(200);
    client.set_status("fine", "done").expect(200);
    assert_eq!(
        spool(),
        [json!(30), json!(0)],
        "the standard deduction has Done"
    );
    shop.deactivate();
}

/// Each replica evaluates every entry, so their counters say the same.
fn every_replica_counts_the_same(shop: &Shop) {
    shop.cluster.wait_converged(1);
    let counters = |node: usize| -> Vec<String> {
        let shown = shop.cluster.client(node).get("/metrics").expect(200);
        let text = shown.text();
        let lines = text.lines().filter(|line| {
            line.starts_with("raft3d_policy_")
                && line
                    .split_once('{')
                    .is_some_and(|(name, _)| name.ends_with("_total"))
        });
        lines.map(str::to_owned).collect()
    };
    let first = counters(0);
    for policy in ["quota", "waste-factor", "standard-lifecycle"] {
        let named = format!("policy=\"{policy}\"");
        assert!(
            first.iter().any(|line| line.contains(&named)),
            "{policy}: {first:#?}"
        );
    }
    let code = "code=\"too_many_open_jobs\"";
    assert!(first.iter().any(|line| line.contains(code)), "{first:#?}");
    for node in [1, 2] {
        assert_eq!(counters(node), first, "node {node}");
    }
}
