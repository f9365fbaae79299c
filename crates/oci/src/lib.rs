//! runc's command line over the runtime: what dockerd, containerd, podman and cri-o call.
//!
//! ```text
//!   words --global flags--> Global --command--> Words --run--> exit code
//!                                                 |
//!     create, run     bundle --Plan--> Launched --record--> <--root>/<id>/   (crate::make, crate::directory)
//!     start, exec, kill, delete ...    <--root>/<id>/ --> Container          (crate::container)
//! ```
//! It knows bundles and a directory of state, and nothing of images, stores or monitors: whoever calls it is the engine.
//! Words, outputs and exit codes are runc's, since its callers parse them. One thread, and nothing is built for commands that
//! were not named.

mod bundle;
mod checkpoint;
mod command;
mod commands;
mod console;
mod container;
mod destroy;
mod directory;
mod flags;
mod foreground;
mod global;
mod log;
mod make;
mod output;
mod preserved;
mod record;
mod signals;
mod words;

use std::ffi::OsString;
use std::fmt::Write as _;

use failure::{Error, Result};

use crate::command::Command;
use crate::flags::{Order, Words};
use crate::global::Global;
use crate::log::{Format, Log};

/// The version of the OCI runtime specification that this follows.
const SPECIFICATION: &str = "1.3.0";

/// Does what the words (without the program's name) say; the exit code.
#[must_use]
pub fn main(words: Vec<OsString>) -> u8 {
    let read = texts(words).and_then(|words| Words::parse(global::FLAGS, Order::FlagsFirst, words));
    let told = match read.and_then(|words| Ok((global::log(&words)?, words))) {
        Ok((log, words)) => dispatch(words).map_err(|wrong| (wrong, log)),
        Err(wrong) => Err((wrong, Log::new(None, Format::Text, false))),
    };
    told.unwrap_or_else(|(wrong, log)| {
        log.error(&wrong.to_string());
        1
    })
}

fn dispatch(mut words: Words) -> Result<u8> {
    if words.has("version") {
        return output::text(&version()).map(|()| 0);
    }
    if words.rest.is_empty() || words.has("help") {
        return output::text(&manual()).map(|()| 0);
    }
    let name = words.rest.remove(0);
    let rest = std::mem::take(&mut words.rest);
    if matches!(name.as_str(), "help" | "h") {
        let text = rest.first().and_then(|name| commands::named(name)).map_or_else(manual, Command::manual);
        return output::text(&text).map(|()| 0);
    }
    let Some(command) = commands::named(&name) else {
        return Err(Error::invalid(format!("no such command `{name}`; see `skep-runtime help`")));
    };
    let help = |word: &String| matches!(word.as_str(), "--help" | "-h" | "-help");
    if rest.iter().take_while(|word| word.starts_with('-')).any(help) {
        return output::text(&command.manual()).map(|()| 0);
    }
    command.invoke(&Global::read(&words)?, rest)
}

fn texts(words: Vec<OsString>) -> Result<Vec<String>> {
    let text = |word: OsString| {
        word.into_string().map_err(|word| Error::invalid(format!("`{}` is not UTF-8", word.display())))
    };
    words.into_iter().map(text).collect()
}

fn version() -> String {
    format!("skep-runtime version {}\nspec: {SPECIFICATION}\n", env!("CARGO_PKG_VERSION"))
}

fn manual() -> String {
    let mut text = format!(
        "NAME:\n   skep-runtime - runs containers from OCI bundles, with runc's command line\n\nUSAGE:\n   skep-runtime \
         [global options] command [command options] [arguments...]\n\nVERSION:\n   {}\n\nCOMMANDS:\n",
        version().trim_end().replace('\n', "\n   "),
    );
    for command in commands::ALL {
        let _ = writeln!(text, "   {:<12}{}", command.name, command.about);
    }
    let _ = write!(text, "   help, h     shows a list of commands or help for one command\n\nGLOBAL OPTIONS:\n");
    text + &command::options(global::FLAGS)
}
