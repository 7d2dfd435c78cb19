//! `raft3d dev`: three nodes with one command.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use raft3d_cluster_tests::Client;
use raft3d_cluster_tests::cluster::{PATIENCE, process_lives, scratch_folder};
use raft3d_cluster_tests::logs;
use raft3d_cluster_tests::ports::{Port, claim_row};
use raft3d_cluster_tests::process::{Process, binary, wait_for};
use rustix::process::Signal;

/// A running `raft3d dev` on ports of its own.
struct Dev {
    process: Process,
    http: Vec<Port>,
    _peer: Vec<Port>,
}

impl Dev {
    fn start(folder: &Path, extra: &[&str]) -> Self {
        let (http, peer) = (claim_row(3), claim_row(3));
        let data = folder.join("data").display().to_string();
        let ports = (http[0].number().to_string(), peer[0].number().to_string());
        let mut args = vec![
            "dev",
            "--http-port",
            &ports.0,
            "--peer-port",
            &ports.1,
            "--data",
            &data,
        ];
        args.extend(extra);
        let process = Process::start(&args, &folder.join("dev.log"));
        let dev = Self {
            process,
            http,
            _peer: peer,
        };
        dev.wait_table();
        dev
    }

    fn client(&self, node: usize) -> Client {
        Client::new(self.http[node].addr())
    }

    /// Waits for the table and the three lines to try next.
    #[track_caller]
    fn wait_table(&self) {
        wait_for("the table with its three curl lines", PATIENCE, || {
            let output = self.process.output();
            let urls = self.http.iter().all(|port| {
                output.contains(&format!("http://127.0.0.1:{}", port.number()))
                    || output.contains(&format!("http://localhost:{}", port.number()))
            });
            let curls = output.matches("curl ").count();
            if urls && curls >= 3 {
                Ok(())
            } else {
                Err(self.process.tail())
            }
        });
        for node in 0..3 {
            self.client(node).get("/readyz").expect(200);
        }
    }
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned());
        let ppid = after_name.and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
        ppid == Some(parent)
    })
    .collect()
}

/// Whether the kernel may give it transparent huge pages: `THP_enabled` in proc_pid_status(5).
fn may_have_huge_pages(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    status.lines().any(|line| line == "THP_enabled:\t1")
}

#[track_caller]
fn wait_all_gone(processes: &[u32]) {
    wait_for("every node to end", PATIENCE, || {
        let left: Vec<_> = processes.iter().filter(|id| process_lives(**id)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?} still run"))
        }
    });
}

#[test]
fn dev_starts_three_nodes_keeps_their_data_and_ctrl_c_stops_them_all() {
    let folder = scratch_folder("dev");
    let mut dev = Dev::start(&folder, &[]);
    let nodes = children(dev.process.id());
    assert_eq!(nodes.len(), 3, "one process for each node");
    assert!(!nodes.iter().any(|node| may_have_huge_pages(*node)));
    dev.client(1).create_printer("kept").expect(201);
    assert!(dev.client(2).get("/printers").expect(200).json()["kept"].is_object());
    dev.process.signal(Signal::INT);
    let status = dev.process.wait(PATIENCE);
    assert!(status.success(), "{status}:\n{}", dev.process.tail());
    wait_all_gone(&nodes);
    assert_eq!(
        logs::above_warn(&dev.process.output()),
        Vec::<String>::new()
    );
    let waited = dev.process.output().contains("no node took over");
    assert!(!waited, "nobody is left to take a leadership over");
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn nodes_of_dev_do_not_outlive_it_and_fresh_starts_with_nothing() {
    let folder = scratch_folder("dev-killed");
    let mut dev = Dev::start(&folder, &[]);
    dev.client(0).create_printer("lost").expect(201);
    let nodes = children(dev.process.id());
    dev.process.kill9();
    wait_all_gone(&nodes);
    drop(dev);
    let dev = Dev::start(&folder, &["--fresh"]);
    assert_eq!(
        dev.client(0).get("/printers").expect(200).text().trim(),
        "{}"
    );
    let nodes = children(dev.process.id());
    drop(dev);
    wait_all_gone(&nodes);
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn a_node_whose_output_nobody_reads_goes_on_and_stops_cleanly() {
    let folder = scratch_folder("unread");
    let (http, peer) = (claim_row(1), claim_row(1));
    let mut child = Command::new(binary())
        .args(["serve", "--exit-on-stdin-eof", "--data"])
        .arg(folder.join("data"))
        .args(["--http", &http[0].addr().to_string()])
        .args(["--peer", &peer[0].addr().to_string()])
        .env("RAFT3D_LOG", "info")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program under test");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    drop(child.stderr.take());
    Client::new(http[0].addr()).create_printer("p1").expect(201);
    drop(child.stdin.take());
    // It logs at its end, into a pipe that nobody reads.
    let status = child.wait().expect("its end");
    assert!(status.success(), "{status}");
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn dev_finds_its_data_again() {
    let folder = scratch_folder("dev-again");
    let (http, peer) = (claim_row(3), claim_row(3));
    let data = folder.join("data").display().to_string();
    let ports = (http[0].number().to_string(), peer[0].number().to_string());
    let args = [
        "dev",
        "--http-port",
        &ports.0,
        "--peer-port",
        &ports.1,
        "--data",
        &data,
    ];
    for round in 0..2 {
        let mut process = Process::start(&args, &folder.join(format!("dev-{round}.log")));
        let client = Client::with_patience(http[2].addr(), Duration::from_secs(5));
        wait_for("the last node", PATIENCE, || {
            match client.try_call("GET", "/readyz", &[], None) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}\n{}", process.tail())),
            }
        });
        if round == 0 {
            client.create_printer("kept").expect(201);
        }
        assert!(client.get("/printers").expect(200).json()["kept"].is_object());
        let nodes = children(process.id());
        process.signal(Signal::TERM);
        assert!(process.wait(PATIENCE).success(), "{}", process.tail());
        wait_all_gone(&nodes);
    }
    std::fs::remove_dir_all(folder).expect("the folder");
}
