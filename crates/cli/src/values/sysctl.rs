//! `--sysctl`: only what belongs to the container's own namespaces.

use super::Parsed;

const OWN: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
const PREFIXES: &[&str] = &["net.", "fs.mqueue."];

/// `NAME=VALUE`
pub(crate) fn sysctl(text: &str) -> Parsed<(String, String)> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let known = OWN.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if !known || !text.contains('=') || name.contains("..") || name.contains('/') {
        return Err(format!("sysctl '{text}' is not allowed"));
    }
    Ok((name.into(), value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaced_ones() {
        assert_eq!(sysctl("net.core.somaxconn=1024"), Ok(("net.core.somaxconn".into(), "1024".into())));
        assert!(sysctl("kernel.shmmax=1").is_ok());
        for text in ["foo", "kernel.panic=1", "net.x", "vm.swappiness=1", "net./../x=1"] {
            assert!(sysctl(text).is_err(), "{text}");
        }
    }
}
