//! Rules that do nothing do not pass in silence on the command line either: where a ruleset is
//! compared, applied and taken back, and where a module is tried out before.

use std::fs;
use std::path::{Path, PathBuf};

use raft3d_cluster_tests::cluster::scratch_folder;
use raft3d_cluster_tests::{Cluster, Options};
use serde_json::{Value, json};

use crate::support::{open_shop, prebuilt, raft3d};

/// What nobody ends with: a name that no state has.
const UNKNOWN: &str = "names 'Finished', which is no state of the lifecycle (Queued, Running, Done, \
                       Canceled)";

/// An operator's folder, and the node that is spoken to.
struct Desk {
    folder: PathBuf,
    node: String,
}

impl Desk {
    /// Runs `raft3d`, which must end with `code`.
    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> String {
        let (ended, said) = raft3d(arguments, &self.folder, &self.node);
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
        said
    }

    fn write(&self, name: &str, content: &Value) {
        fs::write(self.folder.join(name), content.to_string()).expect("the file");
    }
}

/// What an operator reads is this line, whole.
#[track_caller]
fn says(said: &str, line: &str) {
    assert!(said.lines().any(|it| it == line), "{line}\nnot in: {said}");
}

/// The standard rules with `waste-factor` at `place` among them.
fn with_waste_factor(place: usize, config: Value) -> Value {
    let mut bindings = vec![
        json!({"id": "standard-lifecycle", "module": prebuilt("standard-lifecycle"),
            "lifecycle": true, "hooks": ["admission", "transition"]}),
        json!({"id": "standard-deduction", "module": prebuilt("standard-deduction"),
            "hooks": ["deduction"]}),
    ];
    bindings.insert(
        place,
        json!({"id": "waste", "module": prebuilt("waste-factor"), "hooks": ["deduction"],
            "config": config}),
    );
    json!({ "bindings": bindings })
}

#[test]
fn diff_apply_and_rollback_warn_of_rules_that_do_nothing() {
    let cluster = Cluster::start("silent-rules", Options::nodes(1));
    let desk = Desk {
        folder: scratch_folder("silent-rules-operator"),
        node: format!("http://{}", cluster.http_addr(0)),
    };
    desk.write("behind.json", &with_waste_factor(2, json!({})));
    let never = "warning: /bindings/2: its deduction is never asked: it answers moves to Canceled, \
                 Done alone, and 'standard-deduction' before it decides those; put it in front";
    says(&desk.run(&["ruleset", "diff", "behind.json"], 2), never);
    says(&desk.run(&["ruleset", "apply", "behind.json"], 0), never);

    let misspelt = json!({"done_states": ["Finished"]});
    desk.write("misspelt.json", &with_waste_factor(1, misspelt));
    let place = "/bindings/1/config/done_states/0";
    let said = desk.run(&["ruleset", "diff", "misspelt.json"], 2);
    let refused = format!("! apply would be refused (it needs --force): {place}: {UNKNOWN}");
    says(&said, &refused);
    let said = desk.run(&["ruleset", "apply", "misspelt.json"], 1);
    assert!(
        said.contains("nothing was changed") && said.contains(&format!("{place}: {UNKNOWN}")),
        "{said}"
    );
    let warned = format!("warning: {place}: {UNKNOWN}");
    let forced = ["ruleset", "apply", "misspelt.json", "--force"];
    says(&desk.run(&forced, 0), &warned);
    // The way back is never closed for it, and says what it leads to.
    says(&desk.run(&["ruleset", "rollback"], 0), never);
    says(&desk.run(&["ruleset", "rollback"], 0), &warned);

    // An alias is its state: the same file again changes nothing.
    let alias = json!({"partial_states": {"Cancelled": 250}});
    desk.write("alias.json", &with_waste_factor(1, alias));
    let said = desk.run(&["ruleset", "apply", "alias.json"], 0);
    assert!(!said.contains("warning"), "{said}");
    let said = desk.run(&["ruleset", "diff", "alias.json"], 0);
    assert!(said.contains("no change"), "{said}");
    fs::remove_dir_all(&desk.folder).expect("the folder goes");
}

#[test]
fn a_module_that_is_tried_out_gets_the_names_that_activation_gives() {
    let cluster = Cluster::start("tried-names", Options::nodes(1));
    let client = cluster.client(0);
    open_shop(&client, 1_000);
    client.create_job("j1", "p1", "f1", 100).expect(201);
    client.set_status("j1", "canceled").expect(200);
    let desk = Desk {
        folder: scratch_folder("tried-names-operator"),
        node: format!("http://{}", cluster.http_addr(0)),
    };
    fs::copy(prebuilt("waste-factor"), desk.folder.join("waste.wasm")).expect("the module");
    let alias = r#"{"partial_states":{"Cancelled":250}}"#;
    let misspelt = r#"{"done_states":["Finished"]}"#;

    // A quarter of the sample's 120 g is taken under either spelling.
    let input = r#"{"to":"Canceled"}"#;
    let run = [
        "policy",
        "run",
        "waste.wasm",
        "--hook",
        "deduction",
        "--input",
        input,
        "--config",
    ];
    let said = desk.run(&[&run[..], &[alias]].concat(), 0);
    assert!(said.contains(r#""weight_in_grams": 30"#), "{said}");
    let warned = format!(
        "warning: --config /done_states/0: {UNKNOWN} (under the standard lifecycle, activation \
         would refuse it without force)"
    );
    says(&desk.run(&[&run[..], &[misspelt]].concat(), 0), &warned);

    let check = ["policy", "check", "waste.wasm", "--config"];
    let said = desk.run(&[&check[..], &[alias]].concat(), 0);
    assert!(!said.contains("warning"), "{said}");
    says(&desk.run(&[&check[..], &[misspelt]].concat(), 0), &warned);

    // On a cluster the active states are those that count.
    let backtest = |config: &str| {
        let args = [
            "policy",
            "backtest",
            "waste.wasm",
            "--config",
            config,
            "--json",
        ];
        let (_, said) = raft3d(&args, &desk.folder, &desk.node);
        said
    };
    let said = backtest(alias);
    assert!(!said.contains("warning"), "{said}");
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert!(report.to_string().contains("Canceled"), "{report}");
    assert!(!report.to_string().contains("Cancelled"), "{report}");
    let warned = format!(
        "warning: --config /done_states/0: {UNKNOWN} (activation would refuse it without force)"
    );
    says(&backtest(misspelt), &warned);
    fs::remove_dir_all(&desk.folder).expect("the folder goes");
}

/// What other compilers make of the same small policy by their defaults: `engine/tests/compilers`.
#[test]
fn modules_of_other_compilers_pass_the_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine/tests/compilers");
    let mut checked = 0;
    for entry in fs::read_dir(&folder).expect("the folder") {
        let name = entry
            .expect("a file")
            .file_name()
            .into_string()
            .expect("UTF-8");
        if !name.ends_with(".wasm") {
            continue;
        }
        let config = r#"{"max_mg":100000}"#;
        let (code, said) = raft3d(&["policy", "check", &name, "--config", config], &folder, "");
        assert_eq!(code, Some(0), "{name}: {said}");
        assert!(said.contains("admission   deny"), "{name}: {said}");
        checked += 1;
    }
    assert!(checked >= 7, "{checked}");
}
