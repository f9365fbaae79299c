//! The caller's terminal: raw while a container's terminal is shown on it, and put back whatever happens.
//!
//! The settings it had are kept in one static place, so that the end of [`Raw`], a panic, or a signal that ends this
//! process can all put them back; whoever comes first does it.

use failure::{Context as _, Result};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{stderr, stdin, stdout};
use std::sync::{Mutex, Once, PoisonError};

static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal on stdin is raw until this is dropped.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Makes the terminal on stdin raw.
    ///
    /// # Errors
    /// It refuses.
    pub(crate) fn enter() -> Result<Self> {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        let saved = tcgetattr(stdin()).context("read the settings of the terminal")?;
        let mut raw = saved.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        let entered = Self(());
        tcsetattr(stdin(), OptionalActions::Now, &raw).context("make the terminal raw")?;
        Ok(entered)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the settings back, if they were changed.
pub(crate) fn restore() {
    if let Some(saved) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &saved);
    }
}

/// Whether stdin is a terminal.
pub(crate) fn on_stdin() -> bool {
    isatty(stdin())
}

/// Rows and columns of the terminal on stdout, stdin or stderr, whichever is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())).or_else(|_| tcgetwinsize(stderr())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
