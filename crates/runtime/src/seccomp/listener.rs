//! The supervisor that decides on calls which a filter leaves open (`SCMP_ACT_NOTIFY`), as the specification has it.
//!
//! ```text
//!   this process                        the new process                 who listens at listenerPath
//!   connects (nobody there: an error) ------------------------------->  accepts
//!   clone ----------------------------> has the connection, a file
//!   writes the state into the file
//!   START ----------------------------> loads its filter; the witness
//!                                       sends state and descriptor ---> one message, then end of file
//! ```
//! ```json
//! { "ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 4422, "metadata": "...",
//!   "state": { "ociVersion": "1.3.0", "id": "...", "status": "creating", "pid": 4422, "bundle": "/..." } }
//! ```
//! `fds` names the descriptors that come with the first byte. For a further process of a container `pid` is its number, the
//! state is the container's, and `status` is `running`.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use oci_spec::runtime::LinuxSeccomp;
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Serialize;

use super::check;
use crate::hooks::State;

/// The name of the descriptor that the specification gives it.
const DESCRIPTOR: &str = "seccompFd";

/// What a filter says of its supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    path: PathBuf,
    metadata: Option<String>,
}

/// A connection to a supervisor, before it was told of the process.
#[derive(Debug)]
pub(crate) struct Connection {
    connection: OwnedFd,
    state: File,
    metadata: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

impl Listener {
    /// The supervisor of a filter, if any of its calls is left to one.
    ///
    /// # Errors
    /// The path is not absolute.
    pub(crate) fn of(filter: &LinuxSeccomp) -> Result<Option<Self>> {
        let path = filter.listener_path().as_ref().filter(|_| check::notifies(filter));
        let Some(path) = path else { return Ok(None) };
        if !path.is_absolute() {
            let path = path.display();
            return Err(Error::invalid(format!("the seccomp filter's `listenerPath` `{path}` is not absolute")));
        }
        Ok(Some(Self { path: path.clone(), metadata: filter.listener_metadata().clone() }))
    }

    /// Connects to it.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let line = || format!("cannot reach the seccomp supervisor at `{}`", self.path.display());
        let connection = connect(&self.path).with_context(line)?;
        let state = rustix::fs::memfd_create(c"state", MemfdFlags::CLOEXEC).context("cannot make a file in memory")?;
        Ok(Connection { connection, state: state.into(), metadata: self.metadata.clone() })
    }
}

impl Connection {
    /// What the new process needs of it.
    pub(crate) fn borrow(&self) -> init::step::Supervisor<'_> {
        init::step::Supervisor { connection: self.connection.as_fd(), state: self.state.as_fd() }
    }

    /// Writes what the new process will send. It must not have been started yet.
    pub(crate) fn tell(mut self, pid: i32, state: &State) -> Result<()> {
        let told = ProcessState {
            oci_version: &state.oci_version,
            fds: [DESCRIPTOR],
            pid,
            metadata: self.metadata.as_deref().filter(|text| !text.is_empty()),
            state,
        };
        let text =
            serde_json::to_vec(&told).map_err(|error| Error::internal("cannot write a state").with_source(error))?;
        self.state.write_all(&text).context("cannot write the state for the seccomp supervisor")
    }
}

/// A path may be longer than an address takes: its directory is then reached by descriptor.
fn connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if let Ok(address) = SocketAddrUnix::new(path) {
        rustix::net::connect(&socket, &address)?;
        return Ok(socket);
    }
    let (directory, name) = (path.parent(), path.file_name());
    let (directory, name) = directory.zip(name).ok_or(rustix::io::Errno::INVAL)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
    let short = Path::new("/proc/self/fd").join(number.to_string()).join(name);
    rustix::net::connect(&socket, &SocketAddrUnix::new(&short)?)?;
    Ok(socket)
}
