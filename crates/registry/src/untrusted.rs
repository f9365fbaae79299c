//! What reads the bytes of a registry, a token server or a name server, as functions of bytes alone: for fuzzing.
//!
//! Each panics if something does not hold that the client relies on; what can be refused is refused in one line.

use crate::address::Address;
use crate::challenge::Challenge;
use crate::dns::{self, Record, Reply};
use crate::{document, failure_body, lists, names, policy, tokens};

/// `WWW-Authenticate`, and `Location`: the addresses that we are sent to. Gives back the lines of what was refused.
pub fn headers(text: &str) -> Vec<String> {
    let mut refused = Vec::new();
    for challenge in Challenge::all(text) {
        assert!(!challenge.scheme.is_empty());
        let _ = (challenge.parameter("service"), challenge.parameter("scope"));
        match challenge.parameter("realm").map(Address::parse) {
            Some(Err(error)) => refused.push(error.to_string()),
            Some(Ok(realm)) => assert_plain(&realm.with_parameter("service", text)),
            None => {}
        }
    }
    let _ = lists::next(text).map(str::len);
    match Address::parse("https://registry.example:5000/v2/a/blobs/b?c=d").and_then(|base| base.join(text)) {
        Ok(there) => assert_plain(&there),
        Err(error) => refused.push(error.to_string()),
    }
    refused
}

/// What goes into a request's first lines has nothing that could end them, and names no user.
fn assert_plain(address: &Address) {
    let text = format!("{}://{}{}", address.scheme(), address.host, address.path);
    assert!(address.path.starts_with('/') && !address.host.contains('@'), "{text:?}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
}

/// A registry's answers in JSON: tokens, lists of tags, refusals, outlines of manifests.
pub fn answers(bytes: &[u8]) {
    let _ = serde_json::from_slice::<tokens::Issued>(bytes).is_ok();
    let _ = serde_json::from_slice::<lists::Tags>(bytes).map(|page| page.tags.unwrap_or_default().len());
    for said in ["", "application/vnd.oci.image.manifest.v1+json"] {
        if let Err(line) = document::media_type(bytes, said) {
            assert!(!line.is_empty());
        }
    }
    let said = failure_body::words(bytes);
    assert!(said.chars().count() <= failure_body::SHOWN + 1, "{} characters", said.chars().count());
}

/// What a name server answers to one question, and the file that says which servers there are. Whether it was an answer.
pub fn names(bytes: &[u8]) -> bool {
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = names::Names::configured(text);
        let _ = dns::question(7, text, Record::A).map(|question| assert!(question.len() <= 300));
    }
    [Record::A, Record::Aaaa].into_iter().any(|record| {
        let Some(question) = dns::question(0x4142, "registry.example", record) else { return false };
        // Alone, and behind an echo of the question, where a guess would rarely come.
        let echoed = [&question[..2], bytes.get(..10).unwrap_or_default(), &question[12..], bytes].concat();
        [bytes, &echoed].into_iter().any(|message| match dns::reply(message, &question, record) {
            Some(Reply::Addresses(addresses)) => {
                assert!(addresses.len() <= message.len() / 4);
                assert!(addresses.iter().all(|address| address.is_ipv4() == (record == Record::A)));
                true
            }
            other => other.is_some(),
        })
    })
}

/// A key of a policy, the manifest that holds signatures, and what one of them covers.
pub fn signatures(key: &[u8], manifest: &[u8], payload: &[u8]) {
    policy::read_strangers(key, manifest, payload);
}
