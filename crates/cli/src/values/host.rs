//! `--add-host`: `name:address` or `name=address`; the address may be `host-gateway` or stand in brackets.

use super::Parsed;
use std::net::IpAddr;

/// One extra host as `NAME:ADDRESS`.
pub(crate) fn extra(text: &str) -> Parsed<String> {
    let wrong = || format!("bad format for add-host: \"{text}\"");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(wrong());
    }
    let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if plain != "host-gateway" && plain.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: \"{address}\""));
    }
    Ok(format!("{name}:{plain}"))
}

/// `--dns`: an address.
pub(crate) fn server(text: &str) -> Parsed<String> {
    text.parse::<IpAddr>().map(|address| address.to_string()).map_err(|_| format!("{text} is not an ip address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(extra("a:10.0.0.1"), Ok("a:10.0.0.1".into()));
        assert_eq!(extra("a=::1"), Ok("a:::1".into()));
        assert_eq!(extra("a:[::1]"), Ok("a:::1".into()));
        assert_eq!(extra("a:host-gateway"), Ok("a:host-gateway".into()));
        for text in ["foo", ":1.2.3.4", "a:b", "a:1.2.3.400"] {
            assert!(extra(text).is_err(), "{text}");
        }
        assert!(server("8.8.8.8").is_ok() && server("x").is_err());
    }
}
