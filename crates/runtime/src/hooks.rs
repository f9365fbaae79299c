//! Hooks: programs that the specification wants run at moments of a container's life.
//!
//! ```text
//!   moment            run by      where                            state says
//!   prestart          parent      host, root not entered yet       creating
//!   createRuntime     parent      host, root not entered yet       creating
//!   createContainer   child       the container's namespaces, but  creating
//!                                 the host's tree
//!   startContainer    child       inside the container             created
//!   poststart         the caller  host                             running
//!   poststop          the caller  host                             stopped
//! ```
//! Each gets the state of the container as JSON on its standard input, nothing of this process's environment (a variable
//! of the caller must not steer a program that root runs), and at most its timeout.
//! Source: config.md "POSIX-platform Hooks" and runtime.md "State" of the OCI runtime specification 1.3.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{Hook, Hooks};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Serialize;

/// How much of what a failing hook wrote is repeated.
const MOST_WORDS: u64 = 1024;

/// What a hook reads.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification.
    pub oci_version: String,
    /// The container.
    pub id: String,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'static str,
    /// Its first process, as the host numbers it; 0 when it has none.
    pub pid: i32,
    /// The directory of its bundle, absolute.
    pub bundle: PathBuf,
    /// Those of its specification.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
}

impl State {
    /// A sealed file with the state: who reads it cannot change what the next one reads.
    pub(crate) fn file(&self) -> Result<OwnedFd> {
        let text =
            serde_json::to_vec(self).map_err(|error| Error::internal("cannot write a state").with_source(error))?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("state", flags).context("cannot make a file in memory")?;
        let mut file = File::from(file);
        file.write_all(&text).context("cannot write the state of the container")?;
        file.seek(SeekFrom::Start(0)).context("cannot write the state of the container")?;
        let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&file, all).context("cannot seal the state of the container")?;
        Ok(file.into())
    }
}

/// Runs hooks on the host, one after the other.
///
/// # Errors
/// One fails, or takes too long; those after it are not run.
pub fn run(hooks: &[Hook], state: &State) -> Result<()> {
    hooks.iter().try_for_each(|hook| run_one(hook, state))
}

/// As [`run`], but goes on after a failure: for those whose failure changes nothing any more.
#[must_use]
pub fn run_all(hooks: &[Hook], state: &State) -> Vec<Error> {
    hooks.iter().filter_map(|hook| run_one(hook, state).err()).collect()
}

/// Looks at all hooks of a specification.
///
/// # Errors
/// A path is not absolute, or a timeout is not positive.
pub fn check(hooks: &Hooks) -> Result<()> {
    for (moment, list) in lists(hooks) {
        for hook in list {
            let path = hook.path().display();
            if !hook.path().is_absolute() {
                return Err(Error::invalid(format!("the path of the {moment} hook `{path}` is not absolute")));
            }
            if hook.timeout().is_some_and(|seconds| u32::try_from(seconds).map_or(true, |seconds| seconds == 0)) {
                return Err(Error::invalid(format!("the timeout of the {moment} hook `{path}` is not positive")));
            }
        }
    }
    Ok(())
}

#[allow(deprecated, reason = "prestart hooks are still in use")]
fn lists(hooks: &Hooks) -> [(&'static str, &[Hook]); 6] {
    [
        ("prestart", hooks.prestart().as_deref().unwrap_or_default()),
        ("createRuntime", hooks.create_runtime().as_deref().unwrap_or_default()),
        ("createContainer", hooks.create_container().as_deref().unwrap_or_default()),
        ("startContainer", hooks.start_container().as_deref().unwrap_or_default()),
        ("poststart", hooks.poststart().as_deref().unwrap_or_default()),
        ("poststop", hooks.poststop().as_deref().unwrap_or_default()),
    ]
}

fn run_one(hook: &Hook, state: &State) -> Result<()> {
    let failed = || format!("the hook `{}` failed", hook.path().display());
    let output = rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC).context("cannot make a file in memory")?;
    let mut output = File::from(output);
    let copy = || output.try_clone().map(Stdio::from).with_context(failed);
    let mut command = command(hook);
    command.stdin(Stdio::from(state.file()?)).stdout(copy()?).stderr(copy()?);
    let mut child = command.spawn().with_context(failed)?;
    let in_time = wait(child.id(), hook.timeout()).with_context(failed)?;
    let status = child.wait().with_context(failed)?;
    match (in_time, status.success()) {
        (true, true) => Ok(()),
        (false, _) => Err(Error::internal(format!("{}: it took longer than its timeout", failed()))),
        (true, false) => Err(Error::internal(format!("{}: {}{}", failed(), told(status), words(&mut output)))),
    }
}

fn command(hook: &Hook) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(hook.path());
    let mut arguments = hook.args().iter().flatten();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env_clear().current_dir(Path::new("/"));
    for variable in hook.env().iter().flatten() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        command.env(name, value);
    }
    command
}

/// Waits for its end; false: it was killed because it took too long.
fn wait(pid: u32, timeout: Option<i64>) -> rustix::io::Result<bool> {
    let Some(seconds) = timeout else { return Ok(true) };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let ready = loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            Err(Errno::INTR) => {}
            ready => break ready?,
        }
    };
    if ready == 0 {
        rustix::process::pidfd_send_signal(pidfd.as_fd(), Signal::KILL)?;
    }
    Ok(ready > 0)
}

fn told(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".to_owned(),
    }
}

/// The first of what it wrote, on one line.
fn words(output: &mut File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is not repeated.
    let _ = output.seek(SeekFrom::Start(0)).and_then(|_| output.take(MOST_WORDS).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            oci_version: "1.3.0".to_owned(),
            id: "a".to_owned(),
            status: "running",
            pid: 7,
            bundle: "/b".into(),
            annotations: HashMap::new(),
        }
    }

    fn hook(script: &str, timeout: &str) -> Hook {
        let script = serde_json::to_string(script).unwrap();
        serde_json::from_str(&format!(
            r#"{{"path":"/bin/sh","args":["sh","-c",{script}],"env":["A=1"],"timeout":{timeout}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_own_environment() {
        let script = r#"read line; test "$line" = "$(printf %s "$line")" && case "$line" in *'"pid":7'*) ;; *) exit 1;; esac
            test "$A" = 1 && test -z "$HOME""#;
        // The state has no end of line, for which `read` fails.
        let script = format!("set +e; {script}");
        run(&[hook(&script, "10")], &state()).unwrap();
    }

    #[test]
    fn a_failing_hook_says_how_and_ends_the_row() {
        let error = run(&[hook("echo no luck >&2; exit 3", "10"), hook("exit 4", "10")], &state()).unwrap_err();
        assert_eq!(error.to_string(), "the hook `/bin/sh` failed: exit code 3: no luck");
        assert_eq!(run_all(&[hook("exit 3", "10"), hook("true", "10"), hook("exit 4", "10")], &state()).len(), 2);
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed() {
        let error = run(&[hook("exec sleep 60", "1")], &state()).unwrap_err();
        assert_eq!(error.to_string(), "the hook `/bin/sh` failed: it took longer than its timeout");
    }

    #[test]
    fn bad_hooks_are_told_before() {
        let parse = |text: &str| serde_json::from_str::<Hooks>(text).unwrap();
        assert!(check(&parse(r#"{"poststop":[{"path":"a"}]}"#)).is_err());
        assert!(check(&parse(r#"{"prestart":[{"path":"/a","timeout":0}]}"#)).is_err());
        assert!(check(&parse(r#"{"prestart":[{"path":"/a","timeout":-1}]}"#)).is_err());
        check(&parse(r#"{"prestart":[{"path":"/a","timeout":1}]}"#)).unwrap();
    }
}
