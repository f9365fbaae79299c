//! What a registry says when it refuses: `{"errors":[{"code":"NAME_UNKNOWN","message":"...","detail":...}]}`, or
//! whatever stands before it says instead, such as a page of HTML.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use failure::{Error, Kind};
use serde::Deserialize;

use crate::http::Answer;
use crate::http_date;
use crate::trouble::{Next, Trouble};

/// As much of a refusal as is read.
const LONGEST: u64 = 16 * 1024;
/// As much of a sentence as is shown.
pub(crate) const SHOWN: usize = 200;

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<Reason>,
    /// Token servers and some proxies answer with one of these instead.
    details: Option<String>,
    message: Option<String>,
    error_description: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

/// What an answer that is none means for whoever asks next. `what` is what was asked for.
pub(crate) fn trouble(answer: &mut Answer, what: &str) -> Trouble {
    let next = match answer.status {
        408 | 425 | 429 | 500 | 502..=504 => Next::Again(answer.header("retry-after").and_then(pause)),
        _ => Next::Elsewhere,
    };
    Trouble::new(failure(answer, what), next)
}

/// How long a host asks to wait: seconds, or the time when it will be back.
fn pause(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = http_date::seconds(value.trim())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(then.saturating_sub(now)))
}

/// The failure that an answer is.
fn failure(answer: &mut Answer, what: &str) -> Error {
    let status = answer.status;
    let reason = reason(answer);
    let kind = match status {
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        408 | 429 | 500.. => Kind::Unavailable,
        _ => Kind::Invalid,
    };
    let host = format!("{}://{}", answer.from.scheme(), answer.from.host);
    let way_out = match status {
        401 => "; log in with `skep login`",
        429 => "; it limits how much is asked for, try again later",
        _ => "",
    };
    Error::new(kind, format!("{what}: {host} answers {status} {reason}{way_out}"))
}

fn reason(answer: &mut Answer) -> String {
    let html = answer.media_type() == "text/html";
    let status = ureq::http::StatusCode::from_u16(answer.status).ok();
    let name = || status.and_then(|status| status.canonical_reason()).unwrap_or_default().to_lowercase();
    let bytes = answer.bytes(LONGEST).unwrap_or_default();
    if !html && let Some(said) = store_words(&bytes) {
        return said;
    }
    if html || bytes.first() == Some(&b'<') {
        return format!("{} (with a web page; is this a registry?)", name());
    }
    let said = words(&bytes);
    if said.is_empty() { name() } else { said }
}

/// What a body says, in a few words.
pub(crate) fn words(bytes: &[u8]) -> String {
    serde_json::from_slice::<Refusal>(bytes).map_or_else(|_| plain(bytes), said)
}

fn said(refusal: Refusal) -> String {
    let reasons = refusal.errors.into_iter().map(|Reason { code, message, detail }| {
        let words = match (code.as_str(), message.as_str()) {
            (_, "") => code,
            ("", _) => message,
            _ => format!("{code}: {message}"),
        };
        // Which of a manifest's blobs it lacks.
        match detail.get("digest").and_then(serde_json::Value::as_str) {
            Some(digest) => format!("{words} ({digest})"),
            None => words,
        }
    });
    let mut all: Vec<_> = reasons.filter(|reason| !reason.is_empty()).collect();
    if all.is_empty() {
        let alone = [refusal.details, refusal.error_description, refusal.message, refusal.error];
        all.extend(alone.into_iter().flatten().find(|text| !text.is_empty()));
    }
    shortened(&all.join("; "))
}

/// What a store of objects says to which a registry redirects: `<Error><Code>AccessDenied</Code><Message>...`.
fn store_words(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?;
    let inside = |tag: &str| Some(text.split_once(&format!("<{tag}>"))?.1.split_once('<')?.0.trim());
    let code = inside("Code").filter(|_| text.contains("<Error>"))?;
    Some(shortened(&inside("Message").map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"))))
}

fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    shortened(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_registrys_words() {
        let blob =
            r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"sha256:a"}}]}"#;
        let long = "a".repeat(300);
        for (body, expected) in [
            (blob, "MANIFEST_BLOB_UNKNOWN: blob unknown (sha256:a)"),
            (r#"{"errors":[{"code":"A"},{"message":"b","detail":null}]}"#, "A; b"),
            (r#"{"errors":[{"code":"A","message":"b","detail":[{"Type":"x"}]}]}"#, "A: b"),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (r#"{"error":"invalid_grant","error_description":"too old"}"#, "too old"),
            ("\n no such thing \nmore", "no such thing"),
            ("", ""),
            (&long, &format!("{}…", "a".repeat(200))),
        ] {
            assert_eq!(words(body.as_bytes()), expected, "{body}");
        }
        let store =
            "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
        assert_eq!(store_words(store.as_bytes()).as_deref(), Some("AccessDenied: Request has expired"));
        assert_eq!(store_words(b"<html><Code>x</Code>"), None);
    }
}
