//! `--security-opt`: `seccomp=FILE|unconfined|builtin`, `no-new-privileges`, `systempaths=unconfined`,
//! `apparmor=unconfined`, `label=disable`. The old form with a colon works as well.

use super::switch;
use engine::request::Seccomp;
use failure::{Context as _, Error, Result};
use serde_json::Value;

/// All `--security-opt` together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    /// The system call filter.
    pub(crate) seccomp: Seccomp,
    /// Programs cannot gain privileges.
    pub(crate) no_new_privileges: bool,
    /// /proc and /sys as they are.
    pub(crate) unconfined_system_paths: bool,
    /// What is kept for `inspect` and has no effect here.
    pub(crate) others: Vec<String>,
}

/// Reads all of them, and the profile that one of them may name.
pub(crate) fn options(texts: &[String]) -> Result<Security> {
    let mut security = Security::default();
    for text in texts {
        let (name, value) = match text.find(['=', ':']) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text.as_str(), None),
        };
        match (name, value) {
            ("no-new-privileges", None) => security.no_new_privileges = true,
            ("no-new-privileges", Some(value)) => {
                security.no_new_privileges = switch::boolean(value).map_err(|_| invalid(text))?;
            }
            ("seccomp", Some("unconfined")) => security.seccomp = Seccomp::Unconfined,
            ("seccomp", Some("builtin" | "default")) => security.seccomp = Seccomp::Default,
            ("seccomp", Some(path)) if !path.is_empty() => security.seccomp = Seccomp::Profile(profile(path)?),
            ("systempaths", Some("unconfined")) => security.unconfined_system_paths = true,
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => security.others.push(text.clone()),
            ("apparmor" | "label" | "writable-cgroups", Some(_)) => {
                return Err(Error::unsupported(format!("--security-opt `{text}` is not supported yet")));
            }
            _ => return Err(invalid(text)),
        }
    }
    Ok(security)
}

fn profile(path: &str) -> Result<String> {
    let failed = || format!("opening seccomp profile (`{path}`) failed");
    let bytes = std::fs::read(path).with_context(failed)?;
    let wrong = |reason: String| Error::invalid(format!("seccomp profile `{path}` is no profile: {reason}"));
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not text".into()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if value.get("defaultAction").is_none() {
        return Err(wrong("it has no `defaultAction`".into()));
    }
    Ok(text)
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!("invalid --security-opt: \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Security> {
        options(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn known_options() {
        let security = read(&["no-new-privileges:true", "seccomp=unconfined", "label=disable"]).unwrap();
        assert!(security.no_new_privileges);
        assert_eq!(security.seccomp, Seccomp::Unconfined);
        assert_eq!(security.others, ["label=disable"]);
        assert!(!read(&["no-new-privileges=false"]).unwrap().no_new_privileges);
        assert!(read(&["systempaths=unconfined"]).unwrap().unconfined_system_paths);
    }

    #[test]
    fn mistakes() {
        for text in ["foo", "seccomp", "seccomp=", "seccomp=/nonexistent", "apparmor=x", "no-new-privileges=x"] {
            assert!(read(&[text]).is_err(), "{text}");
        }
    }
}
