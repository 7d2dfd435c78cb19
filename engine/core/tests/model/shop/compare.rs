//! The rows of a replica against the model.

use std::collections::{BTreeMap, BTreeSet};

use raft3d_core::command::Actor;
use raft3d_core::state::decisions::{self, DecisionRecord};
use raft3d_core::state::ledger::LedgerKind;
use raft3d_core::state::memory::MemoryRows;
use raft3d_core::state::{events, filaments, jobs, ledger, meta, modules, printers, rulesets};
use raft3d_core::{JobId, PrinterId, Revision};

use super::{Asked, Print, Shop};

impl Shop {
    /// Everything that can be read is what the model says.
    pub(crate) fn compare(&self, rows: &MemoryRows) {
        let totals = meta::totals(rows).unwrap();
        assert_eq!(totals.log_time_ms, self.now_ms, "log time");
        assert_eq!(totals.requests as usize, self.records.len(), "records");
        assert_eq!(
            events::list(rows, None, 10_000).unwrap().len(),
            self.events,
            "events"
        );
        let printers: Vec<_> = printers::list(rows, None, 100).unwrap();
        let ids: Vec<_> = printers
            .iter()
            .map(|printer| printer.id.to_string())
            .collect();
        assert_eq!(ids, self.printers);
        for id in &self.printers {
            self.compare_printer(rows, &PrinterId::new(id));
        }
        let names: Vec<_> = modules::list(rows, None, 100).unwrap();
        let mut names: Vec<_> = names.into_iter().map(|info| info.manifest.name).collect();
        names.sort();
        let mut expected = self.modules.clone();
        expected.sort_unstable();
        assert_eq!(names, expected);
        let history = rulesets::history(rows, None, 100).unwrap();
        let revisions: Vec<_> = history.iter().map(|revision| revision.revision.0).collect();
        assert_eq!(
            revisions,
            self.rulesets.iter().rev().map(|r| r.0).collect::<Vec<_>>()
        );
        self.compare_filaments(rows);
        self.compare_jobs(rows);
        self.compare_decisions(rows);
    }

    fn compare_decisions(&self, rows: &MemoryRows) {
        let shown = |record: &DecisionRecord| Asked {
            index: record.revision.0,
            at_ms: record.at_ms,
            job: record.job.to_string(),
            evaluations: record.decisions.len(),
            epoch: record.epoch,
        };
        let kept = decisions::list(rows, None, 10_000).unwrap();
        let kept: Vec<Asked> = kept.iter().map(shown).collect();
        assert_eq!(kept, self.decisions);
        let jobs: BTreeSet<&String> = kept.iter().map(|asked| &asked.job).collect();
        for job in jobs.into_iter().chain([&"never".to_owned()]) {
            let expected = kept.iter().filter(|asked| asked.job == *job);
            let expected: Vec<_> = expected.cloned().collect();
            for page_len in [1, 2, 10_000] {
                let mut of_job: Vec<Asked> = Vec::new();
                loop {
                    let after = of_job.last().map(|asked| Revision(asked.index));
                    let page = decisions::of_job(rows, &JobId::new(job), after, page_len).unwrap();
                    of_job.extend(page.iter().map(shown));
                    if page.len() < page_len {
                        break;
                    }
                }
                assert_eq!(of_job, expected);
            }
        }
        // A row that leads to each record of which the job's own row does not tell, and one for each
        // entry of which any part is kept.
        let of_table = |tag| rows.iter().filter(move |(key, _)| key[0] == tag);
        let created = |asked: &&Asked| {
            let print = self.prints.get(&asked.job);
            print.is_some_and(|print| print.created == asked.index)
        };
        let not_created = kept.iter().filter(|asked| !created(asked)).count();
        assert_eq!(of_table(0x71).count(), not_created);
        let in_entry = self.records.values().filter(|record| record.in_entry);
        let mut entries = self.eventful.clone();
        entries.extend(in_entry.map(|record| record.index));
        entries.extend(self.decisions.iter().map(|asked| asked.index));
        let revision = |key: &[u8]| u64::from_be_bytes(*key.last_chunk().unwrap());
        let rows: BTreeSet<u64> = of_table(0x70).map(|(key, _)| revision(key)).collect();
        assert_eq!(rows, entries);
    }

    fn compare_printer(&self, rows: &MemoryRows, id: &PrinterId) {
        let here = || {
            self.prints
                .iter()
                .filter(|(_, print)| print.printer == id.as_str())
        };
        let load = printers::load(rows, id).unwrap();
        assert_eq!(
            load.open as usize,
            here().filter(|(_, p)| !p.terminal()).count()
        );
        assert_eq!(
            load.occupying as usize,
            here().filter(|(_, p)| p.state == "Running").count()
        );
        for state in ["Queued", "Running", "Paused", "Done"] {
            let mut queue: Vec<_> = here()
                .filter(|(_, p)| p.state == state && !p.terminal())
                .collect();
            queue.sort_by_key(|(_, print)| (-print.priority, print.created));
            let queue: Vec<_> = queue.into_iter().map(|(id, _)| JobId::new(id)).collect();
            assert_eq!(printers::queue(rows, id, state, 100).unwrap(), queue);
        }
    }

    fn compare_filaments(&self, rows: &MemoryRows) {
        let found = filaments::list(rows, None, 100).unwrap();
        assert_eq!(found.len(), self.spools.len());
        for (filament, (id, spool)) in found.iter().zip(&self.spools) {
            assert_eq!(filament.id.as_str(), id);
            assert_eq!(filament.total.mg(), spool.total);
            assert_eq!(filament.remaining.mg(), spool.remaining);
            assert_eq!(
                filament.reserved.mg(),
                self.reserved(id),
                "the open jobs' reservations"
            );
            assert!(filament.remaining <= filament.total);
            let lines = ledger::list(rows, &filament.id, None, 1_000).unwrap();
            let sum = |kind| -> u64 {
                lines
                    .iter()
                    .filter(|line| line.kind == kind)
                    .map(|line| line.amount.mg())
                    .sum()
            };
            let (loaded, deducted) = (sum(LedgerKind::Loaded), sum(LedgerKind::Deducted));
            assert_eq!((loaded, deducted), (spool.loaded, spool.deducted));
            assert_eq!(
                loaded,
                filament.remaining.mg() + deducted,
                "no gram is lost or made"
            );
        }
    }

    fn compare_jobs(&self, rows: &MemoryRows) {
        let found = jobs::list(rows, &jobs::JobFilter::default(), None, 1_000).unwrap();
        assert_eq!((found.jobs.len(), found.next), (self.prints.len(), None));
        let mut states: BTreeMap<&str, u64> = BTreeMap::new();
        for (job, (id, print)) in found.jobs.iter().zip(&self.prints) {
            assert_eq!(job.id.as_str(), id);
            assert_eq!(job.state.name, print.state);
            assert_eq!(job.state.terminal, print.terminal());
            assert_eq!(job.deducted.mg(), print.deducted);
            assert_eq!(job.reservation().mg(), print.reserved());
            assert_eq!((job.created_by.name.as_str()), print.actor);
            if !print.terminal() {
                *states.entry(print.state).or_default() += 1;
            }
        }
        let open = jobs::open_by_state(rows).unwrap();
        let open: BTreeMap<&str, u64> = open
            .iter()
            .map(|count| (count.state.as_str(), count.jobs))
            .collect();
        assert_eq!(open, states);
        for name in ["ann", "bob"] {
            let actor = Actor {
                name: name.to_owned(),
                verified: true,
            };
            let mine = || self.prints.values().filter(|p| p.actor == name);
            let load = jobs::actor_load(rows, &actor).unwrap();
            let open = mine().filter(|p| !p.terminal()).count();
            assert_eq!(load.open as usize, open, "open jobs of {name}");
            let reserved = mine().map(Print::reserved).sum::<u64>();
            assert_eq!(load.reserved_mg, reserved, "{name} reserves");
        }
    }
}
