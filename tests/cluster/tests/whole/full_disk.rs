//! A full disk, mended by a person who has nothing but what the node says.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use raft3d_cluster_tests::Client;
use raft3d_cluster_tests::cluster::{PATIENCE, scratch_folder};
use raft3d_cluster_tests::ports::{Port, claim_row};
use raft3d_cluster_tests::process::{Process, binary, wait_for};

/// Size of the disk: two segments of the log (64 MiB), and more than what ends the alarm (96 MiB).
const DISK: &str = "256m";

/// A disk of its own, in a namespace that lives as long as this.
struct SmallDisk {
    holder: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// None if this system lets nobody mount one.
    fn new(folder: &Path) -> Option<Self> {
        let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$0\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(["-rm", "sh", "-c", script])
            .arg(folder)
            .arg(DISK)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let stdout = holder.stdout.take()?;
        BufReader::new(stdout).read_line(&mut line).ok()?;
        let disk = Self {
            holder,
            folder: folder.to_owned(),
        };
        (line == "mounted\n").then_some(disk)
    }

    /// The disk, seen from outside its namespace.
    fn seen_outside(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        let inside = self.folder.strip_prefix("/").expect("an absolute path");
        Path::new(&root).join(inside)
    }

    fn fill(&self) {
        let mut file = File::create(self.seen_outside().join("filler")).expect("a file");
        for bytes in [1 << 20, 4096, 1] {
            while file.write_all(&vec![7; bytes]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.seen_outside().join("filler")).expect("the filler");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

struct Alone<'a> {
    disk: &'a SmallDisk,
    name: &'a str,
    http: Vec<Port>,
    peer: Vec<Port>,
    log: PathBuf,
}

impl<'a> Alone<'a> {
    fn new(disk: &'a SmallDisk, name: &'a str, folder: &Path) -> Self {
        Self {
            disk,
            name,
            http: claim_row(1),
            peer: claim_row(1),
            log: folder.join(format!("{name}.log")),
        }
    }

    fn data(&self) -> PathBuf {
        self.disk.folder.join(self.name)
    }

    fn start(&self) -> Process {
        let holder = self.disk.holder.id().to_string();
        let enter = ["--preserve-credentials", "-U", "-m", "-t", &holder, "--"];
        let mut args: Vec<String> = enter.map(str::to_owned).into();
        args.push(binary().display().to_string());
        for (flag, value) in [
            ("serve", None),
            ("--exit-on-stdin-eof", None),
            ("--data", Some(self.data().display().to_string())),
            ("--http", Some(self.http[0].addr().to_string())),
            ("--peer", Some(self.peer[0].addr().to_string())),
        ] {
            args.push(flag.to_owned());
            args.extend(value);
        }
        Process::start_program(Path::new("nsenter"), &args, &[], &self.log)
    }

    fn client(&self) -> Client {
        Client::new(self.http[0].addr())
    }

    fn wait_readyz(&self, process: &Process, status: u16, parts: &[&str]) {
        wait_for("/readyz", PATIENCE, || {
            match self.client().try_call("GET", "/readyz", &[], None) {
                Ok(answer)
                    if answer.status == status
                        && parts.iter().all(|part| answer.text().contains(part)) =>
                {
                    Ok(())
                }
                other => Err(format!("{other:?}\n{}", process.tail())),
            }
        });
    }
}

#[test]
fn a_full_disk_is_mended_by_what_the_node_says_and_nothing_else() {
    let folder = scratch_folder("full-disk");
    let place = folder.join("disk");
    fs::create_dir_all(&place).expect("a folder");
    let Some(disk) = SmallDisk::new(&place) else {
        println!("NOT RUN: this system lets nobody mount a disk of its own");
        return;
    };
    let node = Alone::new(&disk, "node", &folder);
    let mut process = node.start();
    node.wait_readyz(&process, 200, &[]);
    node.client().create_printer("before").expect(201);

    disk.fill();
    let data = node.data().display().to_string();
    let says = [
        data.as_str(),
        "is full",
        "make room there, and the node goes on by itself",
    ];
    node.wait_readyz(&process, 503, &says);
    let refused = node.client().create_printer("never").expect(503).json();
    assert_eq!(refused["type"], "/docs/problems/writes-paused");
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(&data), "{detail}");
    let reads = |process: &Process| {
        let answer = node.client().get("/api/v1/printers");
        assert_eq!(answer.status, 200, "{answer}\n{}", process.tail());
        answer.text()
    };
    assert!(reads(&process).contains("before"));

    // The power goes, and comes back while the disk is still full: it is read all the same.
    process.kill9();
    process = node.start();
    node.wait_readyz(&process, 503, &says);
    wait_for("reads", PATIENCE, || {
        let answer = node.client().get("/api/v1/printers");
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{answer}\n{}", process.tail()))
        }
    });
    let read = reads(&process);
    assert!(read.contains("before") && !read.contains("never"), "{read}");

    disk.make_room();
    node.wait_readyz(&process, 200, &[]);
    node.client().create_printer("after").expect(201);
    assert!(process.is_running(), "nobody restarted it");
    drop(process);
    drop(disk);
    fs::remove_dir_all(folder).expect("the folder");
}
