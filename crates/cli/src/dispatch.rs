//! From words to a command: the global flags, then one or two words, then the command's own flags.

use crate::context::Context;
use crate::entry::Entry;
use crate::exit::{self, Outcome, Stop};
use crate::{commands, help, output, usage};
use clap::error::ErrorKind;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};

/// Commands of Docker that come later, and when.
const LATER: &[(&str, &str)] = &[
    ("search", "registries are not supported yet"),
    ("build", "building images is not supported yet; see `skep commit` and `skep import`"),
    ("buildx", "building images is not supported yet"),
    ("builder", "building images is not supported yet"),
    ("compose", "compose files are not supported yet"),
    ("network", "networks are not supported yet"),
    ("port", "networks are not supported yet"),
    ("volume", "volumes are made by `skep run -v NAME:PATH`; commands for them are not supported yet"),
    ("update", "changing the limits of a container is not supported yet"),
    ("events", "events are not supported yet"),
    ("checkpoint", "checkpoints are not supported yet"),
    ("context", "there is no daemon to connect to"),
    ("swarm", "clusters are not supported"),
    ("plugin", "plugins are not supported"),
];

/// Runs a whole command line.
pub(crate) fn run(words: Vec<OsString>) -> u8 {
    let mut words = words.into_iter().peekable();
    let (mut root, mut run, mut debug) = (None, None, false);
    while let Some(word) = words.next_if(|word| word.as_encoded_bytes().starts_with(b"-")) {
        let (name, value) = split(&word);
        let mut take = || value.clone().or_else(|| words.next());
        let place = match name.as_str() {
            "--root" => &mut root,
            "--run-root" => &mut run,
            "-D" | "--debug" => {
                debug = true;
                continue;
            }
            "-h" | "--help" => return say(&help::manual()),
            "-v" | "--version" => return version(),
            _ => {
                return finish(
                    Err(Stop::Usage(format!("unknown flag: {name}; see 'skep --help'"))),
                    exit::ENGINE,
                    debug,
                );
            }
        };
        *place = take();
        if place.is_none() {
            return finish(Err(Stop::Usage(format!("flag needs an argument: {name}"))), exit::ENGINE, debug);
        }
    }
    let words: Vec<OsString> = words.collect();
    let text = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    match (text(0), text(1)) {
        ("", _) if words.is_empty() => return say(&help::manual()),
        ("help", "") => return say(&help::manual()),
        _ => {}
    }
    let context = Context::new(root, run, debug);
    if text(0) == "help" {
        return of_words(&context, &words[1..], true);
    }
    of_words(&context, &words, false)
}

/// The command of the words; `asked`: only its help.
fn of_words(context: &Context, words: &[OsString], asked: bool) -> u8 {
    let text = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let two = format!("{} {}", text(0), text(1));
    let (entry, called, rest) = match (commands::find(text(0)), commands::find(&two)) {
        (Some(entry), _) => (entry, text(0), &words[1..]),
        (None, Some(entry)) => (entry, two.as_str(), &words[2..]),
        (None, None) => return unknown(context, text(0), text(1)),
    };
    let help = [OsString::from("--help")];
    let outcome = of_entry(context, entry, called, if asked { &help } else { rest });
    finish(outcome, entry.refusal, context.debug)
}

fn of_entry(context: &Context, entry: &Entry, called: &str, words: &[OsString]) -> Outcome {
    let mut command = entry.command(called);
    match command.try_get_matches_from_mut(words) {
        Ok(matches) => entry.invoke(context, &matches),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => Ok(say(&entry.shown(called).render_help().to_string())),
        Err(error) => Err(usage::explain(&error, &command, called, entry.usage, &commands::why)),
    }
}

/// The exit code of an outcome, after its line was said.
fn finish(outcome: Outcome, refusal: u8, debug: bool) -> u8 {
    match outcome {
        Ok(code) | Err(Stop::Code(code)) => code,
        Err(Stop::Usage(line)) => {
            output::complain(&line);
            exit::ENGINE
        }
        Err(Stop::Arguments(line)) => {
            output::complain(&line);
            refusal
        }
        Err(Stop::Failed(error)) => {
            output::complain(&error.to_string());
            if debug {
                output::complain(&format!("{error:?}"));
            }
            exit::code(error.kind(), refusal)
        }
    }
}

/// `--name=value` in two; a value may be anything.
fn split(word: &OsStr) -> (String, Option<OsString>) {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = word.as_bytes();
    let name = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (name(&bytes[..at]), Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned())),
        None => (name(bytes), None),
    }
}

fn version() -> u8 {
    say(concat!("skep version ", env!("CARGO_PKG_VERSION"), "\n"))
}

/// Text on stdout; a reader that is gone is no failure.
fn say(text: &str) -> u8 {
    let _ = io::stdout().write_all(text.as_bytes());
    0
}

fn unknown(context: &Context, first: &str, second: &str) -> u8 {
    if let Some(text) = help::group(first) {
        if matches!(second, "" | "--help" | "-h") {
            return say(&text);
        }
        let line =
            format!("unknown command: skep {first} {second}{}; see 'skep {first} --help'", nearest(first, second));
        return finish(Err(Stop::Arguments(line)), exit::PLAIN, context.debug);
    }
    let line = match LATER.iter().find(|(name, _)| *name == first) {
        Some((_, reason)) => format!("`skep {first}`: {reason}"),
        None => format!("unknown command: skep {first}{}; see 'skep --help'", nearest("", first)),
    };
    finish(Err(Stop::Arguments(line)), exit::PLAIN, context.debug)
}

/// `, did you mean ...?`, if a command is called nearly so.
fn nearest(group: &str, word: &str) -> String {
    let inside = |words: &'static str| match words.split_once(' ') {
        Some((own, word)) => (own == group).then_some(word),
        None => group.is_empty().then_some(words),
    };
    let names = commands::ALL.iter().flat_map(|entry| entry.words.iter().copied().filter_map(inside));
    let best = names.map(|name| (distance(word, name), name)).min();
    match best {
        Some((distance, name)) if distance <= (word.len() / 3).clamp(1, 2) && distance < word.len() => {
            format!(", did you mean {name}?")
        }
        _ => String::new(),
    }
}

/// How many letters must be changed, added, dropped or swapped with the next to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in table.iter_mut().enumerate() {
        row[0] = i;
    }
    table[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = least;
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        assert_eq!(distance("sotp", "stop"), 1);
        assert_eq!(nearest("", "rnu"), ", did you mean run?");
        assert_eq!(nearest("container", "lits"), ", did you mean list?");
        assert_eq!(nearest("", "xyzzy"), "");
    }

    #[test]
    fn flags_are_split_at_the_first_equals_sign() {
        assert_eq!(split(OsStr::new("--root=/a=b")), ("--root".into(), Some("/a=b".into())));
        assert_eq!(split(OsStr::new("-D")), ("-D".into(), None));
    }
}
