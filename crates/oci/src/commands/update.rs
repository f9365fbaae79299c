//! `update`: other limits for a container that runs.
//!
//! Flags and `--resources` come to the same: the `resources` of a specification, of which only what is given is changed.
//! Device rules stay as they are, as with runc.

use std::os::fd::AsFd as _;

use failure::{Context as _, Error, Result};
use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};
use serde_json::{Map, Value, json};

use crate::command::Command;
use crate::container::{Container, Status};
use crate::directory::read_whole;
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::words;

pub(crate) static COMMAND: Command = Command {
    name: "update",
    about: "update container resource constraints",
    usage: "<container-id>",
    description: "Changes limits of a running container. --resources reads them as JSON, in the form of a specification:\n\n\
                  {\"memory\": {\"limit\": 0, \"reservation\": 0, \"swap\": 0},\n \
                  \"cpu\": {\"shares\": 0, \"quota\": 0, \"burst\": 0, \"period\": 0, \"realtimeRuntime\": 0,\n         \
                  \"realtimePeriod\": 0, \"cpus\": \"\", \"mems\": \"\", \"idle\": 0},\n \
                  \"blockIO\": {\"weight\": 0}, \"pids\": {\"limit\": 0}, \"unified\": {}}\n\n\
                  What is left out stays unchanged; with --resources all other flags are ignored.",
    flags: &[
        Flag::value(
            &["resources", "r"],
            "path to the file with the resources to update, or '-' for the standard input",
        ),
        Flag::value(&["blkio-weight"], "specifies per cgroup weight, range is from 10 to 1000"),
        Flag::value(&["cpu-period"], "CPU CFS period to be used for hardcapping (in usecs). 0 to use system default"),
        Flag::value(&["cpu-quota"], "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period"),
        Flag::value(&["cpu-burst"], "CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time for a burst"),
        Flag::value(&["cpu-share"], "CPU shares (relative weight vs. other containers)"),
        Flag::value(&["cpu-rt-period"], "CPU realtime period to be used for hardcapping (in usecs)"),
        Flag::value(&["cpu-rt-runtime"], "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period"),
        Flag::value(&["cpuset-cpus"], "CPU(s) to use"),
        Flag::value(&["cpuset-mems"], "memory node(s) to use"),
        Flag::value(&["cpu-idle"], "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE"),
        Flag::value(&["kernel-memory"], "obsolete; ignored"),
        Flag::value(&["kernel-memory-tcp"], "obsolete; ignored"),
        Flag::value(&["memory"], "memory limit (in bytes)"),
        Flag::value(&["memory-reservation"], "memory reservation or soft_limit (in bytes)"),
        Flag::value(&["memory-swap"], "total memory usage (memory + swap); set '-1' to enable unlimited swap"),
        Flag::value(&["pids-limit"], "maximum number of pids allowed in the container"),
        Flag::value(&["l3-cache-schema"], "the string of Intel RDT/CAT L3 cache schema"),
        Flag::value(&["mem-bw-schema"], "the string of Intel RDT/MBA memory bandwidth schema"),
    ],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

/// Flag, place in the specification, how it is read.
const PLACES: [(&str, &str, &str, Form); 14] = [
    ("blkio-weight", "blockIO", "weight", Form::NonZero),
    ("cpu-period", "cpu", "period", Form::Number),
    ("cpu-quota", "cpu", "quota", Form::Number),
    ("cpu-burst", "cpu", "burst", Form::Number),
    ("cpu-share", "cpu", "shares", Form::Number),
    ("cpu-rt-period", "cpu", "realtimePeriod", Form::Number),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Form::Number),
    ("cpuset-cpus", "cpu", "cpus", Form::Text),
    ("cpuset-mems", "cpu", "mems", Form::Text),
    ("cpu-idle", "cpu", "idle", Form::Number),
    ("memory", "memory", "limit", Form::Bytes),
    ("memory-reservation", "memory", "reservation", Form::Bytes),
    ("memory-swap", "memory", "swap", Form::Bytes),
    ("pids-limit", "pids", "limit", Form::NonZero),
];

#[derive(Clone, Copy)]
enum Form {
    Number,
    /// Zero is as good as not given.
    NonZero,
    /// `512m`; -1 is no limit.
    Bytes,
    Text,
}

fn run(global: &Global, words: &Words) -> Result<u8> {
    let container = Container::find(global, &words.rest[0])?;
    if matches!(container.status(), Status::Stopped | Status::Creating) {
        return Err(words::not_running());
    }
    let resources = match words.value("resources").filter(|path| !path.is_empty()) {
        Some(path) => of_file(path)?,
        None => of_flags(words)?,
    };
    let schemata: Vec<&str> = ["l3-cache-schema", "mem-bw-schema"]
        .iter()
        .filter_map(|name| words.value(name))
        .filter(|text| !text.is_empty())
        .collect();
    if !schemata.is_empty() && !std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        return Err(Error::unsupported("Intel RDT: resctrl is not mounted on /sys/fs/resctrl"));
    }
    for warning in container.cgroup()?.update(&resources)? {
        global.log.warning(&warning);
    }
    set_schemata(&container, &schemata)?;
    Ok(0)
}

fn of_file(path: &str) -> Result<LinuxResources> {
    let text = match path {
        "-" => {
            let stdin = std::io::stdin().as_fd().try_clone_to_owned().context("cannot read the standard input")?;
            read_whole(stdin, "standard input")?
        }
        path => {
            let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            read_whole(file.with_context(|| format!("cannot open `{path}`"))?, path)?
        }
    };
    // A stream may go on after the object, as Go's decoder has it.
    let first = serde_json::Deserializer::from_slice(&text).into_iter::<Value>().next();
    match first {
        Some(value) => resources(value.map_err(|wrong| Error::invalid(format!("the resources are no JSON: {wrong}")))?),
        None => Err(Error::invalid("the resources are empty")),
    }
}

fn of_flags(words: &Words) -> Result<LinuxResources> {
    let mut parts: Map<String, Value> = Map::new();
    for (flag, part, field, form) in PLACES {
        let Some(text) = words.value(flag).filter(|text| !text.is_empty()) else { continue };
        let wrong = || Error::invalid(format!("invalid value for {flag}: `{text}`"));
        let value = match form {
            Form::Text => json!(text),
            Form::Bytes => json!(bytes(text).ok_or_else(wrong)?),
            Form::Number | Form::NonZero => json!(text.parse::<i64>().map_err(|_| wrong())?),
        };
        if matches!(form, Form::NonZero) && value == json!(0) {
            continue;
        }
        if let Some(fields) = parts.entry(part).or_insert_with(|| json!({})).as_object_mut() {
            fields.insert(field.to_owned(), value);
        }
    }
    resources(Value::Object(parts))
}

/// Checks the form; no limit of memory is none of swap either, as v1 wants it.
fn resources(mut value: Value) -> Result<LinuxResources> {
    if !value.is_object() {
        // The types would take a list for the fields in their order.
        return Err(Error::invalid("the resources are no JSON object"));
    }
    if let Some(memory) = value.get_mut("memory").and_then(Value::as_object_mut)
        && memory.get("limit") == Some(&json!(-1))
        && memory.get("swap").is_none_or(Value::is_null)
    {
        memory.insert("swap".to_owned(), json!(-1));
    }
    serde_json::from_value(value).map_err(|wrong| Error::invalid(format!("the resources are not valid: {wrong}")))
}

/// `1024`, `512k`, `1.5g`, `2GiB`, as Docker reads them; -1 as it is.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == ' ');
    let shift = match text.get(digits.len()..)?.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    match digits.parse::<i64>() {
        Ok(number) if number >= 0 => number.checked_mul(1 << shift),
        Ok(_) => None,
        Err(_) => {
            let number: f64 = digits.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
            let product = number * (1_i64 << shift) as f64;
            (product < i64::MAX as f64).then_some(product as i64)
        }
    }
}

/// Intel's resource director: lines into the group of the container.
fn set_schemata(container: &Container, lines: &[&str]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let text = container.directory.read_config()?.unwrap_or_default();
    let spec = crate::bundle::parse(&text)?;
    let rdt = spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref());
    let group = rdt.and_then(|rdt| rdt.clos_id().clone()).unwrap_or_else(|| container.id().to_string());
    if group.contains('/') || matches!(&*group, "" | "." | "..") {
        return Err(Error::invalid(format!("`{group}` is not the name of a group of intelRdt")));
    }
    let path = format!("/sys/fs/resctrl/{group}/schemata");
    std::fs::write(&path, lines.join("\n") + "\n").with_context(|| format!("cannot write `{path}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &str) -> Result<Value> {
        let words = words.split(' ').map(str::to_owned).collect();
        let words = Words::parse(COMMAND.flags, COMMAND.order, words)?;
        Ok(serde_json::to_value(of_flags(&words)?).unwrap())
    }

    #[test]
    fn flags_are_fields_of_the_specification() {
        let value =
            flags("--memory 64m --memory-swap=-1 --cpu-quota 5000 --cpuset-cpus 0-1 --pids-limit 7 id").unwrap();
        assert_eq!(value["memory"], json!({"limit": 64 << 20, "swap": -1}));
        assert_eq!((&value["cpu"]["quota"], &value["cpu"]["cpus"]), (&json!(5000), &json!("0-1")));
        assert_eq!(value["pids"]["limit"], json!(7));
        assert_eq!(flags("--memory -1 id").unwrap()["memory"], json!({"limit": -1, "swap": -1}));
        assert_eq!(flags("--pids-limit 0 id").unwrap(), json!({}));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for words in ["--memory x id", "--memory 1x id", "--cpu-share a id", "--cpu-period -1 id", "--memory -5 id"] {
            assert!(flags(words).is_err(), "{words}");
        }
        assert_eq!((bytes("1.5g"), bytes("2KiB"), bytes("99999999p")), (Some(3 << 29), Some(2048), None));
    }
}
