//! A credential helper: a program that keeps accounts in a keychain, with Docker's protocol.
//!
//! ```text
//! docker-credential-NAME get      < https://index.docker.io/v1/     > {"ServerURL": .., "Username": .., "Secret": ..}
//!                        store    < {"ServerURL": .., "Username": .., "Secret": ..}
//!                        erase    < https://index.docker.io/v1/
//! ```
//! A user called `<token>` has an identity token in place of a password. A failure is an exit code and a line on stdout.
//! The program is found in the caller's PATH alone, is waited for a minute, and may answer 64 KiB.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use failure::{Context as _, Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::Credentials;

/// How long a helper is waited for; it may ask a person to unlock a keychain.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer.
const LONGEST: usize = 64 << 10;
/// The longest request: it fits into a pipe, so that writing it never waits for a reader.
const LONGEST_REQUEST: usize = 60 << 10;
/// What stands in place of the user's name beside an identity token.
const TOKEN: &str = "<token>";

/// A program that was found.
#[derive(Debug)]
pub(super) struct Helper {
    name: String,
    program: PathBuf,
    patience: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(default, rename = "ServerURL")]
    server: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    /// Finds `docker-credential-NAME` in a PATH, for a `file` that names it.
    pub(super) fn find(name: &str, path: &OsStr, file: &Path) -> Result<Self> {
        let file = file.display();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.len() > 100 || !name.bytes().all(plain) {
            return Err(Error::invalid(format!("`{file}`: the name of its credential helper has odd characters")));
        }
        let name = format!("docker-credential-{name}");
        // A relative directory would be chosen by where the command happens to be called.
        let directories = path.as_bytes().split(|byte| *byte == b':').map(|name| Path::new(OsStr::from_bytes(name)));
        let mut programs = directories.filter(|path| path.is_absolute()).map(|directory| directory.join(&name));
        match programs.find(|program| program.is_file() && access(program, Access::EXEC_OK).is_ok()) {
            Some(program) => Ok(Self { name, program, patience: PATIENCE }),
            // Not the kind "not found": that is what is said of an image that a registry does not have.
            None => {
                Err(Error::invalid(format!("credential helper `{name}`, which `{file}` names, is not in your PATH")))
            }
        }
    }

    /// The account by the first of these names that it knows.
    pub(super) fn get(&self, servers: &[String]) -> Result<Option<Credentials>> {
        for server in servers {
            let (status, output) = self.call("get", server.as_bytes())?;
            if !status.success() {
                if says_there_is_none(&output) {
                    continue;
                }
                return Err(self.failed("get", status, &output));
            }
            let answer = serde_json::from_slice(&output);
            let Message { username: user, secret, .. } = answer
                .map_err(|_| Error::invalid(format!("`{} get` answers with something else than JSON", self.name)))?;
            match (user.as_str(), secret.as_str()) {
                ("", "") => {}
                (TOKEN, _) => return Ok(Some(Credentials::Identity(secret))),
                _ => return Ok(Some(Credentials::Password { user, password: secret })),
            }
        }
        Ok(None)
    }

    /// Keeps an account.
    pub(super) fn store(&self, server: &str, credentials: &Credentials) -> Result<()> {
        let (username, secret) = match credentials {
            Credentials::Password { user, password } => (user.clone(), password.clone()),
            Credentials::Identity(token) | Credentials::Bearer(token) => (TOKEN.to_owned(), token.clone()),
        };
        let message = serde_json::to_vec(&Message { server: server.to_owned(), username, secret });
        let message = message.map_err(|_| Error::internal("write a credential helper's message"))?;
        self.done("store", &message)
    }

    /// Forgets an account; one that is not there is no failure.
    pub(super) fn erase(&self, server: &str) -> Result<()> {
        self.done("erase", server.as_bytes())
    }

    fn done(&self, verb: &str, input: &[u8]) -> Result<()> {
        let (status, output) = self.call(verb, input)?;
        if status.success() || (verb == "erase" && says_there_is_none(&output)) {
            return Ok(());
        }
        Err(self.failed(verb, status, &output))
    }

    /// Its own words, or how it ended.
    fn failed(&self, verb: &str, status: ExitStatus, output: &[u8]) -> Error {
        let text = String::from_utf8_lossy(output);
        let line: String = text.trim().lines().next().unwrap_or_default().chars().take(200).collect();
        let reason = match (line.is_empty(), status.signal()) {
            (false, _) => line,
            (true, Some(signal)) => format!("it was ended by signal {signal}"),
            (true, None) => format!("exit code {}", status.code().unwrap_or(-1)),
        };
        Error::new(Kind::Unavailable, format!("`{} {verb}` fails: {reason}", self.name))
    }

    fn call(&self, verb: &str, input: &[u8]) -> Result<(ExitStatus, Vec<u8>)> {
        if input.len() > LONGEST_REQUEST {
            return Err(Error::invalid(format!("`{} {verb}`: the account is too long", self.name)));
        }
        let mut command = Command::new(&self.program);
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().with_context(|| format!("start `{}`", self.program.display()))?;
        let mut child = Ended(child);
        if let Some(mut stdin) = child.0.stdin.take() {
            // A helper that does not read says why in its answer.
            let _ = stdin.write_all(input);
        }
        let end = Instant::now() + self.patience;
        let output = match child.0.stdout.take() {
            Some(stdout) => self.output(stdout, end, verb)?,
            None => Vec::new(),
        };
        loop {
            if let Some(status) = child.0.try_wait().with_context(|| format!("wait for `{}`", self.name))? {
                return Ok((status, output));
            }
            if Instant::now() > end {
                return Err(self.slow(verb));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn output(&self, mut stdout: ChildStdout, end: Instant, verb: &str) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| self.slow(verb))?;
            match poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(self.slow(verb)),
                Err(rustix::io::Errno::INTR) => continue,
                other => other.with_context(|| format!("wait for `{}`", self.name))?,
            };
            let read = stdout.read(&mut buffer).with_context(|| format!("read from `{}`", self.name))?;
            output.extend(buffer.iter().take(read));
            if read == 0 {
                return Ok(output);
            }
            if output.len() > LONGEST {
                return Err(Error::invalid(format!("`{} {verb}` answers with more than {LONGEST} bytes", self.name)));
            }
        }
    }

    fn slow(&self, verb: &str) -> Error {
        let seconds = self.patience.as_secs();
        Error::new(Kind::Unavailable, format!("`{} {verb}` does not end within {seconds} seconds", self.name))
    }
}

/// How helpers say, in one of two ways, that they do not know an account. It goes to stdout with a code of 1.
fn says_there_is_none(output: &[u8]) -> bool {
    let text = String::from_utf8_lossy(output);
    text.contains("credentials not found") || text.contains("no credentials server URL")
}

/// A child that does not outlive its use.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn helper(test: &str, script: &str) -> (Helper, PathBuf) {
        let directory = std::env::temp_dir().join(format!("skep-helper-{test}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join("docker-credential-fake");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("relative:/nonexistent:{}", directory.display());
        let helper = Helper::find("fake", OsStr::new(&path), Path::new("/config.json")).unwrap();
        (Helper { patience: Duration::from_secs(20), ..helper }, directory)
    }

    fn get(test: &str, script: &str, patience: Duration) -> Result<Option<Credentials>> {
        let (helper, directory) = helper(test, script);
        let found = Helper { patience, ..helper }.get(&["a.net".to_owned(), "b.net".to_owned()]);
        fs::remove_dir_all(directory).unwrap();
        found
    }

    #[test]
    fn a_helper_answers() {
        let long = Duration::from_secs(20);
        let known = r#"read server; [ "$1 $server" = "get b.net" ] || { echo "credentials not found in native keychain"; exit 1; }
            echo '{"ServerURL":"b.net","Username":"me","Secret":"hunter2"}'"#;
        let me = Credentials::Password { user: "me".into(), password: "hunter2".into() };
        assert_eq!(get("known", known, long).unwrap(), Some(me));
        let token = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        assert_eq!(get("token", token, long).unwrap(), Some(Credentials::Identity("t".into())));
        assert_eq!(get("empty", r#"echo '{"Username":"","Secret":""}'"#, long).unwrap(), None);
    }

    #[test]
    fn a_helper_that_fails_is_named_and_its_answer_is_not_shown() {
        let message = |test, script, patience| get(test, script, patience).unwrap_err().to_string();
        let long = Duration::from_secs(20);
        assert_eq!(
            message("words", "echo 'keychain is locked'; exit 1", long),
            "`docker-credential-fake get` fails: keychain is locked"
        );
        assert_eq!(message("quiet", "exit 3", long), "`docker-credential-fake get` fails: exit code 3");
        assert_eq!(
            message("killed", "kill -9 $$", long),
            "`docker-credential-fake get` fails: it was ended by signal 9"
        );
        assert_eq!(
            message("json", "echo hunter2", long),
            "`docker-credential-fake get` answers with something else than JSON"
        );
        assert_eq!(
            message("endless", "exec yes", long),
            "`docker-credential-fake get` answers with more than 65536 bytes"
        );
        let nothing = Duration::from_millis(1);
        assert_eq!(
            message("slow", "exec sleep 60", nothing),
            "`docker-credential-fake get` does not end within 0 seconds"
        );
        assert_eq!(
            message("closed", "exec >&- <&-; exec sleep 60", Duration::from_millis(300)),
            "`docker-credential-fake get` does not end within 0 seconds"
        );
    }

    #[test]
    fn names_are_no_paths_and_relative_directories_do_not_count() {
        let find =
            |name, path: &str| Helper::find(name, OsStr::new(path), Path::new("/c.json")).unwrap_err().to_string();
        assert_eq!(find("../x", "/bin"), "`/c.json`: the name of its credential helper has odd characters");
        assert_eq!(
            find("none", ".:bin::/nonexistent"),
            "credential helper `docker-credential-none`, which `/c.json` names, is not in your PATH"
        );
    }
}
