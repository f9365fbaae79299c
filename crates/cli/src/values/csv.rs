//! One line of comma-separated fields, where a field may be quoted: `a,"b,c",d`.

use super::Parsed;

/// The fields of a line.
pub(crate) fn fields(line: &str) -> Parsed<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => match rest.split_once(',') {
                Some((field, tail)) => (field.to_owned(), Some(tail)),
                None => (rest.to_owned(), None),
            },
        };
        fields.push(field);
        match tail {
            Some(tail) => rest = tail,
            None => return Ok(fields),
        }
    }
}

/// A field after its first quote, and what follows its comma.
fn quoted_field(text: &str) -> Parsed<(String, Option<&str>)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, tail) = rest.split_once('"').ok_or("a quote is not closed")?;
        field.push_str(part);
        match tail.chars().next() {
            Some('"') => {
                field.push('"');
                rest = &tail[1..];
            }
            Some(',') => return Ok((field, Some(&tail[1..]))),
            None => return Ok((field, None)),
            Some(_) => return Err("text after a closing quote".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        assert_eq!(fields("a,b=c,").unwrap(), ["a", "b=c", ""]);
        assert_eq!(fields("\"a,b\",\"c\"\"d\"").unwrap(), ["a,b", "c\"d"]);
        assert!(fields("\"a").is_err());
        assert!(fields("\"a\"b").is_err());
    }
}
