//! One file, several personalities: picks one by the name it was called by, or by its first word.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::main())
}
