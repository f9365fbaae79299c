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
    let reasons = refusal.errors.into_iter().map(|Reason { code, message }| match (code.as_str(), message.as_str()) {
        (_, "") => code,
        ("", _) => message,
        _ => format!("{code}: {message}"),
    });
    let mut all: Vec<_> = reasons.filter(|reason| !reason.is_empty()).collect();
    if all.is_empty() {
        let alone = [refusal.details, refusal.error_description, refusal.message, refusal.error];
        all.extend(alone.into_iter().flatten().find(|text| !text.is_empty()));
    }
    shortened(&all.join("; "))
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
