//! Where failures and warnings go: stderr, and the file of `--log` in the forms that callers parse.
//!
//! ```text
//! text   time="2026-11-21T13:51:54Z" level=error msg="container does not exist"
//! json   {"level":"error","msg":"container does not exist","time":"2026-11-21T13:51:54Z"}
//! ```
//! containerd's shim, conmon and podman read the last error of the file. The file is opened when there is something to
//! say: a command that succeeds silently costs nothing.

use std::io::Write as _;

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Takes lines.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<String>,
    format: Format,
    debug: bool,
}

impl Log {
    /// A log into `file`, or to stderr.
    pub(crate) fn new(file: Option<&str>, format: Format, debug: bool) -> Self {
        Self { file: file.filter(|file| !file.is_empty()).map(str::to_owned), format, debug }
    }

    /// What ends the command: in the log and, in plain words, on stderr.
    pub(crate) fn error(&self, message: &str) {
        let logged = self.write(Level::Error, message);
        if !logged || self.goes_to_file() {
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    /// What was not done but does no harm. Without a log file, stderr is often the container's own, whose output is not
    /// for us to add to: only a person reads it there.
    pub(crate) fn warning(&self, message: &str) {
        if self.debug || self.goes_to_file() || rustix::termios::isatty(std::io::stderr()) {
            self.write(Level::Warning, message);
        }
    }

    /// What helps to find a fault.
    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.write(Level::Debug, &message());
        }
    }

    fn goes_to_file(&self) -> bool {
        self.file.as_deref().is_some_and(|file| file != "/dev/stderr")
    }

    fn write(&self, level: Level, message: &str) -> bool {
        let line = line(self.format, level, message, Timestamp::now());
        match &self.file {
            Some(file) if self.goes_to_file() => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
                rustix::fs::open(file, flags, Mode::from_raw_mode(0o644))
                    .is_ok_and(|file| std::fs::File::from(file).write_all(line.as_bytes()).is_ok())
            }
            _ => std::io::stderr().write_all(line.as_bytes()).is_ok(),
        }
    }
}

fn line(format: Format, level: Level, message: &str, time: Timestamp) -> String {
    let quoted = serde_json::Value::from(message).to_string();
    let (level, time) = (level.name(), time.strftime("%Y-%m-%dT%H:%M:%SZ"));
    match format {
        Format::Json => format!("{{\"level\":\"{level}\",\"msg\":{quoted},\"time\":\"{time}\"}}\n"),
        Format::Text => format!("time=\"{time}\" level={level} msg={quoted}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_callers_parse() {
        let json = line(Format::Json, Level::Error, "exec: \"x\": no\nsuch", Timestamp::UNIX_EPOCH);
        assert_eq!(
            json,
            "{\"level\":\"error\",\"msg\":\"exec: \\\"x\\\": no\\nsuch\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["msg"], "exec: \"x\": no\nsuch");
        let text = line(Format::Text, Level::Warning, "a \"b\"", Timestamp::UNIX_EPOCH);
        assert_eq!(text, "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"a \\\"b\\\"\"\n");
    }
}
