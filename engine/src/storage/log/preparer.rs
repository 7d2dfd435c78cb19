//! The thread that makes the next segment ahead of time and removes those that are not needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::error::LogError;
use super::segment::{self, Segment};
use super::shared::Shared;
use crate::storage::room;

/// Jobs that may wait. A purge of more segments than this is held up by their removal.
const JOBS_MAX: usize = 64;
/// Between two tries while the disk is full.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks whether the log is being closed meanwhile.
const CLOSING_PAUSE: Duration = Duration::from_millis(50);

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
                let Some(made) = make(dir, shared, ordinal)? else {
                    return Ok(());
                };
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

/// Makes a segment; while the disk is full, tries again and says so. None if the log is closed before
/// there is room.
fn make(dir: &Path, shared: &Shared, ordinal: u64) -> Result<Option<Segment>, LogError> {
    let mut told = false;
    loop {
        match Segment::create(dir, ordinal, shared.options.segment_bytes) {
            Err(LogError::Io { what, path, error }) if room::is_full(&error) => {
                // What is there of it would keep others from the little room that there is.
                let _ = std::fs::remove_file(segment::unfinished_path(dir));
                let said = format!("cannot {what} {}: {error}", path.display());
                if !std::mem::replace(&mut told, true) {
                    tracing::error!("{said}; the log goes on by itself when there is room");
                }
                shared.lock().no_room = Some(said);
            }
            made => {
                if told {
                    tracing::info!("there is room for the log again");
                }
                shared.lock().no_room = None;
                return made.map(Some);
            }
        }
        let again = Instant::now() + ROOM_PAUSE;
        while Instant::now() < again {
            if shared.lock().closing {
                return Ok(None);
            }
            thread::sleep(CLOSING_PAUSE);
        }
    }
}
