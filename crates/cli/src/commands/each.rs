//! The same for each of several names: what went well is printed, what failed is said, and the rest goes on.

use crate::exit::{self, Outcome};
use crate::output::{self, Output};
use engine::{ContainerId, Home};
use failure::{Error, Result};

/// Does something to each container and prints its name, as it was given.
pub(super) fn each(home: &Home, names: &[String], mut act: impl FnMut(&ContainerId) -> Result<()>) -> Outcome {
    each_line(names, |name| {
        act(&engine::find(home, name)?)?;
        Ok(Some(name.to_owned()))
    })
}

/// Does something with each name and prints the line it gives.
pub(super) fn each_line(names: &[String], mut act: impl FnMut(&str) -> Result<Option<String>>) -> Outcome {
    let mut out = Output::new();
    let mut code = 0;
    for name in names {
        match act(name) {
            Ok(Some(line)) => {
                out.line(&line)?;
                out.flush()?;
            }
            Ok(None) => {}
            Err(error) => code = complain(&error),
        }
    }
    out.done().map(|_| code)
}

/// Says a failure that does not end the command; the code it will end with.
pub(super) fn complain(error: &Error) -> u8 {
    output::complain(&error.to_string());
    exit::code(error.kind(), exit::PLAIN)
}
