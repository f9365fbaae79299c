//! Many independent jobs by forked processes, as many at once as there are processors. Unlike the layers of an image,
//! one that fails does not end the others: what came of each is handed over, good or bad.

use std::os::fd::AsFd;

use failure::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::process::{Child, Heard};

/// What a process of the crew said.
pub(crate) enum News {
    /// It has come so far.
    Progress(u64),
    /// It is over: what it reported, or why it failed.
    Over(Result<Vec<u8>>),
}

/// Starts job after job from `next` and tells `heard` of each, by the job's own name.
///
/// # Errors
/// A process cannot be started, or those of `heard`; all processes are gone then.
pub(crate) fn crew<T: Copy>(
    mut next: impl FnMut() -> Option<Result<(T, Child)>>,
    mut heard: impl FnMut(T, News) -> Result<()>,
) -> Result<()> {
    let most = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let mut running: Vec<(T, Child)> = Vec::new();
    let mut more = true;
    loop {
        while more && running.len() < most {
            match next() {
                Some(started) => running.push(started?),
                None => more = false,
            }
        }
        if running.is_empty() {
            return Ok(());
        }
        for at in ready(&running)?.into_iter().rev() {
            let news = match running[at].1.hear()? {
                Heard::Nothing | Heard::Said(_) => continue,
                Heard::Progress(done) => News::Progress(done),
                Heard::Done(payload) => News::Over(Ok(payload)),
                Heard::Failed(error) | Heard::Abandoned(error) => News::Over(Err(error)),
            };
            let name = match news {
                News::Progress(_) => running[at].0,
                News::Over(_) => running.swap_remove(at).0,
            };
            heard(name, news)?;
        }
    }
}

/// Which of them have something to say, in rising order.
fn ready<T>(running: &[(T, Child)]) -> Result<Vec<usize>> {
    let mut waiting: Vec<PollFd<'_>> =
        running.iter().map(|(_, child)| PollFd::from_borrowed_fd(child.report.as_fd(), PollFlags::IN)).collect();
    loop {
        match poll(&mut waiting, None) {
            Err(Errno::INTR) => {}
            other => break other.map(drop).context("wait for the checking processes")?,
        }
    }
    Ok((0..waiting.len()).filter(|at| !waiting[*at].revents().is_empty()).collect())
}
