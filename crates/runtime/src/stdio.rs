//! What a new process has as its descriptors 0, 1 and 2.

use std::os::fd::OwnedFd;

/// The standard streams of a new process.
#[derive(Debug)]
pub enum Stdio {
    /// A terminal in the container's own devpts; its master comes back in [`crate::Running::terminal`].
    Terminal {
        /// Height in lines; 0 if unknown.
        rows: u16,
        /// Width in columns; 0 if unknown.
        columns: u16,
    },
    /// These files. Anonymous pipes among them are given to the process's user, so that it can open `/dev/stdout`.
    Files {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
}
