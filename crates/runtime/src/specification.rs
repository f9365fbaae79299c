//! Reading config.json and process.json as the specification means them.
//!
//! The types that hold them are stricter here, laxer there than its text, which this evens out:
//!
//! ```text
//!   the text                                            what becomes of it
//!   a capability nobody knows                           left out, with a warning (the specification demands both)
//!   SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_DL_OVERRUN     the types' names for them
//!   intelRdt.enableCMT, enableMBM                       enableMonitoring, which replaced them in 1.3
//! ```
//! Unknown properties are passed over, as the specification demands; unknown values are errors.

use failure::{Error, Result};
use oci_spec::runtime::{Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::capabilities;

/// Names of the specification that the types spell otherwise.
const FLAGS: [(&str, &str); 2] =
    [("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"), ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN")];
/// What the types would lose without a word.
const LOST: [&str; 2] = ["enableCMT", "enableMBM"];
const SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// A specification, and what was left out of it, one line each.
///
/// # Errors
/// The text is no specification.
pub fn read(text: &[u8]) -> Result<(Spec, Vec<String>)> {
    parse(text, "config.json", |value, warnings| {
        if let Some(process) = value.get_mut("process") {
            even_process(process, warnings);
        }
        if let Some(technology) = value.pointer_mut("/linux/intelRdt").and_then(Value::as_object_mut) {
            let asked = LOST.iter().any(|name| technology.get(*name) == Some(&Value::Bool(true)));
            if asked {
                technology.insert("enableMonitoring".to_owned(), Value::Bool(true));
            }
        }
    })
}

/// The process of an exec, and what was left out of it, one line each.
///
/// # Errors
/// The text is no process.
pub fn read_process(text: &[u8]) -> Result<(Process, Vec<String>)> {
    parse(text, "the process", even_process)
}

/// Nearly every text is what the types expect, and is read once.
fn parse<T: DeserializeOwned>(
    text: &[u8],
    what: &str,
    even: impl FnOnce(&mut Value, &mut Vec<String>),
) -> Result<(T, Vec<String>)> {
    let wrong = |reason: serde_json::Error| Error::invalid(format!("{what} is not valid: {reason}"));
    let lossy = text.windows(9).any(|window| LOST.iter().any(|name| name.as_bytes() == window));
    if !lossy && let Ok(read) = serde_json::from_slice(text) {
        return Ok((read, Vec::new()));
    }
    let mut value = serde_json::from_slice(text).map_err(wrong)?;
    let mut warnings = Vec::new();
    even(&mut value, &mut warnings);
    match serde_json::from_value(value) {
        Ok(read) => Ok((read, warnings)),
        // Read from the text once more, the reason names a line.
        Err(reason) => match serde_json::from_slice::<T>(text) {
            Err(placed) if warnings.is_empty() => Err(wrong(placed)),
            _ => Err(wrong(reason)),
        },
    }
}

fn even_process(process: &mut Value, warnings: &mut Vec<String>) {
    for set in SETS {
        let names = process.pointer_mut(&format!("/capabilities/{set}")).and_then(Value::as_array_mut);
        names.into_iter().for_each(|names| names.retain(|name| is_capability(name, warnings)));
    }
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        if let Some((_, name)) = FLAGS.iter().find(|(known, _)| *flag == *known) {
            *flag = Value::from(*name);
        }
    }
}

/// What is no text at all stays, for the types to refuse.
fn is_capability(name: &Value, warnings: &mut Vec<String>) -> bool {
    let Some(name) = name.as_str() else { return true };
    let known = !name.eq_ignore_ascii_case("ALL") && capabilities::parse(name).is_ok();
    let warning = format!("`{}` is no capability that is known here, and cannot be granted", name.escape_debug());
    if !known && !warnings.contains(&warning) {
        warnings.push(warning);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(value: &Value) -> Vec<u8> {
        serde_json::to_vec(value).unwrap()
    }

    #[test]
    fn unknown_capabilities_are_a_warning() {
        let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["x"], "unknownProperty": 1,
            "capabilities": {"bounding": ["CAP_FLY", "CAP_KILL", "kill"], "ambient": ["CAP_FLY"]}});
        let (read, warnings) = read_process(&text(&process)).unwrap();
        assert_eq!(warnings, ["`CAP_FLY` is no capability that is known here, and cannot be granted"]);
        assert_eq!(read.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn flags_have_the_names_of_the_specification() {
        let flags = [
            "RESET_ON_FORK",
            "RECLAIM",
            "DL_OVERRUN",
            "KEEP_POLICY",
            "KEEP_PARAMS",
            "UTIL_CLAMP_MIN",
            "UTIL_CLAMP_MAX",
        ];
        let flags = flags.map(|name| format!("SCHED_FLAG_{name}"));
        let process = |flags: Value| {
            text(
                &json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "scheduler": {"policy": "SCHED_OTHER", "flags": flags}}),
            )
        };
        let (read, _) = read_process(&process(json!(flags))).unwrap();
        assert_eq!(read.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), 7);
        let message = read_process(&process(json!(["SCHED_FLAG_NEW"]))).unwrap_err().to_string();
        assert!(message.contains("SCHED_FLAG_NEW") && message.contains("line 1"), "{message}");
    }

    #[test]
    #[allow(deprecated, reason = "it is what is tested")]
    fn old_names_of_monitoring_are_not_lost() {
        let spec = json!({"ociVersion": "1.2.0", "linux": {"intelRdt": {"enableMBM": true}}});
        let (read, _) = read(&text(&spec)).unwrap();
        assert_eq!(*read.linux().as_ref().unwrap().intel_rdt().as_ref().unwrap().enable_monitoring(), Some(true));
        assert!(super::read(b"{\"process\": 7}").unwrap_err().to_string().starts_with("config.json is not valid: "));
        assert!(super::read(b"").is_err());
    }

    /// Every property of the specification that concerns Linux: one that the types call otherwise would be lost in silence.
    #[test]
    fn no_property_is_lost() {
        let written: Value = serde_json::from_str(include_str!("specification/every_property.json")).unwrap();
        let (read, warnings) = read(&text(&written)).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let kept = serde_json::to_value(read).unwrap();
        let mut lost = Vec::new();
        compare(&written, &kept, "", &mut lost);
        assert!(lost.is_empty(), "lost or changed: {lost:#?}");
    }

    fn compare(written: &Value, kept: &Value, place: &str, lost: &mut Vec<String>) {
        match (written, kept) {
            (Value::Object(written), Value::Object(kept)) => {
                for (name, value) in written {
                    compare(value, kept.get(name).unwrap_or(&Value::Null), &format!("{place}/{name}"), lost);
                }
            }
            // Sets of capabilities have no order.
            (Value::Array(written), Value::Array(kept)) if place.contains("capabilities") => {
                if written.len() != kept.len() {
                    lost.push(place.to_owned());
                }
            }
            (Value::Array(written), Value::Array(kept)) if written.len() == kept.len() => {
                for (index, (written, kept)) in written.iter().zip(kept).enumerate() {
                    compare(written, kept, &format!("{place}/{index}"), lost);
                }
            }
            (written, kept) if written == kept => {}
            _ => lost.push(format!("{place}: {written} became {kept}")),
        }
    }
}
