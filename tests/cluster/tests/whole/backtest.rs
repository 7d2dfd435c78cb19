//! What would be decided otherwise: `raft3d policy backtest` over the records of a running cluster
//! and over a snapshot file of a stopped node, and dry runs beside what then happens.

use std::path::{Path, PathBuf};
use std::process::Command;

use raft3d_cluster_tests::client::job;
use raft3d_cluster_tests::cluster::{PATIENCE, scratch_folder};
use raft3d_cluster_tests::process::{binary, wait_for};
use raft3d_cluster_tests::{Client, Cluster, Options};
use serde_json::{Value, json};

use crate::support::{ended, open_shop, prebuilt};

/// A snapshot is taken after so many entries.
const SNAPSHOT_ENTRIES: u64 = 30;
/// Entries left in the log behind a snapshot.
const ENTRIES_KEPT: u64 = 10;
/// How often it is tried to see nothing change.
const TRIES: usize = 5;
/// Jobs and their weights in grams: the spool has 1,000 g, so the last one is denied.
const JOBS: [(&str, u64); 5] = [
    ("light", 50),
    ("limit", 100),
    ("heavy", 120),
    ("heavier", 150),
    ("too-heavy", 5_000),
];
/// Jobs that let the list of records grow beyond one page.
const SMALL_JOBS: u64 = 130;
/// The stricter rule: 100 g.
const STRICT: &str = r#"{"max_print_weight_in_mg":100000}"#;

/// The file of a shipped module, as an argument.
fn shipped(name: &str) -> String {
    prebuilt(name).display().to_string()
}

/// Runs `raft3d policy backtest` with `args`: exit code, and what it said.
fn backtest(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    ended(command.args(["policy", "backtest"]).args(args))
}

/// The JSON report, for which the program must end with `code`.
#[track_caller]
fn report(args: &[&str], code: i32) -> Value {
    let (ended, said) = backtest(&[args, &["--json"]].concat());
    assert_eq!(ended, Some(code), "{args:?}: {said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Revision and digest on all nodes are the same after `ask` as before. A checkpoint, which a cluster
/// makes every ten seconds, may come in between; not each time.
#[track_caller]
fn changes_nothing(cluster: &Cluster, client: &Client, ask: impl Fn()) {
    let state = || {
        let revision = client.get("/api/v1/ruleset").expect(200).revision();
        (revision, cluster.wait_converged(revision))
    };
    let unchanged = (0..TRIES).any(|_| {
        let before = state();
        ask();
        state() == before
    });
    assert!(unchanged, "each of {TRIES} dry runs changed something");
}

/// What is said of a request is what then happens to it.
fn evaluate_agrees(cluster: &Cluster, client: &Client) {
    for (id, grams) in JOBS {
        let asked = json!({"job": job(id, "p1", "f1", grams)});
        let said = client.post("/api/v1/policies/evaluate", &asked);
        let said = said.expect(200).json();
        let happened = client.create_job(id, "p1", "f1", grams);
        assert_eq!(
            said["accepted"],
            happened.status == 201,
            "{said} {happened}"
        );
        if happened.status != 201 {
            assert_eq!(said["problem"]["status"], happened.status, "{said}");
            assert_eq!(
                said["problem"]["detail"],
                happened.json()["detail"],
                "{said}"
            );
        }
        let path = format!("/api/v1/print_jobs/{id}/decisions");
        let record = client.get(&path).expect(200).json()[0].clone();
        let verdicts = |of: &Value, list: &str| -> Vec<Value> {
            let list = of[list].as_array().expect("a list").iter();
            list.map(|one| json!([one["binding"], one["verdict"], one["gas"]]))
                .collect()
        };
        assert_eq!(
            verdicts(&said, "evaluations"),
            verdicts(&record, "decisions")
        );
    }
    changes_nothing(cluster, client, || {
        for status in ["running", "done"] {
            let asked = json!({"job_id": "light", "status": status});
            let said = client.post("/api/v1/policies/evaluate", &asked);
            let said = said.expect(200).json();
            assert_eq!(said["accepted"], status == "running", "{said}");
        }
    });
    client.set_status("light", "running").expect(200);
    let asked = json!({"job_id": "light", "status": "done"});
    let said = client.post("/api/v1/policies/evaluate", &asked);
    assert_eq!(said.expect(200).json()["takes"]["grams"], 50);
    client.set_status("light", "done").expect(200);
}

/// One module by itself, which nothing binds.
fn evaluate_a_candidate(cluster: &Cluster, client: &Client, module: &[u8]) {
    let uploaded = client.upload(module).expect(201).json();
    let asked = |grams: u64| {
        json!({"module": uploaded["sha256"], "config": {"max_print_weight_in_mg": 100_000},
            "job": job("asked", "p1", "f1", grams)})
    };
    changes_nothing(cluster, client, || {
        for (grams, kind) in [(100, "allow"), (101, "deny")] {
            let said = client.post("/api/v1/policies/evaluate", &asked(grams));
            let said = said.expect(200).json();
            assert_eq!(said["evaluations"][0]["verdict"]["kind"], kind, "{said}");
        }
    });
    let unset = json!({"module": uploaded["sha256"], "job": job("asked", "p1", "f1", 1)});
    let refused = client.post("/api/v1/policies/evaluate", &unset).expect(400);
    assert!(
        refused.text().contains("max_print_weight_in_mg"),
        "{refused}"
    );
}

/// Three candidates over the same records, from wherever they come.
fn candidates(source: &[&str], strict: &str) {
    let with = |args: &[&str]| -> Vec<String> {
        [args, source]
            .concat()
            .iter()
            .map(|arg| (*arg).to_owned())
            .collect()
    };
    let told = |args: &[&str], code: i32| {
        let args = with(args);
        report(&args.iter().map(String::as_str).collect::<Vec<_>>(), code)
    };
    // Two of the four that were let in are above 100 g; what was denied stays denied.
    let denied = told(&[strict, "--config", STRICT, "--examples", "1"], 2);
    let admission = &denied["hooks"][0];
    assert_eq!(admission["hook"], "admission");
    assert_eq!(admission["binding"], Value::Null, "a rule more");
    assert_eq!(admission["evaluated"], JOBS.len());
    assert_eq!(admission["changes"]["now_denied"], 2);
    assert_eq!(
        admission["now_denied_by_code"],
        json!({"print_too_heavy": 2})
    );
    assert_eq!(denied["changed"], 2);
    let examples = admission["examples"]["now_denied"]
        .as_array()
        .expect("examples");
    assert_eq!(examples.len(), 1);
    assert_eq!(examples[0]["job_id"], "heavy");
    assert_eq!(examples[0]["before"]["kind"], "allow");

    // The module that decided, as it decided.
    let same = told(&[&shipped("standard-lifecycle")], 0);
    assert_eq!(same["hooks"][0]["binding"], "standard-lifecycle");
    assert_eq!(
        (&same["changed"], &same["evaluated"]),
        (&json!(0), &json!(7))
    );
    let same = told(&[&shipped("standard-deduction")], 0);
    assert_eq!(same["hooks"][0]["taken_after_in_grams"], 50);

    // Half as much again of each finished print.
    let waste = r#"{"default":{"factor_per_mille":1500}}"#;
    let more = told(&[&shipped("waste-factor"), "--config", waste], 2);
    let deduction = &more["hooks"][0];
    assert_eq!(deduction["changes"]["other_grams"], 1, "{more}");
    assert_eq!(deduction["taken_before_in_grams"], 50);
    assert_eq!(deduction["taken_after_in_grams"], 75);
}

/// More records than are sent at once are read one after the other, from wherever one begins. The
/// spool is another one, of which the candidate is told nothing else.
fn page_after_page(client: &Client, strict: &str, node: &str) {
    client.create_filament("f2", "PLA", SMALL_JOBS).expect(201);
    for n in 0..SMALL_JOBS {
        client
            .create_job(&format!("small-{n}"), "p1", "f2", 1)
            .expect(201);
    }
    let decided = JOBS.len() as u64 + 2 + SMALL_JOBS;
    let asked = [
        strict,
        "--config",
        STRICT,
        "--against",
        node,
        "--examples",
        "0",
    ];
    for since in ["1h", "1970-01-01T00:00:01Z"] {
        let all = report(&[&asked[..], &["--since", since]].concat(), 2);
        assert_eq!(all["records"], decided, "{all}");
        assert_eq!(all["hooks"][0]["evaluated"], decided - 2);
        assert_eq!(all["hooks"][0]["examples"], json!({"now_denied": []}));
    }
    // From the middle on: the oldest are left out.
    let records = client
        .get("/api/v1/decisions?limit=1000")
        .expect(200)
        .json();
    let records = records.as_array().expect("records");
    let since = records[records.len() - 3]["at"].as_str().expect("a time");
    let late = records
        .iter()
        .filter(|record| record["at"].as_str() >= Some(since));
    let last = report(&[&asked[..], &["--since", since]].concat(), 0);
    assert_eq!(last["records"], late.count(), "{last}");
}

/// A snapshot file that reflects `revision`.
fn snapshot_of(data: &Path, revision: u64) -> PathBuf {
    wait_for("a snapshot of all decisions", PATIENCE, || {
        let files = std::fs::read_dir(data.join("snapshots")).map_err(|error| error.to_string())?;
        let mut paths: Vec<PathBuf> = files
            .filter_map(|file| Some(file.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "snapshot"))
            .collect();
        paths.sort();
        let newest = paths.pop().ok_or("no snapshot")?;
        let name = newest.file_stem().unwrap_or_default().to_string_lossy();
        let index = name.split('-').next().and_then(|it| it.parse::<u64>().ok());
        match index {
            Some(index) if index >= revision => Ok(newest),
            _ => Err(format!("the newest is {name}")),
        }
    })
}

#[test]
fn a_candidate_is_judged_by_what_was_recorded() {
    let options = Options::nodes(3).snapshots(SNAPSHOT_ENTRIES, ENTRIES_KEPT);
    let mut cluster = Cluster::start("backtest", options);
    let client = cluster.client(cluster.follower());
    open_shop(&client, 1_000);
    evaluate_agrees(&cluster, &client);

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let example = root.join("examples/max-print-weight");
    let module = xtask::build_policy(&example).expect("the example compiles");
    let folder = scratch_folder("backtest-author");
    let strict = folder.join("strict.wasm");
    std::fs::write(&strict, &module).expect("a file");
    let strict = strict.display().to_string();

    let node = format!("http://{}", cluster.http_addr(cluster.follower()));
    candidates(&["--against", &node], &strict);
    let live = ["--against", node.as_str()];
    let text = [&[strict.as_str(), "--config", STRICT], &live[..]].concat();
    let (ended, said) = backtest(&text);
    assert_eq!(ended, Some(2), "{said}");
    for words in [
        "print_too_heavy 2",
        "job heavy, ",
        "2 of 5 answers would be others",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Only what lies in the window counts, and only as many as are wanted.
    let late = [&text[..], &["--until", "2020-01-01T00:00:00Z"]].concat();
    assert_eq!(report(&late, 0)["records"], 0);
    let recent = [&text[..], &["--since", "1d", "--limit", "4"]].concat();
    assert_eq!(report(&recent, 2)["records"], 4);
    // What it cannot know is not guessed.
    let (ended, said) = backtest(&[&[strict.as_str()], &live[..]].concat());
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("give --config"), "{said}");
    evaluate_a_candidate(&cluster, &client, &module);

    page_after_page(&client, &strict, &node);

    // The same from a file, when the node is gone.
    let decided = client.get("/api/v1/ruleset").expect(200).revision();
    for n in 0..2 * SNAPSHOT_ENTRIES {
        client.create_printer(&format!("more-{n}")).expect(201);
    }
    let stopped = cluster.follower();
    snapshot_of(cluster.data(stopped), decided);
    cluster.stop(stopped);
    // Its last act may have been a newer one.
    let file = snapshot_of(cluster.data(stopped), decided);
    let file = file.display().to_string();
    // The oldest are read first; the small jobs come after them.
    let decided = (JOBS.len() + 2).to_string();
    candidates(&["--backup", &file, "--limit", &decided], &strict);
    // A file that is damaged says so.
    let mut bytes = std::fs::read(&file).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = folder.join("damaged.snapshot");
    std::fs::write(&damaged, bytes).expect("a file");
    let damaged = damaged.display().to_string();
    let (ended, said) = backtest(&[&strict, "--config", STRICT, "--backup", &damaged]);
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("damaged"), "{said}");
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}
