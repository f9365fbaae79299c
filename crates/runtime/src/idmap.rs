//! User namespaces that are nothing but a map of ids, for mounts that have a map of their own.
//!
//! ```text
//!   this process                         a process of one purpose
//!   clone3(CLONE_NEWUSER) -------------> waits
//!   writes uid_map and gid_map
//!   opens the namespace, closes the pipe -> ends
//! ```
//! The descriptor keeps the namespace after the process is gone, and each mount that is mapped by it afterwards. Equal maps
//! share one namespace.

use std::cell::RefCell;
use std::os::fd::{AsFd as _, OwnedFd};

use failure::{Context as _, Result};
use init::channel;
use sys::process::Clone;

use crate::launch::{end, open_user_namespace, pair, write_process_file};
use crate::plan::MapLines;

/// `CLONE_NEWUSER`.
const NEW_USER_NAMESPACE: u64 = 0x1000_0000;

/// The namespaces that were made for the mounts of one container.
#[derive(Default)]
pub(crate) struct Maps {
    made: RefCell<Vec<(MapLines, OwnedFd)>>,
}

impl Maps {
    /// A namespace with these maps.
    ///
    /// # Errors
    /// The kernel does not take the maps.
    pub(crate) fn namespace(&self, lines: &MapLines) -> Result<OwnedFd> {
        let mut made = self.made.borrow_mut();
        if let Some((_, namespace)) = made.iter().find(|(known, _)| known == lines) {
            return namespace.try_clone().context("cannot copy a descriptor");
        }
        let namespace = make(lines)?;
        let copy = namespace.try_clone().context("cannot copy a descriptor")?;
        made.push((lines.clone(), namespace));
        Ok(copy)
    }
}

fn make(lines: &MapLines) -> Result<OwnedFd> {
    let (ours, theirs) = pair()?;
    let cloned = sys::process::clone(NEW_USER_NAMESPACE, None).context("cannot make a user namespace for a mount")?;
    let (pid, pidfd) = match cloned {
        Clone::Child => {
            drop(ours);
            // The engine's image is nobody's to look into.
            let kept = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
            let _ = kept.and_then(|()| channel::receive(&theirs).map(drop));
            sys::process::exit(0)
        }
        Clone::Parent { pid, pidfd } => (pid.as_raw_nonzero().get(), pidfd),
    };
    drop(theirs);
    let namespace = write_process_file(pid, "uid_map", &lines.users)
        .and_then(|()| write_process_file(pid, "gid_map", &lines.groups))
        .and_then(|()| open_user_namespace(pid, &pidfd));
    end(&pidfd);
    drop(ours);
    namespace.with_context(|| {
        let one_line = |text: &str| text.trim_end().replace('\n', ", ");
        format!("cannot map user ids `{}` and group ids `{}`", one_line(&lines.users), one_line(&lines.groups))
    })
}

/// So that a mapped descriptor can be borrowed where one is needed.
pub(crate) fn map(mount: &OwnedFd, namespace: &OwnedFd, recursive: bool) -> rustix::io::Result<()> {
    if recursive {
        sys::mount::set_idmap_recursive(mount.as_fd(), namespace.as_fd())
    } else {
        sys::idmap::set_idmap(mount.as_fd(), namespace.as_fd(), 0)
    }
}
