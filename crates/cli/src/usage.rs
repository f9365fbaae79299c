//! clap in Docker's manners: `--flag=true|false` for every switch, the last of repeated flags wins, usage and mistakes in
//! Docker's words, one line each.

use crate::exit::Stop;
use crate::values::switch;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use std::error::Error as _;

const TEMPLATE: &str = "Usage:  {usage}\n\n{about}\n\n{before-help}{all-args}{after-help}";

/// A command as it is parsed: its switches take values, which a help text should not tell of, and a flag that takes
/// a value takes the next word, whatever it looks like.
pub(crate) fn parsed(command: Command) -> Command {
    command.no_binary_name(true).args_override_self(true).mut_args(manners)
}

/// A command as it is shown: its usage line, its aliases, its help.
pub(crate) fn shown(command: Command, words: &[&str], word: &str, usage: &str, about: &'static str) -> Command {
    let has_h = command.get_arguments().any(|argument| argument.get_short() == Some('h'));
    let help = Arg::new("help").long("help").action(ArgAction::Help).help_heading(None::<&str>).help("Print usage");
    let help = if has_h { help } else { help.short('h') };
    let aliases = if words.len() > 1 {
        let names: Vec<String> = words.iter().map(|word| format!("skep {word}")).collect();
        format!("Aliases:\n  {}", names.join(", "))
    } else {
        String::new()
    };
    command
        .name("skep")
        .disable_help_flag(true)
        .help_template(TEMPLATE)
        .override_usage(format!("skep {word} {usage}"))
        .about(about)
        .before_help(aliases)
        .arg(help)
}

/// `--rm=false`; `-e -x`.
fn manners(argument: Arg) -> Arg {
    match argument.get_action() {
        ArgAction::SetTrue => {}
        ArgAction::Set | ArgAction::Append if !argument.is_positional() && !argument.is_require_equals_set() => {
            return argument.allow_hyphen_values(true);
        }
        _ => return argument,
    }
    argument
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_parser(switch::boolean)
        .value_name("")
}

/// A mistake in the flags as Docker would say it. `refused` knows flags of Docker that are not supported, and why.
pub(crate) fn explain(
    error: &clap::Error,
    command: &Command,
    word: &str,
    usage: &str,
    refused: &dyn Fn(&str) -> Option<String>,
) -> Stop {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let see = format!("; see 'skep {word} --help'");
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            if let Some(reason) = refused(argument) {
                return Stop::Usage(reason);
            }
            let name = match argument.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
                Some(short) => {
                    format!("unknown shorthand flag: '{}' in {argument}", short.chars().next().unwrap_or('-'))
                }
                None => format!("unknown flag: {argument}"),
            };
            match text(ContextKind::SuggestedArg) {
                Some(suggestion) => Stop::Usage(format!("{name}, did you mean {suggestion}?{see}")),
                None => Stop::Usage(name + &see),
            }
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues if !argument.starts_with('-') => {
            Stop::Arguments(format!("unexpected argument `{argument}`; usage: skep {word} {usage}"))
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues => {
            Stop::Arguments(format!("{}{see}", missing(word, usage)))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let flag = flag_names(command, argument);
            if value.is_empty() && error.source().is_none() {
                return Stop::Usage(format!("flag needs an argument: {flag}{see}"));
            }
            let reason = error.source().map_or_else(|| valid_values(error), ToString::to_string);
            Stop::Usage(format!("invalid argument \"{value}\" for \"{flag}\" flag: {reason}"))
        }
        ErrorKind::InvalidUtf8 => Stop::Usage(format!("an argument is not UTF-8 text{see}")),
        _ => {
            let whole = error.to_string();
            let line = whole.lines().next().unwrap_or_default();
            Stop::Usage(line.strip_prefix("error: ").unwrap_or(line).to_owned() + &see)
        }
    }
}

/// `'skep rm' requires at least 1 argument`, read off the usage line.
fn missing(word: &str, usage: &str) -> String {
    let usage = usage.strip_prefix("[OPTIONS]").unwrap_or(usage);
    let count = usage.split_whitespace().filter(|part| !part.starts_with('[') && !part.ends_with("...]")).count();
    let more = if usage.contains("...]") { "at least " } else { "" };
    let plural = if count == 1 { "" } else { "s" };
    format!("'skep {word}' requires {more}{count} argument{plural}")
}

/// `-m, --memory`, for clap's `--memory <BYTES>`.
fn flag_names(command: &Command, shown: &str) -> String {
    let long = shown.split([' ', '=', '[']).next().unwrap_or(shown);
    let short =
        command.get_arguments().find(|a| a.get_long().is_some_and(|name| long.strip_prefix("--") == Some(name)));
    match short.and_then(Arg::get_short) {
        Some(short) => format!("-{short}, {long}"),
        None => long.to_owned(),
    }
}

fn valid_values(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => format!("must be one of {}", values.join(", ")),
        _ => "invalid value".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(short, long, value_parser = crate::values::bytes::size)]
        memory: Option<u64>,
        #[arg(long)]
        rm: bool,
        #[arg(short)]
        interactive: bool,
        #[arg(short)]
        tty: bool,
        #[arg(required = true, trailing_var_arg = true)]
        image: Vec<String>,
    }

    const USAGE: &str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";

    fn parse(words: &[&str]) -> Result<Flags, Stop> {
        let mut command = parsed(shown(Flags::command(), &["run"], "run", USAGE, "About"));
        let refused = |flag: &str| (flag == "-p").then(|| "no ports".to_owned());
        match command.try_get_matches_from_mut(words) {
            Ok(matches) => Ok(clap::FromArgMatches::from_arg_matches(&matches).unwrap()),
            Err(error) => Err(explain(&error, &command, "run", USAGE, &refused)),
        }
    }

    use clap::CommandFactory as _;

    fn mistake(words: &[&str]) -> String {
        match parse(words) {
            Err(Stop::Usage(line)) => format!("125 {line}"),
            Err(Stop::Arguments(line)) => format!("1 {line}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn everything_after_the_image_is_the_command() {
        let flags = parse(&["--rm", "-it", "-m1g", "img", "sh", "--rm", "-m", "--", "-c", "x"]).unwrap();
        assert_eq!(flags.image, ["img", "sh", "--rm", "-m", "--", "-c", "x"]);
        assert!(flags.rm && flags.interactive && flags.tty);
        assert_eq!(flags.memory, Some(1 << 30));
        assert_eq!(parse(&["--", "img", "--x"]).unwrap().image, ["img", "--x"]);
    }

    #[test]
    fn switches_take_values_and_the_last_flag_wins() {
        let flags = parse(&["--rm", "--rm=false", "-i=false", "-t=true", "-m", "1", "--memory=2", "x"]).unwrap();
        assert!(!flags.rm && !flags.interactive && flags.tty);
        assert_eq!(flags.memory, Some(2));
    }

    #[test]
    fn mistakes_in_docker_words() {
        assert_eq!(mistake(&["--foo", "x"]), "125 unknown flag: --foo; see 'skep run --help'");
        assert_eq!(mistake(&["-x", "x"]), "125 unknown shorthand flag: 'x' in -x; see 'skep run --help'");
        assert_eq!(mistake(&["-itp", "80:80", "x"]), "125 no ports");
        assert_eq!(
            mistake(&["-m", "abc", "x"]),
            "125 invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'"
        );
        assert_eq!(mistake(&[]), "1 'skep run' requires at least 1 argument; see 'skep run --help'");
        assert_eq!(mistake(&["x", "-m"]).split(' ').next(), Some("Ok(Flags"));
        assert_eq!(mistake(&["--memory"]), "125 flag needs an argument: -m, --memory; see 'skep run --help'");
        assert!(mistake(&["--rm=x", "x"]).starts_with("125 invalid argument \"x\" for \"--rm\" flag"));
        assert_eq!(missing("rename", "CONTAINER NEW_NAME"), "'skep rename' requires 2 arguments");
        assert_eq!(missing("tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"), "'skep tag' requires 2 arguments");
        assert_eq!(
            missing("exec", "[OPTIONS] CONTAINER COMMAND [ARG...]"),
            "'skep exec' requires at least 2 arguments"
        );
    }
}
