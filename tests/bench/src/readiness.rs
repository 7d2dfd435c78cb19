//! From a cut to `/readyz` 503, and from healing to 200, through proxies between real processes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use indicatif::ProgressBar;
use raft3d_checkers::report::Table;
use raft3d_cluster_tests::{Load, LoadOptions};
use raft3d_nemesis::fleet::{Fleet, Tools};

use crate::setting::{Setting, bar, remove};
use crate::stats::{Rounds, short};
use crate::table::table;
use crate::targets::Target;

/// Longest from a cut to 503, in seconds.
const CUT_MOST_S: f64 = 5.0;
/// Longest from healing to 200, in seconds.
const HEALED_MOST_S: f64 = 2.0;
/// A node that does not turn within this is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at `/readyz`.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait for one answer of `/readyz`.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// For how long a cut lasts after it was seen: longer than a connection is kept that brings no
/// answer, on every second round.
const CUT_LASTS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
/// Nodes of the cluster.
const NODES: usize = 3;

/// Who is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Follower,
    Leader,
    LastOfThree,
}

impl Who {
    const EACH: [Self; 3] = [Self::Follower, Self::Leader, Self::LastOfThree];

    const fn name(self) -> &'static str {
        match self {
            Self::Follower => "a follower, cut off",
            Self::Leader => "the leader, cut off",
            Self::LastOfThree => "the last of three, the others killed and started again",
        }
    }
}

/// What one kind of cut came to.
#[derive(Debug)]
struct Turns {
    who: &'static str,
    /// Seconds from the cut to 503.
    cut: Rounds,
    /// Seconds from healing to 200.
    healed: Rounds,
}

/// What was measured.
#[derive(Debug)]
pub struct Results {
    turns: Vec<Turns>,
    /// Looks at a node under load, and how many of them said 503.
    looks: usize,
    not_ready: usize,
    load_s: f64,
}

/// Cuts and heals `times` times for each kind; then looks at all nodes under load for as long as
/// one window lasts.
///
/// # Errors
/// The cluster does not come up, or a node does not turn.
pub fn run(setting: &Setting, times: usize) -> Result<Results> {
    let folder = setting.folder("readiness")?;
    let tools = Tools {
        clock: None,
        no_disk: Some("disks are left alone".to_owned()),
    };
    let fleet = Fleet::start(folder.clone(), NODES, tools, None);
    let mut fleet = fleet.map_err(|why| anyhow!(why))?;
    let bar = bar("readiness", (times * Who::EACH.len()) as u64);
    let mut turns = Vec::new();
    for who in Who::EACH {
        let (mut cut, mut healed) = (Rounds::default(), Rounds::default());
        for lasts in CUT_LASTS.into_iter().cycle().take(times) {
            let (to_503, to_200) = turn(&mut fleet, who, lasts)?;
            cut.push(to_503);
            healed.push(to_200);
            bar.inc(1);
        }
        let who = who.name();
        turns.push(Turns { who, cut, healed });
    }
    let (looks, not_ready, load_s) = under_load(&mut fleet, setting.window, &bar)?;
    bar.finish_and_clear();
    drop(fleet);
    remove(&folder)?;
    Ok(Results {
        turns,
        looks,
        not_ready,
        load_s,
    })
}

/// One cut and its end: the seconds until the node said so, each.
fn turn(fleet: &mut Fleet, who: Who, lasts: Duration) -> Result<(f64, f64)> {
    let all = fleet.places();
    let ready = fleet.wait_ready(&all, PATIENCE);
    ready.map_err(|why| anyhow!(why))?;
    let leader = leader(fleet)?;
    let place = match who {
        Who::Follower => all.iter().copied().find(|place| *place != leader),
        Who::Leader | Who::LastOfThree => Some(leader),
    };
    let place = place.context("a node to cut off")?;
    let others: Vec<usize> = all.into_iter().filter(|other| *other != place).collect();
    let began = Instant::now();
    if who == Who::LastOfThree {
        fleet.kill9(&others);
    } else {
        for other in &others {
            fleet.net.cut(place, *other);
            fleet.net.cut(*other, place);
        }
    }
    let to_503 = wait_status(fleet, place, 503, began)?;
    std::thread::sleep(lasts);
    if who == Who::LastOfThree {
        fleet.start_nodes(&others);
        // Healed is when a majority could be there: the first of them serves its peers.
        let first = others.first().copied().context("another node")?;
        wait_listening(fleet, first)?;
    }
    let healed = Instant::now();
    fleet.net.heal(false);
    let to_200 = wait_status(fleet, place, 200, healed)?;
    Ok((to_503, to_200))
}

fn leader(fleet: &mut Fleet) -> Result<usize> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(leader) = fleet.leader() {
            return Ok(leader);
        }
        ensure!(Instant::now() < until, "nobody leads");
        std::thread::sleep(LOOK);
    }
}

fn status(fleet: &Fleet, place: usize) -> Option<u16> {
    let client = fleet.client(place, ANSWER_PATIENCE);
    let answer = client.try_call("GET", "/readyz", &[], None);
    answer.ok().map(|answer| answer.status)
}

fn wait_status(fleet: &Fleet, place: usize, wanted: u16, since: Instant) -> Result<f64> {
    while status(fleet, place) != Some(wanted) {
        let waited = since.elapsed();
        ensure!(waited < PATIENCE, "node {place} has not said {wanted} yet");
        std::thread::sleep(LOOK);
    }
    Ok(since.elapsed().as_secs_f64())
}

fn wait_listening(fleet: &Fleet, place: usize) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while status(fleet, place).is_none() {
        ensure!(Instant::now() < until, "node {place} does not come up");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Looks at all nodes again and again while they are written to.
fn under_load(
    fleet: &mut Fleet,
    window: Duration,
    bar: &ProgressBar,
) -> Result<(usize, usize, f64)> {
    let all = fleet.places();
    let ready = fleet.wait_ready(&all, PATIENCE);
    ready.map_err(|why| anyhow!(why))?;
    let client = fleet.client(0, PATIENCE);
    client.create_printer("p1").expect(201);
    client
        .create_filament("f1", "PLA", 1_000_000_000)
        .expect(201);
    let load = Load::start(LoadOptions {
        targets: all.iter().map(|place| fleet.node(*place).http()).collect(),
        connections: 64,
        prefix: "load".to_owned(),
        printer: "p1".to_owned(),
        filament: "f1".to_owned(),
        grams: 1,
    });
    let began = Instant::now();
    let (mut looks, mut not_ready) = (0, 0);
    while began.elapsed() < window {
        for place in &all {
            looks += 1;
            not_ready += usize::from(status(fleet, *place) != Some(200));
        }
        bar.tick();
        std::thread::sleep(LOOK);
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(load.abort());
    Ok((looks, not_ready, seconds))
}

impl Results {
    /// What was measured.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let head = [
            "who",
            "times",
            "to 503: median",
            "worst",
            "to 200: median",
            "worst",
        ];
        let mut shown = table("Readiness after a cut and after healing, seconds", &head);
        for Turns { who, cut, healed } in &self.turns {
            shown.rows.push(vec![
                (*who).to_owned(),
                cut.len().to_string(),
                short(cut.median()),
                short(cut.max()),
                short(healed.median()),
                short(healed.max()),
            ]);
        }
        let mut load = table("Readiness under load", &["seconds", "looks", "not ready"]);
        load.rows.push(vec![
            short(self.load_s),
            self.looks.to_string(),
            self.not_ready.to_string(),
        ]);
        vec![shown, load]
    }

    /// What must be reached.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let worst = |of: fn(&Turns) -> &Rounds, name: &str| {
            let all = self.turns.iter().filter(|turns| turns.who.contains(name));
            all.map(|turns| of(turns).max()).fold(0.0, f64::max)
        };
        let cut = worst(|turns| &turns.cut, "");
        // After a kill the others have to start first.
        let healed = worst(|turns| &turns.healed, "cut off");
        let say = |worst: f64| format!("{} s worst", short(worst));
        vec![
            Target::new(
                "cut to /readyz 503",
                format!("at most {CUT_MOST_S} s"),
                say(cut),
                cut <= CUT_MOST_S,
            ),
            Target::new(
                "healed to /readyz 200",
                format!("at most {HEALED_MOST_S} s"),
                say(healed),
                healed <= HEALED_MOST_S,
            ),
            Target::new(
                "readiness under load",
                "no 503",
                format!("{} of {} looks", self.not_ready, self.looks),
                self.not_ready == 0,
            ),
        ]
    }
}
