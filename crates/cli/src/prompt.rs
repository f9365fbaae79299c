//! Questions to a person at the terminal, and answers that must not be seen.

use crate::exit::{Outcome, Stop};
use crate::terminal::{self, Raw};
use engine::registries::Secret;
use failure::{Context as _, Error};
use std::io::{self, BufRead as _, Read as _, Write as _};

/// The longest answer.
const LONGEST: u64 = 64 << 10;

/// Whether there is somebody to ask.
pub(crate) fn possible() -> bool {
    terminal::on_stdin()
}

/// Asks for a line.
pub(crate) fn line(question: &str) -> Outcome<String> {
    ask(question)?;
    let mut line = String::new();
    io::stdin().lock().take(LONGEST).read_line(&mut line).context("read from the terminal")?;
    Ok(line.trim().to_owned())
}

/// Asks for a line that the terminal does not show.
pub(crate) fn secret(question: &str) -> Outcome<Secret> {
    ask(question)?;
    let raw = Raw::enter()?;
    let answer = typed(&mut io::stdin().lock());
    drop(raw);
    ask("\n")?;
    answer
}

/// What was typed up to the end of the line, as a terminal that is not raw would give it.
fn typed(input: &mut impl io::BufRead) -> Outcome<Secret> {
    let mut answer = Vec::new();
    for byte in input.bytes() {
        match byte.context("read from the terminal")? {
            b'\r' | b'\n' | 4 => break,
            // Ctrl-C, Ctrl-\ and Ctrl-Z reach nobody else while the terminal is raw.
            3 | 26 | 28 => return Err(Stop::Code(130)),
            8 | 127 => {
                // One character, however many bytes it has.
                while answer.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            21 => answer.clear(),
            _ if answer.len() as u64 == LONGEST => return Err(too_long()),
            byte => answer.push(byte),
        }
    }
    text(answer)
}

/// All of stdin, without the end of its last line.
pub(crate) fn all_of_stdin() -> Outcome<Secret> {
    let mut answer = Vec::new();
    io::stdin().lock().take(LONGEST + 1).read_to_end(&mut answer).context("read standard input")?;
    if answer.len() as u64 > LONGEST {
        return Err(too_long());
    }
    if answer.ends_with(b"\n") {
        answer.pop();
    }
    if answer.ends_with(b"\r") {
        answer.pop();
    }
    text(answer)
}

fn ask(question: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(question.as_bytes())?;
    Ok(out.flush()?)
}

fn text(bytes: Vec<u8>) -> Outcome<Secret> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Err(Stop::Arguments("a password must be text (UTF-8)".into())),
    }
}

fn too_long() -> Stop {
    Stop::Failed(Error::invalid(format!("a password has at most {LONGEST} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_typed_as_on_any_terminal() {
        let typed = |bytes: &[u8]| typed(&mut &bytes[..]).map(|secret| secret.reveal().to_owned()).ok();
        assert_eq!(typed(b"hunter2\rmore").as_deref(), Some("hunter2"));
        assert_eq!(typed("hux\u{7f}nt\u{e9}\u{7f}er\n".as_bytes()).as_deref(), Some("hunter"));
        assert_eq!(typed(b"wrong\x15right\x04").as_deref(), Some("right"));
        assert_eq!(typed(b"hunter2\x03"), None);
    }
}
