//! What `raft3d` refuses to start with: one clear line, and an exit code that is not 0.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use raft3d_cluster_tests::cluster::{PATIENCE, scratch_folder};
use raft3d_cluster_tests::ports::{Port, claim_row};
use raft3d_cluster_tests::process::Process;
use raft3d_cluster_tests::{Cluster, Options};

/// How a node ends on which another version of the program is to be run.
const OTHER_VERSION_STATUS: i32 = 78;

/// Runs `raft3d` with `args` to its end, which must be a failure that is told in one line.
#[track_caller]
fn refusal(folder: &Path, args: &[&str]) -> String {
    refusal_with(folder, args, 1)
}

/// The same with another exit status.
#[track_caller]
fn refusal_with(folder: &Path, args: &[&str], status_expected: i32) -> String {
    let log = folder.join("refused.log");
    let _ = std::fs::remove_file(&log);
    // Logs are another matter: whatever is said without them is for the person who typed this.
    let mut process = Process::start_with(args, &[("RAFT3D_LOG", "off")], &log);
    let status = process.wait(PATIENCE);
    let said = process.output();
    let code = status.code();
    assert_eq!(code, Some(status_expected), "{args:?}: {status}:\n{said}");
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(lines.len(), 1, "one line:\n{said}");
    lines[0].to_owned()
}

/// Arguments of a cluster of one.
fn serve(data: &Path, http: &Port, peer: &Port) -> Vec<String> {
    let args = ["serve", "--node-id", "1", "--exit-on-stdin-eof", "--data"];
    let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    args.push(data.display().to_string());
    args.extend(["--http".to_owned(), http.addr().to_string()]);
    args.extend(["--peer".to_owned(), peer.addr().to_string()]);
    args
}

#[track_caller]
fn serve_refusal(folder: &Path, data: &Path, http: &Port, peer: &Port) -> String {
    let args = serve(data, http, peer);
    refusal(folder, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_taken_port() {
    let folder = scratch_folder("taken-port");
    let ports = [Port::claim(), Port::claim(), Port::claim()];
    let _taken = TcpListener::bind(ports[0].addr()).expect("the port");
    let taken = ports[0].number().to_string();
    let line = serve_refusal(&folder, &folder.join("a"), &ports[0], &ports[1]);
    assert!(line.contains(&taken), "{line}");
    let line = serve_refusal(&folder, &folder.join("b"), &ports[2], &ports[0]);
    assert!(line.contains(&taken), "{line}");

    let (http, peer) = (claim_row(3), claim_row(3));
    let _taken = TcpListener::bind(http[1].addr()).expect("the port");
    let (http_port, peer_port) = (http[0].number().to_string(), peer[0].number().to_string());
    let data = folder.join("dev").display().to_string();
    let args = [
        "dev",
        "--http-port",
        &http_port,
        "--peer-port",
        &peer_port,
        "--data",
        &data,
    ];
    let line = refusal(&folder, &args);
    assert!(line.contains(&http[1].number().to_string()), "{line}");
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn a_data_folder_in_use_or_of_another_version() {
    let folder = scratch_folder("bad-folder");
    let mut cluster = Cluster::start("folder-in-use", Options::nodes(1));
    let ports = [Port::claim(), Port::claim()];
    let data: PathBuf = cluster.data(0).to_owned();
    let name = data.display().to_string();
    let line = serve_refusal(&folder, &data, &ports[0], &ports[1]);
    assert!(line.contains(&name) && line.contains("in use"), "{line}");
    // Whoever had the folder goes on with it.
    cluster.client(0).create_printer("p1").expect(201);

    cluster.stop(0);
    let version = data.join("VERSION");
    let ours = std::fs::read_to_string(&version).expect("VERSION");
    let (format, _) = ours.split_once(' ').expect("a name and a version");
    // So that a service manager can tell it from what goes away by itself.
    for (number, said) in [(99, "was written by a newer version"), (1, "has format 1")] {
        let other = format!("{format} {number}\n");
        std::fs::write(&version, &other).expect("VERSION");
        let args = serve(&data, &ports[0], &ports[1]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let line = refusal_with(&folder, &args, OTHER_VERSION_STATUS);
        assert!(line.contains(&name) && line.contains(said), "{line}");
        assert_eq!(std::fs::read_to_string(&version).expect("VERSION"), other);
    }
    std::fs::write(&version, ours).expect("VERSION");
    cluster.restart(0);
    assert_eq!(cluster.client(0).list_stale("printers", 0).len(), 1);
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn an_address_beyond_loopback_without_being_told_that_it_is_insecure() {
    let folder = scratch_folder("insecure");
    let port = Port::claim();
    let data = folder.join("data").display().to_string();
    let peer = port.addr().to_string();
    let args = [
        "serve",
        "--node-id",
        "1",
        "--data",
        &data,
        "--http",
        "0.0.0.0:0",
        "--peer",
        &peer,
    ];
    let line = refusal(&folder, &args);
    assert!(line.contains("--insecure"), "{line}");
    std::fs::remove_dir_all(folder).expect("the folder");
}
