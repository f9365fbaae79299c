//! Flags as runc takes them: Go's rules, read from a table.
//!
//! ```text
//! -name  --name          the same; a flag without a value is true
//! --name=value           for every flag; `true`, `false`, `1`, `0`, `t`, `f` for one that is true or false
//! --name value           for a flag with a value, whatever the value begins with
//! --                     the rest are no flags
//! ```
//! Flags may stand after the first plain word too (`kill ID --all`), except where the words belong to somebody else's
//! program (`exec`, `ps`, and the flags before the command). A word that looks like a flag but is none is an error before
//! the first plain word, and plain after it, as in runc.

use failure::{Error, Result};

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Its names without dashes, the long one first.
    pub(crate) names: &'static [&'static str],
    /// Whether a value follows.
    pub(crate) takes_value: bool,
    /// What it is for.
    pub(crate) help: &'static str,
}

impl Flag {
    /// A flag that is there or not.
    pub(crate) const fn plain(names: &'static [&'static str], help: &'static str) -> Self {
        Self { names, takes_value: false, help }
    }

    /// A flag with a value.
    pub(crate) const fn value(names: &'static [&'static str], help: &'static str) -> Self {
        Self { names, takes_value: true, help }
    }

    fn is_called(&self, name: &str) -> bool {
        self.names.contains(&name)
    }
}

/// Where flags end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nowhere: flags and words are mixed.
    Mixed,
    /// At the first word that is no flag.
    FlagsFirst,
}

/// A command line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// Flags by their first name, in the order given.
    flags: Vec<(&'static str, String)>,
    /// What is no flag.
    pub(crate) rest: Vec<String>,
}

impl Words {
    /// Takes a command line apart.
    pub(crate) fn parse(table: &'static [Flag], order: Order, words: Vec<String>) -> Result<Self> {
        let mut parsed = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.rest.extend(words.by_ref());
                break;
            }
            let Some((name, given)) = split(&word) else {
                parsed.rest.push(word);
                if order == Order::FlagsFirst {
                    parsed.rest.extend(words.by_ref());
                }
                continue;
            };
            match table.iter().find(|flag| flag.is_called(name)) {
                Some(flag) => {
                    let value = value(flag, name, given, &mut words)?;
                    parsed.flags.push((flag.names[0], value));
                }
                None if parsed.rest.is_empty() => {
                    return Err(Error::invalid(format!("flag provided but not defined: -{name}")));
                }
                None => parsed.rest.push(word),
            }
        }
        Ok(parsed)
    }

    /// Whether a flag without a value is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(is_true)
    }

    /// Whether a flag was given at all.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The last value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The last value of a flag, as a number.
    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Error::invalid(format!("invalid value `{text}` for flag -{name}: not a number")))
        };
        self.value(name).map(parse).transpose()
    }
}

/// Name and value of a word that looks like a flag.
fn split(word: &str) -> Option<(&str, Option<&str>)> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|name| !name.is_empty())?;
    Some(match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    })
}

fn value(flag: &Flag, name: &str, given: Option<&str>, words: &mut impl Iterator<Item = String>) -> Result<String> {
    match given {
        Some(value) if flag.takes_value || is_true(value) || is_false(value) => Ok(value.to_owned()),
        Some(value) => Err(Error::invalid(format!("invalid boolean value \"{value}\" for -{name}"))),
        None if !flag.takes_value => Ok("true".to_owned()),
        None => words.next().ok_or_else(|| Error::invalid(format!("flag needs an argument: -{name}"))),
    }
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn is_false(value: &str) -> bool {
    matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False")
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: &[Flag] = &[
        Flag::value(&["bundle", "b"], ""),
        Flag::plain(&["detach", "d"], ""),
        Flag::value(&["env", "e"], ""),
        Flag::plain(&["all", "a"], ""),
    ];

    fn parse(order: Order, words: &str) -> Result<Words> {
        Words::parse(TABLE, order, words.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn every_spelling_is_the_same() {
        for words in ["--bundle x -d id", "-b x --detach id", "-bundle=x -detach=true id", "--b=x --d=1 id"] {
            let parsed = parse(Order::FlagsFirst, words).unwrap();
            assert_eq!(parsed.value("bundle"), Some("x"), "{words}");
            assert!(parsed.has("detach") && !parsed.has("all"), "{words}");
            assert_eq!(parsed.rest, ["id"]);
        }
        assert!(!parse(Order::Mixed, "--detach=false id").unwrap().has("detach"));
    }

    #[test]
    fn flags_mix_with_words_where_they_may() {
        let kill = parse(Order::Mixed, "id --all KILL -9").unwrap();
        assert!(kill.has("all"));
        assert_eq!(kill.rest, ["id", "KILL", "-9"]);
        let exec = parse(Order::FlagsFirst, "-e A=b -e C id ls -d --all").unwrap();
        assert_eq!(exec.values("env").collect::<Vec<_>>(), ["A=b", "C"]);
        assert_eq!(exec.rest, ["id", "ls", "-d", "--all"]);
        assert!(!exec.has("detach"));
        assert_eq!(parse(Order::Mixed, "-- --all").unwrap().rest, ["--all"]);
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_go() {
        for (words, line) in [
            ("--nosuch id", "flag provided but not defined: -nosuch"),
            ("--bundle", "flag needs an argument: -bundle"),
            ("--detach=maybe", "invalid boolean value \"maybe\" for -detach"),
        ] {
            assert_eq!(parse(Order::Mixed, words).unwrap_err().to_string(), line);
        }
        assert!(parse(Order::Mixed, "--bundle x").unwrap().number::<u32>("bundle").is_err());
    }
}
