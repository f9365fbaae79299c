//! One file, several personalities: picks one by the name it was called by, or by its first word.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    let called = Path::new(&name).file_name().and_then(|name| name.to_str());
    // Other engines call the runtime by its own name; in this one it is a word.
    if called == Some("skep-runtime") {
        return ExitCode::from(oci::main(words));
    }
    if words.first().is_some_and(|word| word == "runtime") {
        return ExitCode::from(oci::main(words.into_iter().skip(1).collect()));
    }
    ExitCode::from(cli::main(words))
}
