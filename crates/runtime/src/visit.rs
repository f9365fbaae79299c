//! Staying in namespaces of others, and coming back.
//!
//! What is cloned meanwhile is born there, and file systems that are made show what lives there. A user namespace is entered
//! for good: whoever must look into one sends a child.

use std::os::fd::{AsFd as _, OwnedFd};

use failure::{Context as _, Error, Result};
use init::channel::{self, Message};
use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;
use sys::process::Clone;

use crate::launch::{end, pair};
use crate::plan::{Joined, Names};

/// A stay in other namespaces. Not kinds that there is no way back from.
pub(crate) struct Visit<'a> {
    homes: Vec<(OwnedFd, &'a Joined)>,
}

impl<'a> Visit<'a> {
    pub(crate) fn enter(joins: impl Iterator<Item = &'a Joined>) -> Result<Self> {
        let mut visit = Self { homes: Vec::new() };
        for join in joins {
            let home = rustix::fs::open(format!("/proc/thread-self/ns/{}", join.name()), FLAGS, Mode::empty())
                .with_context(|| format!("cannot open this process's {} namespace", join.name()))?;
            let entered = rustix::thread::move_into_link_name_space(join.file.as_fd(), join.link_type())
                .with_context(|| format!("cannot join the {} namespace `{}`", join.name(), join.path.display()));
            if let Err(failed) = entered {
                visit.leave()?;
                return Err(failed);
            }
            visit.homes.push((home, join));
        }
        Ok(visit)
    }

    pub(crate) fn leave(self) -> Result<()> {
        for (home, join) in self.homes.into_iter().rev() {
            rustix::thread::move_into_link_name_space(home.as_fd(), join.link_type())
                .with_context(|| format!("cannot come back from the {} namespace", join.name()))?;
        }
        Ok(())
    }
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// Gives the visited uts namespace its names: the container's own root may have no say over it.
pub(crate) fn set_names(names: &Names) -> Result<()> {
    if let Some(host) = &names.host {
        rustix::system::sethostname(host.as_bytes()).with_context(|| format!("cannot set the host name `{host}`"))?;
    }
    if let Some(domain) = &names.domain {
        rustix::system::setdomainname(domain.as_bytes())
            .with_context(|| format!("cannot set the domain name `{domain}`"))?;
    }
    Ok(())
}

/// Whether a namespace belongs to a user namespace. What cannot be told belongs to another one.
pub(crate) fn belongs(namespace: &Joined, user: &Joined) -> bool {
    let Ok(owner) = sys::namespace::owner(namespace.file.as_fd()) else { return false };
    let node = |file| rustix::fs::fstat(file).map(|found| (found.st_dev, found.st_ino));
    match (node(owner.as_fd()), node(user.file.as_fd())) {
        (Ok(owner), Ok(user)) => owner == user,
        _ => false,
    }
}

/// The maps of users and groups of a user namespace, in the ids of this process's own: from a child that lives there for
/// a moment, since only processes show them.
pub(crate) fn maps_of(namespace: &Joined) -> Result<(String, String)> {
    let failed = || format!("cannot read the maps of the user namespace `{}`", namespace.path.display());
    let (ours, theirs) = pair()?;
    match sys::process::clone(0, None).with_context(failed)? {
        Clone::Child => {
            drop(ours);
            // Until its end nobody who lives there may look into this image of the engine.
            let entered = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).and_then(|()| {
                rustix::thread::move_into_link_name_space(namespace.file.as_fd(), namespace.link_type())
            });
            let message = match entered {
                Ok(()) => Message::Settled,
                Err(errno) => Message::Failed { step: 0, errno: errno.raw_os_error() },
            };
            let told = channel::send(&theirs, message, None).and_then(|()| channel::receive(&theirs));
            sys::process::exit(i32::from(told.is_err()))
        }
        Clone::Parent { pid, pidfd } => {
            drop(theirs);
            let heard = channel::receive(&ours);
            let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
            let maps = read("uid_map").and_then(|users| Ok((users, read("gid_map")?)));
            end(&pidfd);
            match heard.with_context(failed)? {
                Some((Message::Settled, _)) => maps.with_context(failed),
                Some((Message::Failed { errno, .. }, _)) => {
                    Err(rustix::io::Errno::from_raw_os_error(errno)).with_context(failed)
                }
                _ => Err(Error::internal("the helper in the user namespace ended too early")),
            }
        }
    }
}
