//! `--network`: so far `none`, `host`, `container:NAME`, and the default: a namespace of its own with loopback.

use super::Parsed;
use engine::request::NetworkMode;

/// One network.
pub(crate) fn network(text: &str) -> Parsed<NetworkMode> {
    match text {
        "" | "default" | "private" => Ok(NetworkMode::Private),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        _ => match text.strip_prefix("container:") {
            Some("") => Err("invalid container format container:<name|id>".into()),
            Some(name) => Ok(NetworkMode::Container(name.into())),
            None => Err(format!("network `{text}` is not supported yet: use none, host or container:NAME")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(network("none"), Ok(NetworkMode::None));
        assert_eq!(network("container:a"), Ok(NetworkMode::Container("a".into())));
        assert!(network("bridge").is_err() && network("container:").is_err());
    }
}
