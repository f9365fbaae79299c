//! Descriptors that the program gets beside 0, 1 and 2: those of `--preserve-fds` and those of socket activation.
//!
//! ```text
//!   3 ... 3+N      LISTEN_FDS=N (meant for this process: LISTEN_PID is its own, or absent): N, and the program is told
//!   ... 3+N+M      --preserve-fds M
//! ```
//! All must be open, or files of this program would be handed over in their place.

use failure::{Error, Result};

/// What is handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preserved {
    /// How many descriptors, from 3 on.
    pub(crate) count: u32,
    /// What the program's environment says of it.
    pub(crate) environment: Vec<String>,
}

impl Preserved {
    /// What the flag and the environment say.
    pub(crate) fn read(flag: Option<u32>) -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let listen =
            Listen { count: variable("LISTEN_FDS"), pid: variable("LISTEN_PID"), names: variable("LISTEN_FDNAMES") };
        let preserved = Self::of(flag.unwrap_or_default(), &listen, std::process::id())?;
        preserved.check()?;
        Ok(preserved)
    }

    fn of(extra: u32, listen: &Listen, own: u32) -> Result<Self> {
        let mine = listen.pid.as_ref().is_none_or(|pid| pid.parse() == Ok(own));
        let Some(text) = listen.count.as_ref().filter(|_| mine) else {
            return Ok(Self { count: extra, environment: Vec::new() });
        };
        let count: u32 = text.parse().map_err(|_| Error::invalid(format!("LISTEN_FDS is `{text}`, no number")))?;
        let mut environment = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()];
        environment.extend(listen.names.as_ref().map(|names| format!("LISTEN_FDNAMES={names}")));
        let count = count.checked_add(extra).ok_or_else(|| Error::invalid("too many descriptors to preserve"))?;
        Ok(Self { count, environment: if count == extra { Vec::new() } else { environment } })
    }

    fn check(&self) -> Result<()> {
        let open = |number: &u32| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
        match (3..self.count.saturating_add(3)).find(|number| !open(number)) {
            None => Ok(()),
            Some(number) => Err(Error::invalid(format!("unable to preserve descriptor {number}: it is not open"))),
        }
    }
}

#[derive(Default)]
struct Listen {
    count: Option<String>,
    pid: Option<String>,
    names: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preserved(extra: u32, count: &str, pid: &str) -> Preserved {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Preserved::of(extra, &Listen { count: text(count), pid: text(pid), names: None }, 7).unwrap()
    }

    #[test]
    fn socket_activation_counts_if_it_is_meant_for_us() {
        assert_eq!(preserved(2, "", ""), Preserved { count: 2, environment: Vec::new() });
        assert_eq!(preserved(2, "3", "8"), Preserved { count: 2, environment: Vec::new() });
        assert_eq!(preserved(0, "0", "7").environment, Vec::<String>::new());
        let ours = preserved(2, "3", "7");
        assert_eq!(ours.count, 5);
        assert_eq!(ours.environment, ["LISTEN_FDS=3", "LISTEN_PID=1"]);
        assert_eq!(preserved(0, "1", "").count, 1);
    }

    #[test]
    fn what_is_not_open_is_not_preserved() {
        assert!(Preserved { count: 60_000, environment: Vec::new() }.check().is_err());
    }
}
