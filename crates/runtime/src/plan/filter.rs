//! The system call filter of a process, and whom it asks.

use std::path::Path;

use failure::{Context as _, Result};
use oci_spec::runtime::Linux;

use super::action::Action;
use crate::seccomp::{self, Instruction, Listener};

/// A filter to load.
pub(crate) struct Filter {
    program: Vec<Instruction>,
    flags: u32,
    /// Who decides on what it leaves open.
    pub(crate) listener: Option<Listener>,
}

/// Reads the filter; an empty one is none.
pub(super) fn read(
    given: Option<&[Instruction]>,
    linux: &Linux,
    cache: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<Option<Filter>> {
    let wanted = linux.seccomp().as_ref();
    let program = match (given, wanted) {
        (Some(program), _) => program.to_vec(),
        (None, Some(wanted)) => compile(wanted, cache, warnings).context("cannot use the system call filter")?,
        (None, None) => return Ok(None),
    };
    let flags = wanted.map_or(0, seccomp::flags);
    let listener = wanted.map(Listener::of).transpose()?.flatten();
    Ok((!program.is_empty()).then_some(Filter { program, flags, listener }))
}

fn compile(
    wanted: &oci_spec::runtime::LinuxSeccomp,
    cache: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Instruction>> {
    let (program, unknown) = seccomp::compile_and_tell(wanted, cache)?;
    if !unknown.is_empty() {
        let names = unknown.join("`, `");
        warnings.push(format!("the seccomp filter names unknown system calls, which are left out: `{names}`"));
    }
    Ok(program)
}

impl Filter {
    /// The step that loads it.
    pub(super) fn load(self) -> Action {
        let Self { program, flags, listener } = self;
        let mutes = seccomp::mutes(&program);
        Action::LoadFilter { program, flags, supervised: listener.is_some(), mutes }
    }
}
