//! What the child could not do, in words: it sends a number and an errno, and the plan has the rest.

use failure::{Cause as _, Error, Kind};
use rustix::io::Errno;

use crate::plan::{Action, Program};

/// The failure of one step.
pub(crate) fn failed(actions: &[Action], program: &Program, step: u32, errno: i32) -> Error {
    let errno = Errno::from_raw_os_error(errno);
    if step == init::JOINING {
        return told(errno, "cannot join the namespaces of the container".to_owned(), None);
    }
    match usize::try_from(step).ok().and_then(|step| actions.get(step)) {
        None => vanished(),
        Some(Action::Execute) => not_executed(program, errno),
        Some(Action::Attach { target, .. }) if target.strict && matches!(errno, Errno::LOOP | Errno::NOTDIR) => {
            Error::invalid(format!(
                "`{}` of the image is a symbolic link or no directory, and nothing is mounted on such",
                target.path.to_string_lossy()
            ))
        }
        Some(Action::ChangeDirectory(path) | Action::MakeDirectory(path)) => {
            let path = path.to_string_lossy();
            told(errno, format!("cannot use the working directory `{path}`"), Some(Kind::Invalid))
        }
        Some(Action::OpenStreams { .. }) if errno == Errno::NOTTY => {
            Error::unsupported("the container has no devpts on `/dev/pts`; leave out the terminal")
        }
        Some(action) => told(errno, format!("cannot {action}"), None),
    }
}

/// The child ended, or spoke nonsense: neither can happen unless it was killed.
pub(crate) fn vanished() -> Error {
    Error::internal("the new process ended before its program ran")
}

/// Docker's 127 and 126.
fn not_executed(program: &Program, errno: Errno) -> Error {
    let name = &program.name;
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
