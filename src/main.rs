//! One file, several personalities: picks one by the name it was called by, or by its first word.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    let called = Path::new(&name).file_name().and_then(|name| name.to_str());
    if called == Some("skep-runtime") || words.first().is_some_and(|word| word == "runtime") {
        return runtime();
    }
    ExitCode::from(cli::main(words))
}

/// runc's command line, for other engines.
fn runtime() -> ExitCode {
    let _ = writeln!(std::io::stderr(), "skep: the OCI runtime command line is not part of this version");
    ExitCode::FAILURE
}
