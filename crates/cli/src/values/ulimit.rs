//! `--ulimit`: `nofile=1024:2048`, `core=-1`.

use super::Parsed;
use engine::request::Ulimit;

const NAMES: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// One limit.
pub(crate) fn ulimit(text: &str) -> Parsed<Ulimit> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {}", text));
    }
    Ok(Ulimit { name: name.into(), soft, hard })
}

fn number(text: &str) -> Parsed<u64> {
    if text == "-1" {
        return Ok(u64::MAX);
    }
    text.parse().map_err(|_| format!("invalid ulimit value: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let limit = |name: &str, soft, hard| Ok(Ulimit { name: name.into(), soft, hard });
        assert_eq!(ulimit("nofile=1024:2048"), limit("nofile", 1024, 2048));
        assert_eq!(ulimit("nproc=5"), limit("nproc", 5, 5));
        assert_eq!(ulimit("core=0:-1"), limit("core", 0, u64::MAX));
        for text in ["x", "bogus=1", "nofile=x", "nofile=2:1", "nofile=-1:1", "nofile=1:2:3", "nofile="] {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }
}
