//! Values as Go prints them: `[a b]`, `map[k:v]`, `<no value>`; and tokens for messages.

use super::lexer::Token;
use serde_json::Value;

/// `%v` of a value.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(inner).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, item)| format!("{key}:{}", inner(item))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
    }
}

fn inner(item: &Value) -> String {
    if item.is_null() { "<nil>".into() } else { value(item) }
}

/// The word for a value's type.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

/// A token in a message.
pub(super) fn token(token: &Token) -> String {
    match token {
        Token::Text(text) | Token::Word(text) => format!("<{text}>"),
        Token::Field(name, _) => format!("<.{name}>"),
        Token::Dot => "<.>".into(),
        Token::Variable(name) => format!("<${name}>"),
        Token::Literal(literal) => format!("\"{}\"", value(literal)),
        Token::Open => "\"{{\"".into(),
        Token::Close => "\"}}\"".into(),
        Token::Pipe => "\"|\"".into(),
        Token::Comma => "\",\"".into(),
        Token::LeftParenthesis => "\"(\"".into(),
        Token::RightParenthesis => "\")\"".into(),
        Token::Declare => "\":=\"".into(),
        Token::Assign => "\"=\"".into(),
    }
}
