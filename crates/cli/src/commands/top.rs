//! `skep top`: the processes of a container.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::Output;
use crate::table::{self, Widths};
use clap::Parser;

pub(super) const ENTRY: Entry = Entry::new::<Top>(
    Group::Containers,
    &["top", "container top"],
    "CONTAINER [ps OPTIONS]",
    "Display the running processes of a container",
);

const EXAMPLES: &str = "\
Of the options of ps: -ef (the default), aux, and -o COLUMN,...

Example:
  skep top web -o pid,user,rss,args";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Top {
    #[arg(required = true, trailing_var_arg = true, hide = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

impl Invoke for Top {
    fn invoke(self, context: &Context) -> Outcome {
        let columns = columns(&self.words[1..])?;
        let home = context.home()?;
        let processes = engine::top(&home, &engine::find(&home, &self.words[0])?, &columns)?;
        let rows = [vec![processes.titles], processes.rows].concat();
        let mut out = Output::new();
        out.text(&table::render(&rows, Widths { least: 20, padding: 3 }))?;
        out.done()
    }
}

/// The columns of `ps aux`.
const AUX: &str = "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,time,command";

/// The columns that options of ps ask for; none: those of `ps -ef`.
fn columns(options: &[String]) -> Outcome<Vec<String>> {
    let mut columns = Vec::new();
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let letters = option.strip_prefix('-').unwrap_or(option);
        let list = match letters.find('o') {
            Some(at) if letters[..at].chars().all(|c| "ef".contains(c)) => match &letters[at + 1..] {
                "" => options.next().map(String::as_str).unwrap_or_default(),
                list => list,
            },
            None if letters.chars().all(|c| "efA".contains(c)) && !letters.is_empty() => continue,
            None if letters.contains('u') && letters.chars().all(|c| "aux".contains(c)) => AUX,
            _ => {
                return Err(Stop::Usage(format!(
                    "`{option}` is no option of ps that is supported: use -ef, aux, -o COLUMN,.."
                )));
            }
        };
        let names = list.split([',', ' ']).map(|name| name.split('=').next().unwrap_or(name).trim());
        columns.extend(names.filter(|name| !name.is_empty()).map(str::to_lowercase));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ps() {
        let read = |words: &[&str]| columns(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(read(&["-ef"]).unwrap().is_empty());
        assert_eq!(read(&["-o", "pid,cmd"]).unwrap(), ["pid", "cmd"]);
        assert_eq!(read(&["-eo", "pid", "-ocmd"]).unwrap(), ["pid", "cmd"]);
        assert_eq!(read(&["o", "pid="]).unwrap(), ["pid"]);
        assert_eq!(read(&["aux"]).unwrap().len(), 11);
        assert!(read(&["-Z"]).is_err());
    }
}
