//! The thread that makes the next segment ahead of time and removes those that are not needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::error::LogError;
use super::segment::{self, Segment};
use super::shared::Shared;

/// Jobs that may wait. A purge of more segments than this is held up by their removal.
const JOBS_MAX: usize = 64;

#[derive(Debug)]
enum Job {
    Make(u64),
    Remove(Arc<Segment>),
    SyncDir,
}

/// The writer's end of the thread.
#[derive(Debug)]
pub(super) struct Preparer {
    /// None while the thread is being ended.
    jobs: Option<SyncSender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    made: Receiver<Segment>,
    /// Segments that were there when the log was opened, the next one last.
    prepared: Vec<Segment>,
}

impl Preparer {
    /// Starts the thread. Where there is no empty segment yet, it makes segment `next`.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn spawn(
        dir: PathBuf,
        shared: Arc<Shared>,
        mut prepared: Vec<Segment>,
        next: u64,
    ) -> Result<Self, LogError> {
        let (jobs, todo) = sync_channel(JOBS_MAX);
        // One segment is made ahead, never more.
        let (done, made) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("raft-log-segments".to_owned())
            .spawn(move || {
                if let Err(error) = run(&dir, &shared, &todo, &done) {
                    shared.fail(error);
                }
            })
            .map_err(LogError::io("start a thread for", "the log's segments"))?;
        prepared.reverse();
        let preparer = Self {
            jobs: Some(jobs),
            thread: Some(thread),
            made,
            prepared,
        };
        if preparer.prepared.is_empty() {
            preparer.give(Job::Make(next))?;
        }
        Ok(preparer)
    }

    /// Segment `ordinal`, waiting until it is made; the one after it is made next.
    ///
    /// # Errors
    /// It could not be made.
    pub(super) fn take(&mut self, ordinal: u64) -> Result<Segment, LogError> {
        let segment = match self.prepared.pop() {
            Some(segment) => segment,
            None => self.made.recv().map_err(|_| ended())?,
        };
        if self.prepared.is_empty() {
            self.give(Job::Make(ordinal + 1))?;
        }
        Ok(segment)
    }

    /// Removes segments, oldest first.
    ///
    /// # Errors
    /// The thread ended.
    pub(super) fn remove(
        &self,
        segments: impl Iterator<Item = Arc<Segment>>,
    ) -> Result<(), LogError> {
        for segment in segments {
            self.give(Job::Remove(segment))?;
        }
        self.give(Job::SyncDir)
    }

    fn give(&self, job: Job) -> Result<(), LogError> {
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(job).map_err(|_| ended())
    }
}

/// Waits for the thread: nobody touches the folder once the log is closed.
impl Drop for Preparer {
    fn drop(&mut self) {
        self.jobs = None;
        // A panic of the thread shows as a fault the next time that a segment is needed.
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// The thread fails the log with what stopped it, which counts more than this.
fn ended() -> LogError {
    LogError::ThreadEnded { thread: "segments" }
}

fn run(
    dir: &Path,
    shared: &Shared,
    todo: &Receiver<Job>,
    done: &SyncSender<Segment>,
) -> Result<(), LogError> {
    for job in todo {
        match job {
            Job::Make(ordinal) => {
                let made = Segment::create(dir, ordinal, shared.options.segment_bytes)?;
                if done.send(made).is_err() {
                    return Ok(());
                }
            }
            Job::Remove(segment) => {
                // Readers that still hold the file read on; its space is free once they are done.
                let path = &segment.path;
                std::fs::remove_file(path).map_err(LogError::io("remove", path))?;
            }
            Job::SyncDir => segment::sync_dir(dir)?,
        }
    }
    Ok(())
}
