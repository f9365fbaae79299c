//! What a specification may hold that this runtime does not do: refused by name, never lost in silence.

use failure::{Error, Result};
use oci_spec::runtime::{Process, Spec};

/// Refuses what is not supported of a container.
pub(crate) fn specification(spec: &Spec) -> Result<()> {
    let others = [("vm", spec.vm().is_some()), ("windows", spec.windows().is_some())];
    refuse(&others)
}

/// Refuses what is not supported of a process.
pub(crate) fn process(process: &Process) -> Result<()> {
    refuse(&[("process.commandLine", process.command_line().is_some())])
}

fn refuse(parts: &[(&str, bool)]) -> Result<()> {
    match parts.iter().find(|(_, given)| *given) {
        Some((name, _)) => {
            Err(Error::unsupported(format!("`{name}` of the specification is not supported; leave it out")))
        }
        None => Ok(()),
    }
}
