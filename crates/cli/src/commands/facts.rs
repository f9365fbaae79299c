//! What `attach` and `start` must know of a container before they relay, read off its description.

use engine::{ContainerId, Home};
use failure::Result;
use serde_json::Value;

/// The few facts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// It has a terminal.
    pub(super) terminal: bool,
    /// Its stdin is kept open.
    pub(super) open_stdin: bool,
    /// It runs.
    pub(super) running: bool,
    /// It is frozen.
    pub(super) paused: bool,
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// The container is gone.
    pub(super) fn read(home: &Home, id: &ContainerId) -> Result<Self> {
        let value = engine::inspect(home, id, false)?;
        let flag = |pointer: &str| value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
        Ok(Self {
            terminal: flag("/Config/Tty"),
            open_stdin: flag("/Config/OpenStdin"),
            running: flag("/State/Running"),
            paused: flag("/State/Paused"),
        })
    }
}
