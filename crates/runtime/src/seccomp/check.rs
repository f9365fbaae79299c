//! What a filter asks for, looked at before it is compiled or found in the cache.
//!
//! ```text
//!   action              errnoRet                  needs
//!   ERRNO               0 to 4095, else EPERM    0: nothing is done, and that is a success
//!   TRACE               0 to 65535, else EPERM    a tracer, or the call fails with ENOSYS
//!   NOTIFY              an error                  listenerPath: who listens there decides
//!   all others          an error
//! ```
//! An error number that would be lost without a word is an error, as the specification demands. Names of calls that nobody
//! knows are none: profiles name the calls of many kernels.

use failure::{Error, Result};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg};

/// `MAX_ERRNO` of the kernel: it takes what is above for this.
const LARGEST_ERRNO: u32 = 4095;
const LARGEST_MESSAGE: u32 = 0xffff;
/// Arguments of a call.
const ARGUMENTS: usize = 6;

/// Refuses what cannot be done.
pub(super) fn filter(filter: &LinuxSeccomp) -> Result<()> {
    number(filter.default_action(), filter.default_errno_ret(), "defaultErrnoRet")?;
    for call in filter.syscalls().iter().flatten() {
        number(call.action(), call.errno_ret(), "errnoRet")?;
        call.args().iter().flatten().try_for_each(argument)?;
    }
    let listener = filter.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty());
    if filter.listener_metadata().as_ref().is_some_and(|text| !text.is_empty()) && !listener {
        return Err(wrong("has `listenerMetadata` without `listenerPath`"));
    }
    if notifies(filter) && !listener {
        return Err(wrong("asks a supervisor (`SCMP_ACT_NOTIFY`), but has no `listenerPath` where one listens"));
    }
    Ok(())
}

/// Whether a call of this filter waits for a supervisor's answer.
pub(crate) fn notifies(filter: &LinuxSeccomp) -> bool {
    let calls = filter.syscalls().iter().flatten();
    let named = calls.filter(|call| !call.names().is_empty()).map(oci_spec::runtime::LinuxSyscall::action);
    named.chain([filter.default_action()]).any(|action| action == LinuxSeccompAction::ScmpActNotify)
}

fn number(action: LinuxSeccompAction, number: Option<u32>, field: &str) -> Result<()> {
    let Some(number) = number else { return Ok(()) };
    let largest = match action {
        LinuxSeccompAction::ScmpActErrno => LARGEST_ERRNO,
        LinuxSeccompAction::ScmpActTrace => LARGEST_MESSAGE,
        other => return Err(wrong(&format!("has `{field}` for `{other}`, which takes none; leave it out"))),
    };
    if number <= largest {
        return Ok(());
    }
    Err(wrong(&format!("has `{field}` {number}; the largest for `{action}` is {largest}")))
}

fn argument(argument: &LinuxSeccompArg) -> Result<()> {
    if argument.index() < ARGUMENTS {
        return Ok(());
    }
    Err(wrong(&format!("has a condition on argument {}; a call has {ARGUMENTS}", argument.index())))
}

fn wrong(what: &str) -> Error {
    Error::invalid(format!("the seccomp filter {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<()> {
        filter(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn error_numbers_belong_to_two_actions() {
        let with = |action: &str, number: u32| {
            let default = format!(r#"{{"defaultAction":"SCMP_ACT_{action}","defaultErrnoRet":{number}}}"#);
            let rule = format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["read"],"action":"SCMP_ACT_{action}","errnoRet":{number}}}]}}"#
            );
            assert_eq!(check(&default).is_ok(), check(&rule).is_ok(), "{action} {number}");
            check(&default).map_err(|error| error.to_string())
        };
        assert!(with("ERRNO", 0).is_ok() && with("ERRNO", 4095).is_ok() && with("TRACE", 65535).is_ok());
        assert!(with("ERRNO", 4096).unwrap_err().contains("4095"));
        assert!(with("TRACE", 65536).unwrap_err().contains("65535"));
        for action in ["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ALLOW", "LOG", "NOTIFY"] {
            let message = with(action, 1).unwrap_err();
            assert!(message.contains(&format!("for `SCMP_ACT_{action}`")), "{message}");
        }
    }

    #[test]
    fn a_supervisor_has_a_place() {
        let notify = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]"#;
        assert!(check(&format!("{notify}}}")).unwrap_err().to_string().contains("listenerPath"));
        assert!(check(&format!(r#"{notify},"listenerPath":""}}"#)).is_err());
        assert!(check(&format!(r#"{notify},"listenerPath":"/a","listenerMetadata":"b"}}"#)).is_ok());
        let none = r#"{"defaultAction":"SCMP_ACT_ALLOW""#;
        assert!(check(&format!(r#"{none},"listenerMetadata":"b"}}"#)).is_err());
        assert!(check(&format!(r#"{none},"listenerPath":"/a"}}"#)).is_ok());
        let of = |json: &str| notifies(&serde_json::from_str(json).unwrap());
        assert!(of(&format!("{notify}}}")) && of(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#));
        assert!(!of(&format!(r#"{none},"listenerPath":"/a"}}"#)));
    }

    #[test]
    fn a_call_has_six_arguments() {
        let on = |index: u32| {
            check(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["read"],"action":"SCMP_ACT_LOG","args":[{{"index":{index},"value":0,"op":"SCMP_CMP_EQ"}}]}}]}}"#
            ))
        };
        assert!(on(5).is_ok());
        assert!(on(6).unwrap_err().to_string().contains("argument 6"));
    }
}
