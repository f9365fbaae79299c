//! `--mount`: `type=bind,source=/a,target=/b,readonly`, for bind, volume and tmpfs.
//!
//! ```text
//!   type                bind | volume (the default) | tmpfs
//!   source, src         a path of the host, or a volume's name (none: a volume of this container only)
//!   target, dst, destination
//!   readonly, ro        [=true|false]
//!   bind-propagation    private rprivate shared rshared slave rslave
//!   bind-recursive      enabled | disabled             (bind-nonrecursive: the same, older)
//!   volume-nocopy       [=true|false]
//!   tmpfs-size, tmpfs-mode
//! ```

use super::volume::{PROPAGATIONS, absolute, target_path, volume_name};
use super::{Parsed, bytes, csv, switch, tmpfs};
use engine::request::{Mount, MountSource};

/// What was read so far.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    non_recursive: bool,
    no_copy: bool,
    size: Option<u64>,
    mode: Option<u32>,
    /// The families (`bind`, `volume`, `tmpfs`) whose own keys were used.
    families: Vec<&'static str>,
}

/// One `--mount`.
pub(crate) fn mount(text: &str) -> Parsed<Mount> {
    let mut fields = Fields::default();
    for field in csv::fields(text)? {
        fields.take(&field)?;
    }
    fields.mount()
}

impl Fields {
    fn take(&mut self, field: &str) -> Parsed<()> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let wrong = || format!("invalid value for {key}: {}", value.unwrap_or_default());
        match (key.as_str(), value) {
            ("readonly" | "ro", _) => self.read_only = flag(&key, value)?,
            ("bind-nonrecursive", _) => {
                self.families.push("bind");
                self.non_recursive = flag(&key, value)?;
            }
            ("volume-nocopy", _) => {
                self.families.push("volume");
                self.no_copy = flag(&key, value)?;
            }
            (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            ("type", Some(value)) => self.kind = Some(value.to_ascii_lowercase()),
            ("source" | "src", Some(value)) => self.source = Some(value.into()),
            ("target" | "dst" | "destination", Some(value)) => self.target = Some(value.into()),
            ("consistency", Some("consistent" | "cached" | "delegated" | "default")) => {}
            ("bind-propagation", Some(value)) if PROPAGATIONS.contains(&value) => {
                self.families.push("bind");
                self.propagation = Some(value.into());
            }
            ("bind-recursive", Some("enabled")) => self.families.push("bind"),
            ("bind-recursive", Some("disabled")) => {
                self.families.push("bind");
                self.non_recursive = true;
            }
            ("tmpfs-size", Some(value)) => {
                self.families.push("tmpfs");
                self.size = Some(bytes::size(value).map_err(|_| wrong())?);
            }
            ("tmpfs-mode", Some(value)) => {
                self.families.push("tmpfs");
                self.mode = Some(tmpfs::octal(value).map_err(|_| wrong())?);
            }
            ("volume-driver", Some("local")) => self.families.push("volume"),
            ("volume-driver" | "volume-opt" | "volume-label" | "volume-subpath" | "image-subpath", Some(_)) => {
                return Err(format!("{key} is not supported yet: volumes are plain directories"));
            }
            ("bind-propagation" | "bind-recursive" | "consistency", Some(_)) => return Err(wrong()),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn mount(self) -> Parsed<Mount> {
        let kind = self.kind.as_deref().unwrap_or("volume");
        let target = target_path(&self.target.ok_or("target is required")?)?;
        if let Some(family) = self.families.iter().find(|family| **family != kind) {
            return Err(format!("cannot mix '{family}-*' options with mount type '{kind}'"));
        }
        let source = match (kind, self.source) {
            ("bind", Some(path)) => MountSource::Bind { path: absolute(&path)?, create: false },
            ("bind", None) => return Err("a bind mount needs a source".into()),
            ("volume", Some(name)) => MountSource::Volume(volume_name(&name)?),
            ("volume", None) => MountSource::Anonymous,
            ("tmpfs", None) => MountSource::Tmpfs { size: self.size, mode: self.mode, options: Vec::new() },
            ("tmpfs", Some(_)) => return Err("a tmpfs has no source".into()),
            ("image" | "cluster" | "npipe", _) => return Err(format!("mount type '{kind}' is not supported yet")),
            _ => return Err(format!("invalid mount type '{kind}': it is bind, volume or tmpfs")),
        };
        Ok(Mount {
            source,
            target,
            read_only: self.read_only,
            propagation: self.propagation,
            non_recursive: self.non_recursive,
            no_copy: self.no_copy,
        })
    }
}

fn flag(key: &str, value: Option<&str>) -> Parsed<bool> {
    value
        .map_or(Ok(true), switch::boolean)
        .map_err(|_| format!("invalid value for {key}: {}", value.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(source: MountSource) -> Mount {
        let target = "/b".into();
        Mount { source, target, read_only: false, propagation: None, non_recursive: false, no_copy: false }
    }

    #[test]
    fn binds() {
        let bind = || empty(MountSource::Bind { path: "/a".into(), create: false });
        assert_eq!(mount("type=bind,source=/a,target=/b"), Ok(bind()));
        assert_eq!(mount("type=bind,src=/a,dst=/b,readonly"), Ok(Mount { read_only: true, ..bind() }));
        assert_eq!(mount("type=bind,src=/a,dst=/b,ro=false"), Ok(bind()));
        let slave = Mount { propagation: Some("rslave".into()), non_recursive: true, ..bind() };
        assert_eq!(mount("type=bind,src=/a,destination=/b,bind-propagation=rslave,bind-recursive=disabled"), Ok(slave));
    }

    #[test]
    fn volumes_and_memory() {
        assert_eq!(mount("source=data,target=/b"), Ok(empty(MountSource::Volume("data".into()))));
        let own = Mount { no_copy: true, ..empty(MountSource::Anonymous) };
        assert_eq!(mount("type=volume,target=/b,volume-nocopy"), Ok(own));
        let memory = MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o770), options: Vec::new() };
        assert_eq!(mount("type=tmpfs,target=/b,tmpfs-size=1m,tmpfs-mode=0770"), Ok(empty(memory)));
        let comma = empty(MountSource::Bind { path: "/a,b".into(), create: false });
        assert_eq!(mount("type=bind,\"source=/a,b\",target=/b"), Ok(comma));
    }

    #[test]
    fn mistakes() {
        assert_eq!(mount("foo=x"), Err("unexpected key 'foo' in 'foo=x'".into()));
        assert_eq!(mount("bogus"), Err("invalid field 'bogus' must be a key=value pair".into()));
        for text in [
            "type=bind,target=/b",
            "type=bind,source=/a",
            "type=tmpfs,source=/a,target=/b",
            "type=bind,source=/a,target=/b,tmpfs-size=1",
            "type=bind,source=/a,target=b",
            "type=bind,source=/a,target=/b,bind-propagation=x",
            "type=x,target=/b",
            "type=bind,source=/a,target=/b,ro=maybe",
            "type=volume,source=a b,target=/b",
        ] {
            assert!(mount(text).is_err(), "{text}");
        }
    }
}
