//! What the child could not do, in words: it sends a number and an errno, and the plan has the rest.

use failure::{Cause as _, Error, Kind};
use rustix::io::Errno;

use crate::plan::{Action, Hook, Joined, Program};

/// The failure of one step.
pub(crate) fn failed(actions: &[Action], program: &Program, step: u32, errno: i32) -> Error {
    let errno = Errno::from_raw_os_error(errno);
    if step == init::JOINING {
        return told(errno, "cannot join the namespaces of the container".to_owned(), None);
    }
    match usize::try_from(step).ok().and_then(|step| actions.get(step)) {
        None => vanished(),
        Some(Action::Execute | Action::FindProgram) => not_executed(&program.name, errno),
        Some(Action::Attach { target, .. }) if target.strict && matches!(errno, Errno::LOOP | Errno::NOTDIR) => {
            Error::invalid(format!(
                "`{}` of the image is a symbolic link or no directory, and nothing is mounted on such",
                target.path.to_string_lossy()
            ))
        }
        Some(
            Action::MakeDevice { place: crate::plan::Entry { path, .. }, .. }
            | Action::AttachEntry { target: crate::plan::Place { path, .. }, .. },
        ) if errno == Errno::EXIST => Error::conflict(format!(
            "cannot make the device `{}`: something else is there already; remove it from the image",
            path.to_string_lossy()
        )),
        Some(Action::Remount(change)) if errno == Errno::INVAL => Error::invalid(format!(
            "cannot remount `{}`: nothing is mounted there that takes these options",
            change.path.to_string_lossy()
        )),
        Some(Action::MakeFileSystem { file_system, .. }) if errno == Errno::NODEV => {
            let kind = file_system.kind.to_string_lossy();
            Error::unsupported(format!("this kernel has no file system of type `{kind}`"))
        }
        Some(Action::ChangeDirectory(path) | Action::MakeDirectory(path)) => {
            let path = path.to_string_lossy();
            told(errno, format!("cannot use the working directory `{path}`"), Some(Kind::Invalid))
        }
        Some(Action::OpenStreams { .. }) if errno == Errno::NOTTY => {
            Error::unsupported("the container has no devpts on `/dev/pts`; leave out the terminal")
        }
        Some(Action::RunHook(hook)) => hook_failed(hook, errno),
        Some(action) => told(errno, format!("cannot {action}"), None),
    }
}

/// The same for a step after the start, of which only the words are left.
pub(crate) fn failed_after_start(steps: &[String], first: u32, program: &str, step: u32, errno: i32) -> Error {
    let errno = Errno::from_raw_os_error(errno);
    let at = step.checked_sub(first).and_then(|at| usize::try_from(at).ok());
    match at.map(|at| (at + 1 == steps.len(), steps.get(at))) {
        Some((true, Some(_))) => not_executed(program, errno),
        Some((false, Some(words))) => after_hook(words, errno),
        _ => vanished(),
    }
}

/// A step in words that can be kept: what a hook is called, and what all else does.
pub(crate) fn step(action: &Action) -> String {
    match action {
        Action::RunHook(hook) => hook_line(hook),
        action => format!("cannot {action}"),
    }
}

fn hook_line(hook: &Hook) -> String {
    format!("the {} hook `{}` failed", hook.moment, hook.path.to_string_lossy())
}

fn hook_failed(hook: &Hook, errno: Errno) -> Error {
    after_hook(&hook_line(hook), errno)
}

fn after_hook(line: &str, errno: Errno) -> Error {
    match errno.raw_os_error().checked_sub(init::FAILED_HOOK) {
        Some(code) if code > 0 => Error::internal(format!("{line}: exit code {code}")),
        _ if errno == Errno::TIMEDOUT => Error::internal(format!("{line}: it took longer than its timeout")),
        _ => told(errno, line.to_owned(), None),
    }
}

/// A namespace that could not be joined.
pub(crate) fn not_joined(join: &Joined, errno: i32) -> Error {
    let line = format!("cannot join the {} namespace `{}`", join.name(), join.path.display());
    told(Errno::from_raw_os_error(errno), line, None)
}

/// The child ended, or spoke nonsense: neither can happen unless it was killed.
pub(crate) fn vanished() -> Error {
    Error::internal("the new process ended before its program ran")
}

/// Docker's 127 and 126.
fn not_executed(name: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR if name.contains('/') => {
            told(errno, format!("cannot execute `{name}`"), Some(Kind::CommandNotFound))
        }
        Errno::NOENT | Errno::NOTDIR => {
            Error::new(Kind::CommandNotFound, format!("no command `{name}` in the container's PATH"))
        }
        errno => told(errno, format!("cannot execute `{name}`"), Some(Kind::CommandNotExecutable)),
    }
}

fn told(errno: Errno, line: String, kind: Option<Kind>) -> Error {
    Error::new(kind.unwrap_or_else(|| errno.cause_kind()), line).with_source(errno.into_source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> Program {
        Program { name: name.to_owned(), candidates: Vec::new(), arguments: Vec::new(), environment: Vec::new() }
    }

    #[test]
    fn failures_name_the_step() {
        let actions = [Action::SetHostName("x".to_owned()), Action::Execute];
        let host = failed(&actions, &program("a"), 0, libc::EPERM);
        assert_eq!(host.to_string(), "cannot set the host name `x`: operation not permitted");
        let missing = failed(&actions, &program("nosuch"), 1, libc::ENOENT);
        assert_eq!(missing.kind(), Kind::CommandNotFound);
        assert_eq!(missing.to_string(), "no command `nosuch` in the container's PATH");
        let denied = failed(&actions, &program("/etc"), 1, libc::EACCES);
        assert_eq!(denied.kind(), Kind::CommandNotExecutable);
        assert_eq!(failed(&actions, &program("a"), 9, libc::EPERM).kind(), Kind::Internal);
    }
}
