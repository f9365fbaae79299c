//! The use-cases against the kernel, as root: real containers in directories of their own, nothing left behind.
//!
//! One process, one thread (the engine forks), one case after the other. An argument selects cases by their names.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test program of its own, which clippy takes for none")]

mod cases;
mod place;

use std::process::ExitCode;

use place::Place;

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: containers need root");
        return ExitCode::SUCCESS;
    }
    // Containers with the host's ids make the engine execute itself anew; better before the first case than in it.
    runtime::sealed::ensure().unwrap();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [word, directory] = wanted.as_slice()
        && word == "victim"
    {
        return cases::victim(directory);
    }
    let mut failures = 0;
    for (name, case) in cases::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let place = Place::new(name);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&place)));
        let left = place.clear();
        let good = outcome.is_ok() && left.is_empty();
        println!(
            "{} {name}{}",
            if good { "ok    " } else { "FAILED" },
            if left.is_empty() { String::new() } else { format!(": left behind: {left:?}") }
        );
        failures += usize::from(!good);
    }
    println!("{failures} failures");
    ExitCode::from(u8::from(failures > 0))
}
