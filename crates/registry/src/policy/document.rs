//! The text of `policy.json`, and which of its rules is the one for an image.
//!
//! ```json
//! { "default": [{ "type": "reject" }],
//!   "transports": { "docker": {
//!     "registry.example.com/team": [{ "type": "sigstoreSigned", "keyPath": "/etc/keys/team.pub" }],
//!     "*.example.com":             [{ "type": "insecureAcceptAnything" }],
//!     "":                          [{ "type": "reject" }] } } }
//! ```
//! The most special scope counts, alone: the name with its tag or digest, the repository, each directory above it, the host,
//! `*.` and a domain above the host, the transport's `""`, and `default`. What is not understood is a mistake, not a comment.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use failure::{Error, Result};
use reference::Reference;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::identity::Identity;
use crate::settings::Source;

/// More rules than a person writes.
const MOST: usize = 10_000;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    file: PathBuf,
    default: Vec<Requirement>,
    scopes: BTreeMap<String, Vec<Requirement>>,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    Accept,
    Reject,
    Signed(Signed),
    /// What this version cannot check.
    Unsupported(&'static str),
}

/// `sigstoreSigned`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) keys: Keys,
    pub(super) identity: Identity,
}

/// Where the keys are: one of them must have signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) files: Vec<PathBuf>,
    pub(super) texts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Vec<Value>,
    #[serde(default)]
    transports: Once<Once<Vec<Value>>>,
}

/// An object in which no name is written twice: of two rules for one scope, none would be the right one.
struct Once<T>(BTreeMap<String, T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Once<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnceVisitor(PhantomData))
    }
}

struct OnceVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OnceVisitor<T> {
    type Value = Once<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Once<T>, A::Error> {
        let mut read = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry::<String, T>()? {
            if read.contains_key(&name) {
                return Err(A::Error::custom(format_args!("`{name}` is there twice")));
            }
            read.insert(name, value);
        }
        Ok(Once(read))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SigstoreSigned {
    #[serde(rename = "type")]
    _type: String,
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    fulcio: Option<Value>,
    pki: Option<Value>,
    rekor_public_key_path: Option<Value>,
    rekor_public_key_paths: Option<Value>,
    rekor_public_key_data: Option<Value>,
    rekor_public_key_datas: Option<Value>,
    signed_identity: Option<Identity>,
}

impl Default for Policy {
    /// Everything may be pulled.
    fn default() -> Self {
        Self { file: PathBuf::new(), default: vec![Requirement::Accept], scopes: BTreeMap::new() }
    }
}

impl Policy {
    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// It is wrong; the error names the file, and the line or the rule.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let document: Document = Source { path, text }.json()?;
        let rule = |scope: &str, values: Vec<Value>| {
            let requirements = values.into_iter().map(requirement).collect::<Result<Vec<_>, _>>();
            let requirements = requirements.and_then(|all| match all.is_empty() {
                true => Err("it has no requirements; write `insecureAcceptAnything` or `reject`".to_owned()),
                false => Ok(all),
            });
            requirements.map_err(|reason| Error::invalid(format!("`{}`: rule `{scope}`: {reason}", path.display())))
        };
        let default = rule("default", document.default)?;
        let mut scopes = BTreeMap::new();
        // Other transports are other tools' ways to images.
        let Once(mut transports) = document.transports;
        for (scope, values) in transports.remove("docker").unwrap_or_default().0 {
            if scopes.len() == MOST {
                return Err(Error::invalid(format!("`{}`: more than {MOST} rules", path.display())));
            }
            let requirements = rule(&scope, values)?;
            scopes.insert(scope, requirements);
        }
        Ok(Self { file: path.to_owned(), default, scopes })
    }

    /// The file that it was read from.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The rule for an image, and the scope that it has in the file.
    pub(super) fn of(&self, reference: &Reference) -> (String, &[Requirement]) {
        for scope in scopes(reference) {
            if let Some(requirements) = self.scopes.get(&scope) {
                return (scope, requirements);
            }
        }
        ("default".to_owned(), &self.default)
    }

    /// Whether an image may be pulled without a question.
    pub fn accepts(&self, reference: &Reference) -> bool {
        self.of(reference).1.iter().all(|requirement| *requirement == Requirement::Accept)
    }
}

/// The scopes of an image, the most special first.
fn scopes(reference: &Reference) -> Vec<String> {
    let repository = format!("{}/{}", reference.host(), reference.path());
    let mut scopes = Vec::new();
    if let Some(digest) = reference.digest() {
        scopes.push(format!("{repository}@{digest}"));
    }
    if let Some(tag) = reference.tag() {
        scopes.push(format!("{repository}:{tag}"));
    }
    let mut rest = repository.as_str();
    while let Some((above, _)) = rest.rsplit_once('/') {
        scopes.push(rest.to_owned());
        rest = above;
    }
    scopes.push(rest.to_owned());
    let mut domain = match reference.host().rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => reference.host(),
    };
    while let Some((_, above)) = domain.split_once('.') {
        scopes.push(format!("*.{above}"));
        domain = above;
    }
    scopes.push(String::new());
    scopes
}

fn requirement(value: Value) -> Result<Requirement, String> {
    let fields = value.as_object().map_or(0, serde_json::Map::len);
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match (kind.as_str(), fields) {
        ("insecureAcceptAnything", 1) => Ok(Requirement::Accept),
        ("reject", 1) => Ok(Requirement::Reject),
        ("insecureAcceptAnything" | "reject", _) => Err(format!("`{kind}` takes nothing beside its type")),
        ("signedBy", _) => Ok(Requirement::Unsupported("signedBy")),
        ("sigstoreSigned", _) => signed(value),
        ("", _) => Err("a requirement has no `type`".to_owned()),
        (other, _) => Err(format!("the type `{}` is not known", other.chars().take(80).collect::<String>())),
    }
}

fn signed(value: Value) -> Result<Requirement, String> {
    let read: SigstoreSigned = serde_json::from_value(value).map_err(|error| format!("sigstoreSigned: {error}"))?;
    let rekor = [
        &read.rekor_public_key_path,
        &read.rekor_public_key_paths,
        &read.rekor_public_key_data,
        &read.rekor_public_key_datas,
    ];
    if read.fulcio.is_some() || read.pki.is_some() {
        return Ok(Requirement::Unsupported("sigstoreSigned with certificates"));
    }
    if rekor.iter().any(|key| key.is_some()) {
        return Ok(Requirement::Unsupported("sigstoreSigned with a Rekor log"));
    }
    let decode = |data: String| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).ok();
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("its key data is not base64 of PEM")
    };
    let keys = match (read.key_path, read.key_paths, read.key_data, read.key_datas) {
        (Some(file), None, None, None) => Keys { files: vec![file], ..Keys::default() },
        (None, Some(files), None, None) => Keys { files, ..Keys::default() },
        (None, None, Some(data), None) => Keys { texts: vec![decode(data)?], ..Keys::default() },
        (None, None, None, Some(all)) => {
            Keys { texts: all.into_iter().map(decode).collect::<Result<_, _>>()?, ..Keys::default() }
        }
        _ => return Err("sigstoreSigned needs one of keyPath, keyPaths, keyData, keyDatas".to_owned()),
    };
    if keys == Keys::default() {
        return Err("sigstoreSigned has no key".to_owned());
    }
    if let Some(path) = keys.files.iter().find(|path| !path.is_absolute()) {
        return Err(format!("`{}` must be an absolute path", path.display()));
    }
    let identity = read.signed_identity.unwrap_or(Identity::MatchRepoDigestOrExact);
    Ok(Requirement::Signed(Signed { keys, identity }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Policy> {
        Policy::parse(Path::new("/etc/containers/policy.json"), text)
    }

    #[test]
    fn the_most_special_scope_counts() {
        let accept = "[{\"type\":\"insecureAcceptAnything\"}]";
        let scopes = [
            "a.b.example.com:5000/team/app:1",
            "a.b.example.com:5000/team/app",
            "a.b.example.com:5000/team",
            "a.b.example.com:5000",
            "*.b.example.com",
            "*.com",
            "docker.io/library",
            "docker.io/library/app:1",
            "",
        ];
        let rules: Vec<String> = scopes.iter().map(|scope| format!("{scope:?}:{accept}")).collect();
        let text = format!(
            "{{\"default\":[{{\"type\":\"reject\"}}],\"transports\":{{\"docker\":{{{}}},\"atomic\":{{}}}}}}",
            rules.join(",")
        );
        let policy = parse(&text).unwrap();
        let digest = format!("sha256:{}", "0".repeat(64));
        for (name, scope) in [
            ("a.b.example.com:5000/team/app:1", scopes[0]),
            (&format!("a.b.example.com:5000/team/app:1@{digest}"), scopes[0]),
            ("a.b.example.com:5000/team/app:2", scopes[1]),
            ("a.b.example.com:5000/team/app/more", scopes[1]),
            ("a.b.example.com:5000/team/other", scopes[2]),
            ("a.b.example.com:5000/teams/app", scopes[3]),
            ("a.b.example.com/team/app", "*.b.example.com"),
            ("b.example.com/app", "*.com"),
            ("busybox", "docker.io/library"),
            ("app:1", "docker.io/library/app:1"),
            ("team/app", ""),
            ("localhost:5000/app", ""),
        ] {
            assert_eq!(policy.of(&Reference::parse(name).unwrap()).0, scope, "{name}");
        }
        let strict = parse("{\"default\":[{\"type\":\"reject\"}]}").unwrap();
        assert_eq!(
            strict.of(&Reference::parse("busybox").unwrap()),
            ("default".to_owned(), &[Requirement::Reject][..])
        );
        assert!(Policy::default().accepts(&Reference::parse("busybox").unwrap()));
    }

    #[test]
    fn the_policy_that_debian_installs() {
        let text = "{\n    \"default\": [\n        {\n            \"type\": \"insecureAcceptAnything\"\n        }\n    ],\n    \"transports\":\n        {\n            \"docker-daemon\":\n                {\n                    \"\": [{\"type\":\"insecureAcceptAnything\"}]\n                }\n        }\n}\n";
        assert!(parse(text).unwrap().accepts(&Reference::parse("busybox").unwrap()));
    }

    #[test]
    fn what_is_not_understood_is_a_mistake() {
        let rule = |text: &str| parse(&format!("{{\"default\":[{text}]}}"));
        for (text, reason) in [
            ("", "it has no requirements"),
            ("{}", "a requirement has no `type`"),
            ("1", "a requirement has no `type`"),
            ("{\"type\":\"rejects\"}", "the type `rejects` is not known"),
            ("{\"type\":\"reject\",\"x\":1}", "`reject` takes nothing beside its type"),
            ("{\"type\":\"sigstoreSigned\"}", "sigstoreSigned needs one of keyPath"),
            ("{\"type\":\"sigstoreSigned\",\"keyPath\":\"/a\",\"keyData\":\"\"}", "sigstoreSigned needs one of"),
            ("{\"type\":\"sigstoreSigned\",\"keyPaths\":[]}", "sigstoreSigned has no key"),
            ("{\"type\":\"sigstoreSigned\",\"keyPath\":\"a\"}", "`a` must be an absolute path"),
            ("{\"type\":\"sigstoreSigned\",\"keyData\":\"%\"}", "its key data is not base64 of PEM"),
            ("{\"type\":\"sigstoreSigned\",\"keyPth\":\"/a\"}", "sigstoreSigned: unknown field `keyPth`"),
            (
                "{\"type\":\"sigstoreSigned\",\"keyPath\":\"/a\",\"signedIdentity\":{\"type\":\"matchAll\"}}",
                "sigstoreSigned: unknown variant `matchAll`",
            ),
        ] {
            let error = rule(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`/etc/containers/policy.json`: rule `default`: {reason}")), "{error}");
        }
        for (text, reason) in [
            ("{\n\"defaults\": []}", ", line 2: unknown field `defaults`"),
            ("{}", ", line 1: missing field `default`"),
            ("{\"default\":[],\n\"transports\":{\"docker\":{\"a\":[],\n\"a\":[]}}}", ", line 3: `a` is there twice"),
            ("[", ", line 1: "),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`/etc/containers/policy.json`{reason}")), "{error}");
        }
        for (text, kind) in [
            ("{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"/a\"}", "signedBy"),
            ("{\"type\":\"sigstoreSigned\",\"fulcio\":{}}", "sigstoreSigned with certificates"),
            (
                "{\"type\":\"sigstoreSigned\",\"keyPath\":\"/a\",\"rekorPublicKeyPath\":\"/b\"}",
                "sigstoreSigned with a Rekor log",
            ),
        ] {
            assert_eq!(rule(text).unwrap().default, [Requirement::Unsupported(kind)]);
        }
    }
}
