//! What goes to stdout and stderr, and what of it a terminal may see.

use crate::exit::Outcome;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

/// Standard output, buffered; a reader that went away ends the command quietly.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    /// Locks stdout for this command.
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(16 << 10, io::stdout().lock()))
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Outcome<()> {
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> Outcome<()> {
        self.text(line)?;
        self.text("\n")
    }

    /// Lets the reader see what was written so far.
    pub(crate) fn flush(&mut self) -> Outcome<()> {
        Ok(self.0.flush()?)
    }

    /// Ends a command that went well.
    pub(crate) fn done(mut self) -> Outcome {
        self.flush()?;
        Ok(0)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// One line on stderr: a failure or a warning. Nothing is done about a stderr that is gone.
pub(crate) fn complain(line: &str) {
    let text: String = line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "skep: {text}");
}

/// A line on stderr that must not be taken for a failure.
pub(crate) fn warn(line: &str) {
    complain(&format!("warning: {line}"));
}

/// Whether stdout is a terminal.
pub(crate) fn to_terminal() -> bool {
    io::stdout().is_terminal()
}
