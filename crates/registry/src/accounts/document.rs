//! The text of `config.json` and `auth.json`.
//!
//! ```json
//! { "auths": { "https://index.docker.io/v1/": { "auth": "base64 of user:password" },
//!              "ghcr.io": { "auth": "...", "identitytoken": "..." }, "quay.io/team": { "auth": "..." } },
//!   "credsStore": "secretservice",
//!   "credHelpers": { "gcr.io": "gcloud" } }
//! ```
//! A key is a host, an address of old (`https://host/v1/`), or, as podman writes them, a host and the beginning of a path.
//! The longest one that fits counts. No message about such a file quotes what is in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use failure::{Error, Result};
use serde::Deserialize;

use crate::settings::Source;
use crate::{Credentials, Secret};

/// One file.
#[derive(Debug, Default, Deserialize)]
pub struct Document {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credsStore")]
    store: String,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("<secret>")
    }
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not JSON, or not of this form.
    pub(crate) fn parse(source: Source<'_>) -> Result<Self> {
        if source.text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(source.text).map_err(|error| {
            // serde_json quotes values of the wrong type, and a value here may be a password.
            let reason = if error.is_data() { "a value has the wrong type" } else { "this is not JSON" };
            Error::invalid(format!("`{}`, line {}: {reason}", source.path.display(), error.line()))
        })
    }

    /// The same, of text alone.
    ///
    /// # Errors
    /// As above.
    pub fn of_text(text: &str) -> Result<Self> {
        Self::parse(Source { path: std::path::Path::new("config.json"), text })
    }

    /// The helper that keeps the account for a repository.
    pub(crate) fn helper(&self, host: &str, repository: &str) -> Option<&str> {
        let own = self.helpers.iter().filter_map(|(key, name)| Some((fits(key, host, repository)?, name)));
        let own = own.max_by_key(|(length, _)| *length).map(|(_, name)| name);
        // An empty name for a host: it has no helper, although there is one for all.
        own.or(Some(&self.store)).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The account for a repository, or what is wrong with it.
    pub fn account(&self, host: &str, repository: &str) -> Option<Result<Credentials, &'static str>> {
        let fitting = self.auths.iter().filter_map(|(key, entry)| Some((fits(key, host, repository)?, entry)));
        let told = fitting.filter_map(|(length, entry)| Some((length, entry.credentials()?)));
        told.max_by_key(|(length, _)| *length).map(|(_, credentials)| credentials)
    }

    /// Whether there is an entry for the host, although perhaps an empty one.
    pub(crate) fn mentions(&self, host: &str) -> bool {
        self.auths.keys().any(|key| is_whole_registry(key, host))
    }
}

impl Entry {
    fn credentials(&self) -> Option<Result<Credentials, &'static str>> {
        if !self.registrytoken.is_empty() {
            return Some(Ok(Credentials::Bearer(self.registrytoken.clone())));
        }
        if !self.identitytoken.is_empty() {
            return Some(Ok(Credentials::Identity(self.identitytoken.clone())));
        }
        if !self.auth.is_empty() {
            return Some(decoded(&self.auth));
        }
        let (user, password) = (self.username.clone(), self.password.clone());
        (!user.is_empty()).then_some(Ok(Credentials::Password { user, password }))
    }
}

fn decoded(auth: &str) -> Result<Credentials, &'static str> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).map_err(|_| "is not base64")?;
    let text = Secret::new(String::from_utf8(bytes).map_err(|_| "is not text")?);
    let (user, password) = text.reveal().split_once(':').ok_or("has no password")?;
    // Docker pads passwords so.
    Ok(Credentials::Password { user: user.to_owned(), password: password.trim_matches('\0').to_owned() })
}

/// `auth` as it is written.
pub(crate) fn encoded(user: &str, password: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

/// One name for the many of Docker Hub.
pub(crate) fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// Whether a key is about all of a registry, not a part of it.
pub(crate) fn is_whole_registry(key: &str, host: &str) -> bool {
    matches!(split(key), (own, "") if canonical(own) == canonical(host))
}

/// How much of the repository's name a key covers; none: it is about something else.
fn fits(key: &str, host: &str, repository: &str) -> Option<usize> {
    let (own, path) = split(key);
    if canonical(own) != canonical(host) {
        return None;
    }
    let rest = repository.strip_prefix(path)?;
    (path.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some(path.len())
}

/// Host and path; the path of an address of old says nothing.
fn split(key: &str) -> (&str, &str) {
    let address = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let (host, path) = address.unwrap_or(key).split_once('/').unwrap_or((address.unwrap_or(key), ""));
    match (address, path.trim_end_matches('/')) {
        (Some(_), _) | (None, "v1" | "v2") => (host, ""),
        (None, path) => (host, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(document: &Document, host: &str, repository: &str) -> String {
        match document.account(host, repository) {
            Some(Ok(Credentials::Password { user, .. })) => user,
            Some(Ok(Credentials::Identity(token))) => format!("identity {token}"),
            Some(Ok(Credentials::Bearer(token))) => format!("bearer {token}"),
            Some(Err(reason)) => reason.to_owned(),
            None => "nobody".to_owned(),
        }
    }

    #[test]
    fn the_key_that_fits_best_counts() {
        let auth = |user: &str| encoded(user, "hunter2");
        let text = format!(
            r#"{{ "auths": {{
                "https://index.docker.io/v1/": {{ "auth": "{}" }},
                "https://old.net/v2/": {{ "auth": "{}" }},
                "quay.io": {{ "auth": "{}" }}, "quay.io/team": {{ "auth": "{}" }}, "quay.io/team/app": {{ "auth": "{}" }},
                "localhost:5000": {{ "username": "plain", "password": "x" }},
                "docker.io/library/private": {{ "auth": "{}" }},
                "id.net": {{ "auth": "{}", "identitytoken": "t" }}, "bearer.net": {{ "registrytoken": "r" }},
                "store.net": {{}}, "bad.net": {{ "auth": "%%%" }}, "half.net": {{ "auth": "eA==" }}
            }}, "HttpHeaders": {{ "x": "y" }} }}"#,
            auth("hub"),
            auth("old"),
            auth("quay"),
            auth("team"),
            auth("app"),
            auth("private"),
            auth("0")
        );
        let document = Document::of_text(&text).unwrap();
        for (host, repository, expected) in [
            ("docker.io", "library/busybox", "hub"),
            ("registry-1.docker.io", "library/busybox", "hub"),
            ("index.docker.io", "library/private", "private"),
            ("old.net", "a", "old"),
            ("quay.io", "a", "quay"),
            ("quay.io", "team/other", "team"),
            ("quay.io", "team/app", "app"),
            ("quay.io", "teams/app", "quay"),
            ("quay.io", "", "quay"),
            ("localhost:5000", "a", "plain"),
            ("localhost", "a", "nobody"),
            ("id.net", "a", "identity t"),
            ("bearer.net", "a", "bearer r"),
            ("store.net", "a", "nobody"),
            ("bad.net", "a", "is not base64"),
            ("half.net", "a", "has no password"),
            ("evil.net", "quay.io", "nobody"),
        ] {
            assert_eq!(user(&document, host, repository), expected, "{host}/{repository}");
        }
        assert!(!format!("{document:?}").contains(&auth("hub")));
        assert!(document.mentions("store.net") && !document.mentions("other.net"));
    }

    #[test]
    fn a_password_may_have_colons_and_padding() {
        let credentials = decoded(&encoded("me", "a:b\0\0")).unwrap();
        assert_eq!(credentials, Credentials::Password { user: "me".into(), password: "a:b".into() });
    }

    #[test]
    fn helpers_are_chosen_by_host() {
        let text = r#"{ "credsStore": "desktop", "credHelpers": { "gcr.io": "gcloud", "plain.net": "", "index.docker.io": "hub" } }"#;
        let document = Document::of_text(text).unwrap();
        assert_eq!(document.helper("gcr.io", "a"), Some("gcloud"));
        assert_eq!(document.helper("plain.net", "a"), None);
        assert_eq!(document.helper("docker.io", "a"), Some("hub"));
        assert_eq!(document.helper("other.net", "a"), Some("desktop"));
        assert_eq!(Document::of_text("").unwrap().helper("a", "b"), None);
    }

    #[test]
    fn mistakes_do_not_quote_what_is_in_the_file() {
        for text in [
            "{\n\"auths\": \"hunter2\"}",
            "{\n\"auths\": {\"a\": \"hunter2\"}}",
            "{\n\"auths\": {\"a\": {\"auth\": [\"hunter2\"]}}}",
            "{\n\"auths\": {\"a\": {\"auth\": \"hunter2\"",
            "{\n hunter2",
        ] {
            let error = Document::of_text(text).unwrap_err().to_string();
            assert!(error.starts_with("`config.json`, line 2: ") && !error.contains("hunter2"), "{error}");
        }
    }
}
