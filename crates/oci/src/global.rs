//! What stands before the command: where state is, where failures are logged, how cgroups are driven.

use std::path::PathBuf;

use failure::{Error, Result};

use crate::flags::{Flag, Words};
use crate::log::{Format, Log};

const ROOTLESS: [&str; 8] = ["", "auto", "true", "1", "t", "false", "0", "f"];

/// The flags before the command.
pub(crate) static FLAGS: &[Flag] = &[
    Flag::plain(&["debug"], "enable debug logging"),
    Flag::value(&["log"], "set the log file to write logs to (default is '/dev/stderr')"),
    Flag::value(&["log-format"], "set the log format ('text' (default), or 'json')"),
    Flag::value(&["root"], "root directory for storage of container state (default: \"/run/skep-runtime\")"),
    Flag::value(&["criu"], "path to the criu binary used for checkpoint and restore (default: \"criu\")"),
    Flag::plain(&["systemd-cgroup"], "let systemd make the cgroup; cgroupsPath is \"slice:prefix:name\""),
    Flag::value(&["rootless"], "ignore cgroup permission errors ('true', 'false', or 'auto') (default: \"auto\")"),
    Flag::plain(&["help", "h"], "show help"),
    Flag::plain(&["version", "v"], "print the version"),
];

/// The same, read.
#[derive(Debug)]
pub(crate) struct Global {
    /// The directory of the containers' directories.
    pub(crate) root: PathBuf,
    /// Where failures go.
    pub(crate) log: Log,
    /// Whether systemd makes the cgroups.
    pub(crate) systemd_cgroup: bool,
    /// The program for checkpoints.
    pub(crate) criu: String,
}

impl Global {
    /// Reads the flags.
    pub(crate) fn read(words: &Words) -> Result<Self> {
        // What an unprivileged caller may not do is told by the kernel; there is nothing to choose.
        if let Some(other) = words.value("rootless").filter(|value| !ROOTLESS.contains(value)) {
            return Err(Error::invalid(format!("invalid value `{other}` for --rootless; give true, false or auto")));
        }
        Ok(Self {
            root: root(words.value("root"))?,
            log: log(words)?,
            systemd_cgroup: words.has("systemd-cgroup"),
            criu: words.value("criu").unwrap_or("criu").to_owned(),
        })
    }
}

/// The log of the flags, which is read first: what is wrong with the others is told there.
pub(crate) fn log(words: &Words) -> Result<Log> {
    let format = match words.value("log-format") {
        None | Some("" | "text") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return Err(Error::invalid(format!("invalid log-format: {other}; give text or json"))),
    };
    Ok(Log::new(words.value("log"), format, words.has("debug")))
}

/// The absolute path of the state directory: an unprivileged user has a directory of its own for such.
fn root(given: Option<&str>) -> Result<PathBuf> {
    let runtime = || std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let path = match given {
        Some("") => return Err(Error::invalid("--root is empty; give a directory")),
        Some(path) => PathBuf::from(path),
        None if rustix::process::geteuid().is_root() => return Ok(PathBuf::from("/run/skep-runtime")),
        None => {
            runtime().map_or_else(|| PathBuf::from("/run/skep-runtime"), |run| PathBuf::from(run).join("skep-runtime"))
        }
    };
    std::path::absolute(&path).map_err(|wrong| Error::invalid(format!("--root `{}`: {wrong}", path.display())))
}
