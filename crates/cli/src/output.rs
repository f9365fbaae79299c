//! What goes to stdout and stderr, and what of it a terminal may see.

use crate::exit::Outcome;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

/// Standard output, buffered; a reader that went away ends the command quietly. As a [`Write`] it takes bytes as they are.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    terminal: bool,
}

impl Output {
    /// Locks stdout for this command.
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::with_capacity(16 << 10, io::stdout().lock()), terminal: to_terminal() }
    }

    /// Writes text: names, labels and paths that an image or a container chose are in it, and what would command the
    /// terminal is written out there. Files and pipes get it as it is.
    pub(crate) fn text(&mut self, text: &str) -> Outcome<()> {
        match self.terminal && text.contains(commands) {
            true => Ok(self.out.write_all(harmless(text).as_bytes())?),
            false => Ok(self.out.write_all(text.as_bytes())?),
        }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> Outcome<()> {
        self.text(line)?;
        self.text("\n")
    }

    /// Lets the reader see what was written so far.
    pub(crate) fn flush(&mut self) -> Outcome<()> {
        Ok(self.out.flush()?)
    }

    /// Ends a command that went well.
    pub(crate) fn done(mut self) -> Outcome {
        self.flush()?;
        Ok(0)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// One line on stderr: a failure or a warning. Nothing is done about a stderr that is gone.
pub(crate) fn complain(line: &str) {
    let text: String = line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "skep: {text}");
}

/// One line on stderr in Docker's words, which scripts may look for.
pub(crate) fn complain_plainly(line: &str) {
    let _ = writeln!(io::stderr(), "{}", harmless(line));
}

/// A line on stderr that must not be taken for a failure.
pub(crate) fn warn(line: &str) {
    complain(&format!("warning: {line}"));
}

/// Whether stdout is a terminal.
pub(crate) fn to_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a terminal does something else with a character than show it: controls, and what turns the direction of text.
fn commands(character: char) -> bool {
    let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && !matches!(character, '\n' | '\t'))
}

fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match commands(character) {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_command_a_terminal_is_written_out() {
        assert_eq!(harmless("a\x1b[2J\u{9b}1m\u{202e}\r\tb\n"), "a\\u{1b}[2J\\u{9b}1m\\u{202e}\\u{d}\tb\n");
    }
}
