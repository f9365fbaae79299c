//! A template's text cut into tokens: plain text, and what stands between `{{` and `}}`.
//!
//! `{{- ` eats the white space before, ` -}}` that after; `{{/* .. */}}` is nothing at all.

use serde_json::Value;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// A word: a keyword or a function.
    Word(String),
    /// `.Name`; the bool says that white space (or nothing) came before, so that it begins an operand.
    Field(String, bool),
    /// A lone `.`
    Dot,
    /// `$` or `$name`
    Variable(String),
    /// A string, character, number or boolean.
    Literal(Value),
    /// `|`
    Pipe,
    /// `,`
    Comma,
    /// `(`
    LeftParenthesis,
    /// `)`; may be followed by a [`Token::Field`] that belongs to it.
    RightParenthesis,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// Cuts the whole text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        let (trim_before, inside) = match after.strip_prefix('-') {
            Some(inside) if inside.starts_with(char::is_whitespace) => (true, inside),
            _ => (false, after),
        };
        push_text(&mut tokens, before, trim_next, trim_before);
        let (end, trim_after) = if let Some(comment) = inside.trim_start().strip_prefix("/*") {
            let offset = inside.len() - comment.len();
            comment_end(comment).map(|(end, trim)| (end + offset, trim))?
        } else {
            tokens.push(Token::Open);
            let found = action(inside, &mut tokens)?;
            tokens.push(Token::Close);
            found
        };
        rest = &inside[end..];
        trim_next = trim_after;
    }
    push_text(&mut tokens, rest, trim_next, false);
    Ok(tokens)
}

fn push_text(tokens: &mut Vec<Token>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        tokens.push(Token::Text(text.to_owned()));
    }
}

/// The offset behind the action that follows a comment, and whether white space after it goes.
fn comment_end(comment: &str) -> Result<(usize, bool), String> {
    let end = comment.find("*/").ok_or("unclosed comment")? + 2;
    let tail = &comment[end..];
    if tail.starts_with("}}") {
        return Ok((end + 2, false));
    }
    let trimmed = tail.trim_start();
    if trimmed.len() < tail.len() && trimmed.starts_with("-}}") {
        return Ok((end + (tail.len() - trimmed.len()) + 3, true));
    }
    Err("comment ends before closing delimiter".into())
}

/// Cuts one action up to its `}}`; returns the offset behind it and whether white space after it goes.
fn action(inside: &str, tokens: &mut Vec<Token>) -> Result<(usize, bool), String> {
    let mut at = 0;
    let mut spaced = true;
    loop {
        let rest = &inside[at..];
        let Some(first) = rest.chars().next() else { return Err("unclosed action".into()) };
        if rest.starts_with("}}") {
            return Ok((at + 2, false));
        }
        if first.is_whitespace() {
            let trimmed = rest.trim_start();
            at = inside.len() - trimmed.len();
            if trimmed.starts_with("-}}") {
                return Ok((at + 3, true));
            }
            spaced = true;
            continue;
        }
        let (token, length) = token(rest, first, spaced)?;
        tokens.push(token);
        at += length;
        spaced = false;
    }
}

/// One token inside an action, with its length.
fn token(rest: &str, first: char, spaced: bool) -> Result<(Token, usize), String> {
    let simple = match first {
        '|' => Some(Token::Pipe),
        ',' => Some(Token::Comma),
        '(' => Some(Token::LeftParenthesis),
        ')' => Some(Token::RightParenthesis),
        '=' => Some(Token::Assign),
        _ => None,
    };
    if let Some(token) = simple {
        return Ok((token, 1));
    }
    match first {
        ':' if rest.starts_with(":=") => Ok((Token::Declare, 2)),
        '"' => quoted(rest),
        '`' => {
            let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
            Ok((Token::Literal(rest[1..=end].into()), end + 2))
        }
        '\'' => character(rest),
        '$' => {
            let name = word(&rest[1..]);
            Ok((Token::Variable(name.to_owned()), 1 + name.len()))
        }
        '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            let name = word(&rest[1..]);
            let token = if name.is_empty() { Token::Dot } else { Token::Field(name.to_owned(), spaced) };
            Ok((token, 1 + name.len()))
        }
        '+' | '-' | '.' | '0'..='9' => number(rest),
        _ if first.is_alphabetic() || first == '_' => {
            let name = word(rest);
            let token = match name {
                "true" => Token::Literal(true.into()),
                "false" => Token::Literal(false.into()),
                _ => Token::Word(name.to_owned()),
            };
            Ok((token, name.len()))
        }
        _ => Err(format!("unexpected `{first}` in action")),
    }
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_')));
    let text = &rest[..end.unwrap_or(rest.len())];
    let plain = text.replace('_', "");
    let value = match plain.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok().map(Value::from),
        None => plain.parse::<i64>().ok().map(Value::from).or_else(|| plain.parse::<f64>().ok().map(Value::from)),
    };
    value.map(|value| (Token::Literal(value), text.len())).ok_or_else(|| format!("bad number syntax: `{text}`"))
}

/// `'x'`: as in Go, the number of the character.
fn character(rest: &str) -> Result<(Token, usize), String> {
    let end = rest[1..].find('\'').ok_or("unterminated character constant")?;
    let mut characters = rest[1..=end].chars();
    match (characters.next(), characters.next()) {
        (Some(c), None) => Ok((Token::Literal(u32::from(c).into()), end + 2)),
        _ => Err("malformed character constant".into()),
    }
}

/// `"text"` with Go's escapes.
fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((Token::Literal(text.into()), at + 1)),
            '\\' => {
                let Some((_, escape)) = characters.next() else { break };
                text.push(match escape {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '0' => '\0',
                    'x' | 'u' => {
                        let digits: String =
                            characters.by_ref().take(if escape == 'x' { 2 } else { 4 }).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        code.ok_or_else(|| format!("invalid escape `\\{escape}{digits}`"))?
                    }
                    '"' | '\\' | '\'' => escape,
                    other => return Err(format!("invalid escape `\\{other}`")),
                });
            }
            c => text.push(c),
        }
    }
    Err("unterminated quoted string".into())
}
