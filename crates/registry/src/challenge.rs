//! `WWW-Authenticate`: what a host wants to know before it answers.
//!
//! ```text
//! Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull"
//! Basic realm="Registry", Negotiate
//! ```
//!
//! A header may hold several challenges, and there may be several headers. Commas separate challenges and parameters
//! alike: a word with `=` behind it is a parameter, any other word begins a challenge (RFC 9110, 11.6.1).

/// One way to prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Lower case: `bearer`, `basic`.
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter that is not empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name)?;
        (!found.1.is_empty()).then_some(found.1.as_str())
    }

    /// All challenges of a header. What cannot be read is left out.
    pub(crate) fn all(header: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = header;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let (word, after) = word(rest);
            if word.is_empty() {
                // Nothing readable: one character further on there may be.
                let Some(next) = rest.chars().next() else { return challenges };
                rest = &rest[next.len_utf8()..];
                continue;
            }
            let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
            match (value, challenges.last_mut()) {
                (Some(value), Some(challenge)) => {
                    let (value, after) = self::value(value.trim_start_matches([' ', '\t']));
                    challenge.parameters.push((word.to_ascii_lowercase(), value));
                    rest = after;
                }
                (Some(value), None) => rest = value,
                (None, _) => {
                    challenges.push(Self { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                    rest = after;
                }
            }
        }
    }
}

/// A token (RFC 9110, 5.6.2) and what follows it.
fn word(text: &str) -> (&str, &str) {
    let part = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&b);
    text.split_at(text.bytes().position(|b| !part(b)).unwrap_or(text.len()))
}

/// A parameter's value, quoted or not, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> String {
        let shown = Challenge::all(header).into_iter().map(|challenge| {
            let parameters = challenge.parameters.iter().map(|(name, value)| format!(" {name}=<{value}>"));
            challenge.scheme + &parameters.collect::<String>()
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn challenges_are_told_from_their_parameters() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "bearer realm=<https://auth.docker.io/token> service=<registry.docker.io> scope=<repository:a/b:pull,push>",
            ),
            (r#"Basic realm="Registry Realm""#, "basic realm=<Registry Realm>"),
            (r#"Negotiate, Basic realm="x", Bearer realm=y"#, "negotiate; basic realm=<x>; bearer realm=<y>"),
            (r#"BEARER Realm = "a\"b\\" , service=c"#, r#"bearer realm=<a"b\> service=<c>"#),
            (r#"Basic realm="unfinished"#, "basic realm=<unfinished>"),
            (r#"Basic realm="a, b=c""#, "basic realm=<a, b=c>"),
            ("Negotiate YII==, Basic", "negotiate yii=<=>; basic"),
            ("", ""),
            (",,=,\"\u{e9}\" Basic", "basic"),
        ] {
            assert_eq!(read(header), expected, "{header}");
        }
    }
}
