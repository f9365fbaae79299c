//! `--device`: `/dev/fuse`, `/dev/sda:/dev/xvda:r`, `/dev/zero:rw`.

use super::Parsed;
use super::volume::target_path;
use engine::request::Device;

/// One device.
pub(crate) fn device(text: &str) -> Parsed<Device> {
    if !text.starts_with(['/', '.']) && text.contains('=') {
        return Err(format!("`{text}` is a CDI device: these are not supported yet"));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, letters] if is_permissions(letters) => (*host, *host, *letters),
        [host, container] => (*host, *container, "rwm"),
        [host, container, letters] => (*host, *container, *letters),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if !is_permissions(permissions) {
        return Err(format!("bad mode specified: {permissions}"));
    }
    if !host.starts_with('/') {
        return Err(format!("{host} is not an absolute path"));
    }
    let container = if container.is_empty() { host } else { container };
    let container = target_path(container).map_err(|_| format!("{container} is not an absolute path"))?;
    Ok(Device { host: host.into(), container, permissions: permissions.into() })
}

/// One or more of the letters, each once.
fn is_permissions(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| "rwm".contains(c))
        && "rwm".chars().all(|letter| text.matches(letter).count() <= 1)
}

/// `--device-cgroup-rule`: `c 1:3 mr`, `b *:* rwm`, `a *:* rwm`.
pub(crate) fn rule(text: &str) -> Parsed<String> {
    let parts: Vec<&str> = text.split(' ').collect();
    let number = |text: &str| text == "*" || text.parse::<u32>().is_ok();
    let good = match parts.as_slice() {
        ["a" | "b" | "c", numbers, letters] => {
            numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && is_permissions(letters)
        }
        _ => false,
    };
    if good { Ok(text.into()) } else { Err(format!("invalid device cgroup format '{text}'")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(host: &str, container: &str, permissions: &str) -> Parsed<Device> {
        Ok(Device { host: host.into(), container: container.into(), permissions: permissions.into() })
    }

    #[test]
    fn devices() {
        assert_eq!(device("/dev/fuse"), expect("/dev/fuse", "/dev/fuse", "rwm"));
        assert_eq!(device("/dev/zero:rw"), expect("/dev/zero", "/dev/zero", "rw"));
        assert_eq!(device("/dev/a:/dev/b"), expect("/dev/a", "/dev/b", "rwm"));
        assert_eq!(device("/dev/a:/dev/b:r"), expect("/dev/a", "/dev/b", "r"));
        for text in ["a:b:c:d", "dev/a", "/dev/a:/dev/b:x", "/dev/a:b", "vendor.com/gpu=all", "/dev/a:/dev/b:rr", "::"]
        {
            assert!(device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rules() {
        assert!(rule("c 1:3 mr").is_ok() && rule("a *:* rwm").is_ok());
        for text in ["", "x 1:3 r", "c 1 r", "c 1:x r", "c 1:3 q"] {
            assert!(rule(text).is_err(), "{text}");
        }
    }
}
