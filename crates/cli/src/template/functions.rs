//! The functions of a template: Go's own that make sense on JSON, and those Docker adds (json, join, split, title ...).

use super::print;
use serde_json::Value;
use std::cmp::Ordering;

const NAMES: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "index", "slice", "len", "print", "printf", "println",
    "json", "join", "split", "title", "lower", "upper", "pad", "truncate", "html", "urlquery",
];

/// Whether there is such a function.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What `if` thinks of a value: empty ones are false.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Calls a function that exists.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    match (name, arguments) {
        ("and", [.., last]) => Ok(arguments.iter().find(|value| !truth(value)).unwrap_or(last).clone()),
        ("or", [.., last]) => Ok(arguments.iter().find(|value| truth(value)).unwrap_or(last).clone()),
        ("not", [value]) => Ok((!truth(value)).into()),
        ("eq", [first, others @ ..]) if !others.is_empty() => Ok(others.iter().any(|other| equal(first, other)).into()),
        ("ne", [a, b]) => Ok((!equal(a, b)).into()),
        ("lt" | "le" | "gt" | "ge", [a, b]) => compare(name, a, b).map(Value::from),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, bounds @ ..]) if bounds.len() <= 2 => slice(value, bounds),
        ("len", [value]) => length(value).map(Value::from),
        ("print", _) => Ok(words(arguments).into()),
        ("println", _) => Ok((arguments.iter().map(print::value).collect::<Vec<_>>().join(" ") + "\n").into()),
        ("printf", [Value::String(format), values @ ..]) => Ok(printf(format, values).into()),
        ("json", [value]) => Ok(json(value).into()),
        ("join", [value, separator]) => join(value, separator).map(Value::from),
        ("split", [Value::String(text), Value::String(separator)]) => {
            Ok(text.split(separator.as_str()).map(Value::from).collect())
        }
        ("title", [value]) => Ok(title(&string(value)).into()),
        ("lower", [value]) => Ok(string(value).to_lowercase().into()),
        ("upper", [value]) => Ok(string(value).to_uppercase().into()),
        ("pad", [value, before, after]) => pad(&string(value), before, after).map(Value::from),
        ("truncate", [value, length]) => {
            let length = length.as_u64().ok_or("truncate: length is not a number")?;
            Ok(string(value).chars().take(usize::try_from(length).unwrap_or(usize::MAX)).collect::<String>().into())
        }
        ("html", _) => Ok(words(arguments).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").into()),
        ("urlquery", _) => Ok(percent(&words(arguments)).into()),
        _ => Err(format!("wrong number or type of arguments for {name}: got {}", arguments.len())),
    }
}

/// JSON as Go's encoder writes it for Docker: compact, without HTML escapes.
fn json(value: &Value) -> String {
    value.to_string()
}

fn string(value: &Value) -> String {
    print::value(value)
}

/// Go's Print: a space between operands when neither is a string.
fn words(arguments: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in arguments.iter().enumerate() {
        if at > 0 && !value.is_string() && !arguments[at - 1].is_string() {
            text.push(' ');
        }
        text.push_str(&print::value(value));
    }
    text
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b) == Ordering::Equal,
        _ => a == b,
    }
}

fn compare(name: &str, a: &Value, b: &Value) -> Result<bool, String> {
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => return Err(format!("error calling {name}: incompatible types for comparison")),
        },
    };
    Ok(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        // Docker's maps hold strings: a missing key is an empty one.
        (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or_else(|| "".into())),
        (Value::Array(items), Value::Number(at)) => {
            let found = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
            found.cloned().ok_or_else(|| format!("error calling index: index out of range: {at}"))
        }
        (Value::Null, _) => Err("error calling index: index of untyped nil".into()),
        _ => Err(format!("error calling index: can't index {} with {}", print::kind(value), print::kind(key))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = length(value)?;
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(bound) => bound
            .as_u64()
            .and_then(|bound| usize::try_from(bound).ok())
            .filter(|bound| *bound <= length)
            .ok_or_else(|| format!("error calling slice: index out of range: {}", print::value(bound))),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    match value {
        _ if from > to => Err(format!("error calling slice: invalid slice index: {from} > {to}")),
        Value::Array(items) => Ok(items[from..to].to_vec().into()),
        Value::String(text) => {
            text.get(from..to).map(Value::from).ok_or_else(|| "error calling slice: inside a character".into())
        }
        _ => Err(format!("error calling slice: can't slice item of type {}", print::kind(value))),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Ok(0),
        _ => Err(format!("error calling len: len of type {}", print::kind(value))),
    }
}

fn join(value: &Value, separator: &Value) -> Result<String, String> {
    let separator = string(separator);
    match value {
        Value::Array(items) => Ok(items.iter().map(print::value).collect::<Vec<_>>().join(&separator)),
        Value::Null => Ok(String::new()),
        _ => Err(format!("error calling join: can't join {}", print::kind(value))),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let upper = if start { c.to_uppercase().next().unwrap_or(c) } else { c };
            start = !c.is_alphanumeric() && c != '\'' && c != '_';
            upper
        })
        .collect()
}

fn pad(text: &str, before: &Value, after: &Value) -> Result<String, String> {
    let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or("pad: not a number");
    if text.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("{}{text}{}", " ".repeat(count(before)?), " ".repeat(count(after)?)))
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Go's Printf for `%s %v %d %q %x %X %t %f %g %c %%`, with `-`, `0`, `+`, `#`, width and precision.
fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = rest.next_if(|c| "-0+# ".contains(*c)) {
            verb.left |= flag == '-';
            verb.zero |= flag == '0';
            verb.plus |= flag == '+';
        }
        verb.width = digits(&mut rest).unwrap_or(0);
        if rest.next_if_eq(&'.').is_some() {
            verb.precision = Some(digits(&mut rest).unwrap_or(0));
        }
        match rest.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(letter) => match values.next() {
                None => out.push_str(&format!("%!{letter}(MISSING)")),
                Some(value) => out.push_str(&verb.format(letter, value)),
            },
        }
    }
    let extra: Vec<_> = values.map(|value| format!("{}={}", print::kind(value), print::value(value))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn digits(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        number =
            Some(number.unwrap_or(0_usize).saturating_mul(10).saturating_add(digit as usize - '0' as usize).min(4096));
    }
    number
}

/// One `%...` of a format.
#[derive(Default)]
struct Verb {
    left: bool,
    zero: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

impl Verb {
    fn format(&self, letter: char, value: &Value) -> String {
        let text = match (letter, value) {
            ('v' | 's', _) => self.cut(print::value(value)),
            ('q', Value::String(text)) => format!("{text:?}"),
            ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
            ('t', Value::Bool(flag)) => flag.to_string(),
            ('x', Value::Number(number)) => number.as_i64().map_or_else(String::new, |n| format!("{n:x}")),
            ('X', Value::Number(number)) => number.as_i64().map_or_else(String::new, |n| format!("{n:X}")),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('f', Value::Number(number)) => {
                format!("{:.*}", self.precision.unwrap_or(6), number.as_f64().unwrap_or(0.0))
            }
            ('g', Value::Number(number)) => number.as_f64().unwrap_or(0.0).to_string(),
            ('c', Value::Number(number)) => {
                let code = number.as_u64().and_then(|n| u32::try_from(n).ok()).and_then(char::from_u32);
                code.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
            }
            _ => format!("%!{letter}({}={})", print::kind(value), print::value(value)),
        };
        let number = value.is_number();
        let text = if self.plus && number && !text.starts_with('-') { format!("+{text}") } else { text };
        let missing = self.width.saturating_sub(text.chars().count());
        match (self.left, self.zero && number) {
            (true, _) => text + &" ".repeat(missing),
            (false, true) => {
                let (sign, rest) = text.split_at(usize::from(text.starts_with(['-', '+'])));
                format!("{sign}{}{rest}", "0".repeat(missing))
            }
            (false, false) => " ".repeat(missing) + &text,
        }
    }

    fn cut(&self, text: String) -> String {
        self.precision.map_or_else(|| text.clone(), |precision| text.chars().take(precision).collect())
    }
}
