//! Monitors beside real processes: stdio, clients, the end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Read as _;
use std::time::{Duration, Instant};

use monitor::client::{self, Outcome, Waited, Wants};
use monitor::log::{Settings, Stream};
use support::{Options, Relayed, Watched, all, exited};

fn foreground(terminal: bool, stdin: bool) -> Options {
    Options { terminal, keep_stdin: stdin, stdin_once: stdin, first: Some(all()), ..Options::default() }
}

#[test]
fn output_reaches_the_log_and_the_client() {
    let mut watched = Watched::start("echo out; echo err >&2; exit 3", foreground(false, false));
    let mut first = watched.first();
    assert_eq!(first.started().unwrap().pid, watched.pid);
    let (outcome, stdout, stderr) = Relayed::start(first, None).end();
    assert_eq!((&stdout[..], &stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(exited(outcome).exit, watched.exit());
    assert_eq!(watched.logged(Stream::Stdout), b"out\n");
    assert_eq!(watched.logged(Stream::Stderr), b"err\n");
}

#[test]
fn codes_are_dockers() {
    for (script, code, signal) in [("exit 0", 0, None), ("exit 255", 255, None), ("kill -9 $$", 137, Some(9))] {
        let exit = Watched::start(script, Options::default()).exit();
        assert_eq!((exit.code, exit.signal), (code, signal), "{script}");
    }
}

#[test]
fn stdin_is_passed_with_its_end() {
    let mut watched = Watched::start("cat; echo end", foreground(false, true));
    let mut relayed = Relayed::start(watched.first(), None);
    relayed.type_in(b"hello\n");
    relayed.expect("hello\n");
    relayed.stdin = None;
    let (outcome, stdout, _) = relayed.end();
    assert_eq!(stdout, b"end\n");
    assert_eq!(exited(outcome).exit.code, 0);
    watched.exit();
}

#[test]
fn much_stdin_goes_both_ways_without_blocking() {
    let settings = Settings { max_size: None, ..Settings::default() };
    let mut watched = Watched::start("cat", Options { settings, ..foreground(false, true) });
    let mut relayed = Relayed::start(watched.first(), None);
    let data: Vec<u8> = (0..8_000_000_u32).map(|number| ((number * 31) >> 3) as u8).collect();
    let mut stdin = relayed.stdin.take().unwrap();
    let copy = data.clone();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &copy).unwrap());
    let (outcome, stdout, _) = relayed.end();
    writer.join().unwrap();
    assert!(stdout == data, "{} bytes", stdout.len());
    assert_eq!(exited(outcome).exit.code, 0);
    assert!(watched.logged(Stream::Stdout) == data[..]);
    watched.exit();
}

#[test]
fn stdin_that_nobody_reads_keeps_the_client_waiting_only() {
    let mut watched = Watched::start("exec sleep 0.3", foreground(false, true));
    let mut relayed = Relayed::start(watched.first(), None);
    let mut stdin = relayed.stdin.take().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &[7; 4_000_000]).is_ok());
    let (outcome, ..) = relayed.end();
    assert_eq!(exited(outcome).exit.code, 0);
    writer.join().unwrap();
    watched.exit();
}

#[test]
fn without_once_stdin_outlives_its_client() {
    let options = Options { keep_stdin: true, ..Options::default() };
    let mut watched = Watched::start("read a; read b; echo $a$b", options);
    let mut relayed = Relayed::start(watched.attach(all()), None);
    relayed.type_in(b"one\n");
    relayed.stdin = None;
    let mut second = Relayed::start(watched.attach(all()), None);
    std::thread::sleep(Duration::from_millis(50));
    second.type_in(b"two\n");
    assert_eq!(relayed.end().1, b"onetwo\n");
    assert_eq!(second.end().1, b"onetwo\n");
    watched.exit();
}

#[test]
fn a_killed_client_ends_stdin_once() {
    let mut watched = Watched::start("cat >/dev/null; exit 5", foreground(false, true));
    drop(watched.first.take());
    assert_eq!(watched.exit().code, 5);
}

#[test]
fn a_killed_client_stops_nobody() {
    let options = Options { first: Some(all()), ..Options::default() };
    let mut watched = Watched::start("sleep 0.1; head -c 3000000 /dev/zero; exit 6", options);
    drop(watched.first.take());
    assert_eq!(watched.exit().code, 6);
    assert_eq!(watched.logged(Stream::Stdout).len(), 3_000_000);
}

#[test]
fn a_slow_first_client_makes_the_container_wait() {
    let options = Options { first: Some(all()), ..Options::default() };
    let mut watched = Watched::start("head -c 5000000 /dev/zero", options);
    let mut relayed = Relayed::start(watched.first(), None);
    std::thread::sleep(Duration::from_millis(300));
    let waiting = watched.logged(Stream::Stdout).len();
    assert!((1..2_000_000).contains(&waiting), "{waiting} bytes came without a reader");
    relayed.stdin = None;
    let (outcome, stdout, _) = relayed.end();
    assert_eq!(stdout.len(), 5_000_000);
    assert_eq!(exited(outcome).exit.code, 0);
    watched.exit();
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    let mut watched = Watched::start("sleep 0.2; head -c 3000000 /dev/zero", Options::default());
    let attachment = watched.attach(all());
    let start = Instant::now();
    assert_eq!(watched.exit().code, 0);
    let elapsed = start.elapsed();
    assert!((9..60).contains(&elapsed.as_secs()), "{elapsed:?}");
    assert_eq!(attachment.wait().unwrap(), Outcome::Lost);
}

#[test]
fn a_terminal_has_a_size_and_echoes() {
    let mut watched = Watched::start(
        "trap 'stty size' WINCH; stty size; while :; do read -r x && echo got $x; done",
        foreground(true, true),
    );
    let mut first = watched.first();
    first.started().unwrap();
    let mut relayed = Relayed::start(first, Some(""));
    relayed.expect("0 0\r\n");
    relayed.type_in(b"abc\n");
    relayed.expect("abc\r\ngot abc\r\n");
    let mut other = watched.attach(Wants::EXIT);
    other.started().unwrap();
    other.resize(40, 132).unwrap();
    relayed.expect("40 132\r\n");
    relayed.type_in(b"\x10\x11");
    assert_eq!(relayed.end().0, Outcome::Detached);
}

#[test]
fn a_terminals_last_words_are_not_lost() {
    for _ in 0..20 {
        let mut watched = Watched::start("echo last; printf words", foreground(true, false));
        let (outcome, stdout, _) = Relayed::start(watched.first(), None).end();
        assert_eq!(String::from_utf8_lossy(&stdout), "last\r\nwords");
        assert_eq!(exited(outcome).exit.code, 0);
        watched.exit();
    }
}

#[test]
fn detached_clients_come_back() {
    let mut watched = Watched::start("while read -r x; do echo got $x; done", foreground(true, true));
    let mut relayed = Relayed::start(watched.first(), Some("ctrl-a,d"));
    relayed.type_in(b"one\n");
    relayed.expect("got one");
    relayed.type_in(b"\x01d");
    assert_eq!(relayed.end().0, Outcome::Detached);
    let mut relayed = Relayed::start(watched.attach(all()), None);
    relayed.type_in(b"two\n\x04");
    let (outcome, stdout, _) = relayed.end();
    assert_eq!(exited(outcome).exit.code, 0);
    assert!(String::from_utf8_lossy(&stdout).contains("got two"));
    watched.exit();
}

#[test]
fn pipes_that_others_keep_open_do_not_hold_the_end() {
    let start = Instant::now();
    let mut watched = Watched::start("sleep 30 & echo done", foreground(false, false));
    let (outcome, stdout, _) = Relayed::start(watched.first(), None).end();
    assert_eq!((exited(outcome).exit.code, &stdout[..]), (0, &b"done\n"[..]));
    watched.exit();
    assert!(start.elapsed() < Duration::from_secs(25));
}

#[test]
fn a_closed_output_ends_the_client_not_the_container() {
    let mut watched = Watched::start("yes | head -c 2000000; exit 4", foreground(false, false));
    let relayed = Relayed::start(watched.first(), None);
    let Relayed { stdout, .. } = relayed;
    drop(stdout);
    assert_eq!(watched.exit().code, 4);
}

#[test]
fn waiting_and_its_limits() {
    let mut watched = Watched::start("sleep 0.2; exit 9", Options::default());
    let run = watched.scratch.0.clone();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let run = run.clone();
            std::thread::spawn(move || client::wait(&run).unwrap())
        })
        .collect();
    let exit = watched.exit();
    for waiter in waiters {
        let Waited::Exited(exited) = waiter.join().unwrap() else { panic!("not waited") };
        assert_eq!(exited.exit, exit);
    }
    assert_eq!(client::wait(&run).unwrap(), Waited::NotRunning);
    assert!(client::Attachment::connect(&run, Wants::EXIT).is_err());
}

#[test]
fn nonsense_ends_a_connection_and_nothing_else() {
    let mut watched = Watched::start("sleep 0.5; exit 8", Options::default());
    for nonsense in
        [&[1, 0, 0, 0, 255, 255, 255, 255][..], &[99; 4096], &[2, 0, 0, 0, 1, 0, 0, 0, 7], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut stream = std::os::unix::net::UnixStream::connect(watched.scratch.0.join("monitor.sock")).unwrap();
        std::io::Write::write_all(&mut stream, nonsense).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    assert_eq!(watched.exit().code, 8);
}

#[test]
fn a_hundred_megabytes_pass() {
    let mut watched =
        Watched::start("head -c 100000000 /dev/zero | tr '\\0' 'x' | fold -w 100", foreground(false, false));
    let (outcome, stdout, _) = Relayed::start(watched.first(), None).end();
    assert_eq!(exited(outcome).exit.code, 0);
    assert_eq!(stdout.len(), 101_000_000 - 1);
    watched.exit();
    let log: u64 =
        std::fs::read_dir(watched.scratch.log()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(log <= 3 * (10 << 20), "the log takes {log} bytes");
}
