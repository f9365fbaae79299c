//! Dockerfile-style changes to a configuration: `--change 'CMD ["sh"]'` of import and commit.
//!
//! A change is read and checked whole before anything is made, then applied to the JSON document. Values are taken
//! as they are written: there are no variables to expand here.

use failure::{Error, Result};
use serde_json::{Map, Value, json};

use crate::ConfigDocument;
use crate::config::object_at;

/// One change, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// CMD: a program and its arguments, or a line for the shell.
    Cmd(Vec<String>),
    /// ENTRYPOINT, in the same forms.
    Entrypoint(Vec<String>),
    /// ENV: names and values.
    Env(Vec<(String, String)>),
    /// EXPOSE: ports with their protocols.
    Expose(Vec<String>),
    /// LABEL: names and values.
    Label(Vec<(String, String)>),
    /// USER.
    User(String),
    /// VOLUME: paths.
    Volume(Vec<String>),
    /// WORKDIR.
    WorkingDirectory(String),
    /// STOPSIGNAL.
    StopSignal(String),
    /// ONBUILD: an instruction for images built on this one.
    OnBuild(String),
    /// HEALTHCHECK, as Docker's configuration has it.
    HealthCheck(Map<String, Value>),
}

impl Change {
    /// Reads one instruction.
    ///
    /// # Errors
    /// It is none of these, or its arguments are wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let name = word.to_ascii_uppercase();
        if rest.is_empty() {
            return Err(wrong(text, "it has no argument"));
        }
        Ok(match name.as_str() {
            "CMD" => Self::Cmd(command(rest)),
            "ENTRYPOINT" => Self::Entrypoint(command(rest)),
            "ENV" => Self::Env(pairs(text, rest)?),
            "EXPOSE" => Self::Expose(ports(text, rest)?),
            "LABEL" => Self::Label(pairs(text, rest)?),
            "USER" => Self::User(one_word(text, rest)?),
            "VOLUME" => Self::Volume(json_list(rest).map_or_else(|| split_words(rest), Ok)?),
            "WORKDIR" => Self::WorkingDirectory(one_word(text, rest)?),
            "STOPSIGNAL" => Self::StopSignal(one_word(text, rest)?),
            "ONBUILD" => on_build(text, rest)?,
            "HEALTHCHECK" => Self::HealthCheck(health_check(text, rest)?),
            _ => {
                let known =
                    "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR, STOPSIGNAL, ONBUILD or HEALTHCHECK";
                return Err(wrong(text, &format!("a change is one of {known}")));
            }
        })
    }

    /// Changes the configuration.
    pub fn apply(&self, document: &mut ConfigDocument) {
        let config = document.config_mut();
        match self {
            Self::Cmd(command) => {
                config.insert("Cmd".into(), json!(command));
            }
            Self::Entrypoint(command) => {
                config.insert("Entrypoint".into(), json!(command));
            }
            Self::Env(pairs) => pairs.iter().for_each(|(name, value)| set_variable(config, name, value)),
            Self::Expose(ports) => insert_keys(config, "ExposedPorts", ports),
            Self::Volume(paths) => insert_keys(config, "Volumes", paths),
            Self::Label(pairs) => {
                let labels = object_at(config, "Labels");
                labels.extend(pairs.iter().map(|(name, value)| (name.clone(), value.clone().into())));
            }
            Self::User(user) => {
                config.insert("User".into(), user.as_str().into());
            }
            Self::WorkingDirectory(path) => {
                let before = config.get("WorkingDir").and_then(Value::as_str).unwrap_or("/");
                let path = joined(before, path);
                config.insert("WorkingDir".into(), path.into());
            }
            Self::StopSignal(signal) => {
                config.insert("StopSignal".into(), signal.as_str().into());
            }
            Self::OnBuild(instruction) => list_at(config, "OnBuild").push(instruction.as_str().into()),
            Self::HealthCheck(check) => {
                config.insert("Healthcheck".into(), Value::Object(check.clone()));
            }
        }
    }
}

/// Splits a line into words as a Dockerfile does: blanks separate, quotes and backslashes keep.
///
/// # Errors
/// A quote is not closed.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(wrong(text, "a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn wrong(text: &str, reason: &str) -> Error {
    Error::invalid(format!("change `{}`: {reason}", text.escape_debug()))
}

/// `["program", "argument"]`; what is no such list is a line for the shell.
fn command(text: &str) -> Vec<String> {
    json_list(text).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), text.into()])
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

fn one_word(text: &str, rest: &str) -> Result<String> {
    match split_words(rest)?.as_slice() {
        [word] if !word.is_empty() => Ok(word.clone()),
        _ => Err(wrong(text, "it takes one argument")),
    }
}

/// `NAME=VALUE ...`, or the old form `NAME VALUE WITH BLANKS`.
fn pairs(text: &str, rest: &str) -> Result<Vec<(String, String)>> {
    let words = split_words(rest)?;
    if let [first, _, ..] = words.as_slice()
        && !first.contains('=')
    {
        let value = rest.trim_start_matches(|c: char| !c.is_whitespace()).trim();
        return Ok(vec![(first.clone(), value.to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(wrong(text, "write NAME=VALUE")),
    };
    words.iter().map(pair).collect()
}

/// `80`, `80/tcp`, `8000-8010/udp`; a range becomes its ports.
fn ports(text: &str, rest: &str) -> Result<Vec<String>> {
    let mut ports = Vec::new();
    for word in split_words(rest)? {
        let (range, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
            return Err(wrong(text, "write PORT[-PORT][/PROTOCOL]"));
        };
        if first == 0 || last < first || !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(wrong(text, "write PORT[-PORT][/PROTOCOL]"));
        }
        ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    Ok(ports)
}

fn on_build(text: &str, rest: &str) -> Result<Change> {
    let word = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match word.as_str() {
        "ONBUILD" | "FROM" | "MAINTAINER" => Err(wrong(text, "this instruction cannot be a trigger")),
        _ => Ok(Change::OnBuild(rest.to_owned())),
    }
}

/// `NONE`, or `[--interval=D --timeout=D --start-period=D --start-interval=D --retries=N] CMD ...`.
fn health_check(text: &str, rest: &str) -> Result<Map<String, Value>> {
    let mut check = Map::new();
    let mut rest = rest;
    while rest.starts_with("--") {
        let (option, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        let (name, value) = option.split_once('=').ok_or_else(|| wrong(text, "write --OPTION=VALUE"))?;
        let nanoseconds = || duration(value).ok_or_else(|| wrong(text, &format!("`{value}` is not a duration")));
        let (field, value) = match name {
            "--interval" => ("Interval", nanoseconds()?),
            "--timeout" => ("Timeout", nanoseconds()?),
            "--start-period" => ("StartPeriod", nanoseconds()?),
            "--start-interval" => ("StartInterval", nanoseconds()?),
            "--retries" => ("Retries", value.parse().map_err(|_| wrong(text, "--retries takes a number"))?),
            _ => return Err(wrong(text, &format!("there is no option `{name}`"))),
        };
        check.insert(field.into(), value.into());
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let test = match (word.to_ascii_uppercase().as_str(), command.trim()) {
        ("NONE", "") if check.is_empty() => json!(["NONE"]),
        ("CMD", "") => return Err(wrong(text, "CMD has no command")),
        ("CMD", command) => match json_list(command) {
            Some(list) => json!([vec!["CMD".to_owned()], list].concat()),
            None => json!(["CMD-SHELL", command]),
        },
        _ => return Err(wrong(text, "write HEALTHCHECK [OPTIONS] CMD ..., or HEALTHCHECK NONE")),
    };
    check.insert("Test".into(), test);
    Ok(check)
}

/// A duration as Go writes it (`1m30s`, `500ms`), in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut total = 0_f64;
    let mut rest = text;
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |end| digits + end);
        let scale = match &rest[digits..unit] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * scale;
        rest = &rest[unit..];
    }
    // Ten years are enough for a health check; what is beyond is a mistake.
    (total > 0.0 && total < 3.2e17).then_some(total as i64)
}

fn set_variable(config: &mut Map<String, Value>, name: &str, value: &str) {
    let variables = list_at(config, "Env");
    let line = Value::from(format!("{name}={value}"));
    let is_same = |known: &&mut Value| {
        known.as_str().is_some_and(|known| known.split_once('=').map_or(known, |(known, _)| known) == name)
    };
    match variables.iter_mut().find(is_same) {
        Some(known) => *known = line,
        None => variables.push(line),
    }
}

/// Go's sets are objects whose values are empty objects.
fn insert_keys(config: &mut Map<String, Value>, field: &str, keys: &[String]) {
    let set = object_at(config, field);
    set.extend(keys.iter().map(|key| (key.clone(), json!({}))));
}

fn list_at<'a>(config: &'a mut Map<String, Value>, field: &str) -> &'a mut Vec<Value> {
    let value = config.entry(field).or_insert(Value::Null);
    if !value.is_array() {
        *value = json!([]);
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("a list was just put there"),
    }
}

/// A path from where the image was; `..` does not leave the root.
fn joined(before: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { before };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(changes: &[&str]) -> Value {
        let mut document = ConfigDocument::empty();
        for change in changes {
            Change::parse(change).unwrap().apply(&mut document);
        }
        Value::Object(document.config_mut().clone())
    }

    #[test]
    fn each_instruction_sets_its_field() {
        assert_eq!(apply(&["CMD [\"a\", \"b c\"]"]), json!({"Cmd": ["a", "b c"]}));
        assert_eq!(apply(&["cmd a b"]), json!({"Cmd": ["/bin/sh", "-c", "a b"]}));
        assert_eq!(apply(&["ENTRYPOINT [\"/x\"]"]), json!({"Entrypoint": ["/x"]}));
        assert_eq!(apply(&["ENV A=1 B=\"2 3\"", "ENV A=4", "ENV C 5  6"]), json!({"Env": ["A=4", "B=2 3", "C=5  6"]}));
        assert_eq!(
            apply(&["EXPOSE 80 53/udp 1-2"]),
            json!({"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "1/tcp": {}, "2/tcp": {}}})
        );
        assert_eq!(apply(&["LABEL a.b='c d'"]), json!({"Labels": {"a.b": "c d"}}));
        assert_eq!(apply(&["USER 1:2"]), json!({"User": "1:2"}));
        assert_eq!(apply(&["VOLUME [\"/a b\"]", "VOLUME /c /d"]), json!({"Volumes": {"/a b": {}, "/c": {}, "/d": {}}}));
        assert_eq!(apply(&["WORKDIR /a", "WORKDIR b/../c"]), json!({"WorkingDir": "/a/c"}));
        assert_eq!(apply(&["STOPSIGNAL SIGINT"]), json!({"StopSignal": "SIGINT"}));
        assert_eq!(apply(&["ONBUILD RUN make"]), json!({"OnBuild": ["RUN make"]}));
        assert_eq!(
            apply(&["HEALTHCHECK --interval=1m30s --retries=3 CMD curl x"]),
            json!({"Healthcheck": {"Interval": 90_000_000_000_i64, "Retries": 3, "Test": ["CMD-SHELL", "curl x"]}})
        );
        assert_eq!(apply(&["HEALTHCHECK NONE"]), json!({"Healthcheck": {"Test": ["NONE"]}}));
    }

    #[test]
    fn wrong_changes_are_refused() {
        for wrong in
            ["", "RUN x", "CMD", "ENV A", "ENV =1", "EXPOSE 0", "EXPOSE 99999", "EXPOSE 80/x", "USER a b", "LABEL 'a=b"]
        {
            assert!(Change::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["HEALTHCHECK", "HEALTHCHECK CMD", "HEALTHCHECK --interval=x CMD a", "ONBUILD FROM a"] {
            assert!(Change::parse(wrong).is_err(), "{wrong}");
        }
    }
}
